"""The calls of the Clara Platform as a table, and what its numbers mean (contract 1.2). Used by both ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from dicom_adapter.core.model import EngineState, JobPriority
from dicom_adapter.engines.clara_platform.common_pb2 import (
    Identifier,
    RequestHeader,
    ResponseHeader,
    Timestamp,
    Version,
)
from dicom_adapter.engines.clara_platform.jobs_pb2 import (
    JOB_PRIORITY_HIGHER,
    JOB_PRIORITY_IMMEDIATE,
    JOB_PRIORITY_LOWER,
    JOB_PRIORITY_NORMAL,
    JOB_STATE_PENDING,
    JOB_STATE_RUNNING,
    JOB_STATE_STOPPED,
    JOB_STATUS_CANCELED,
    JOB_STATUS_EVICTED,
    JOB_STATUS_FAULTED,
    JOB_STATUS_TERMINATED,
    JobsAddMetadataRequest,
    JobsAddMetadataResponse,
    JobsCancelRequest,
    JobsCancelResponse,
    JobsCreateRequest,
    JobsCreateResponse,
    JobsListRequest,
    JobsListResponse,
    JobsStartRequest,
    JobsStartResponse,
    JobsStatusRequest,
    JobsStatusResponse,
)
from dicom_adapter.engines.clara_platform.payloads_pb2 import (
    PayloadsDetailsRequest,
    PayloadsDetailsResponse,
    PayloadsDownloadRequest,
    PayloadsDownloadResponse,
    PayloadsRemoveRequest,
    PayloadsRemoveResponse,
    PayloadsUploadRequest,
    PayloadsUploadResponse,
)

PACKAGE = "nvidia.clara.platform"
USER_AGENT = "dicom-adapter"
API_VERSION = Version(major=0, minor=6, patch=0)  # what the platform's own client says
CHUNK = 1 << 20  # bytes of data in one message of a file; allowed are 1024 to 4 MiB - 512
MAX_MESSAGE = 5 << 20  # bytes: the largest chunk with its name
INPUT = "input/"  # uploads are relative to this folder of a payload; every other name is relative to the payload
MAX_WORDS = 500  # characters kept of what the platform says
YEAR_1_TO_1970 = 62_135_596_800  # seconds: a Timestamp counts from year 1


class Request(Protocol):
    """Every request has a header."""

    @property
    def header(self) -> RequestHeader: ...

    @classmethod
    def FromString(cls, s: bytes) -> Self: ...  # noqa: N802 - protobuf's name

    def SerializeToString(self) -> bytes: ...  # noqa: N802


class Response(Protocol):
    """Every response has one too: a code below zero is a failure although the call itself went well."""

    @property
    def header(self) -> ResponseHeader: ...

    @classmethod
    def FromString(cls, s: bytes) -> Self: ...  # noqa: N802

    def SerializeToString(self) -> bytes: ...  # noqa: N802


Asked = TypeVar("Asked", bound=Request)
Answered = TypeVar("Answered", bound=Response)


@dataclass(frozen=True, slots=True)
class Method(Generic[Asked, Answered]):
    """One call."""

    service: str
    name: str
    request: type[Asked]
    response: type[Answered]

    @property
    def path(self) -> str:
        """As HTTP/2 has it."""
        return f"/{PACKAGE}.{self}"

    def __str__(self) -> str:
        return f"{self.service}/{self.name}"


JOBS_ADD_METADATA = Method("Jobs", "AddMetadata", JobsAddMetadataRequest, JobsAddMetadataResponse)
JOBS_CANCEL = Method("Jobs", "Cancel", JobsCancelRequest, JobsCancelResponse)
JOBS_CREATE = Method("Jobs", "Create", JobsCreateRequest, JobsCreateResponse)
JOBS_LIST = Method("Jobs", "List", JobsListRequest, JobsListResponse)
JOBS_START = Method("Jobs", "Start", JobsStartRequest, JobsStartResponse)
JOBS_STATUS = Method("Jobs", "Status", JobsStatusRequest, JobsStatusResponse)
PAYLOADS_DETAILS = Method("Payloads", "Details", PayloadsDetailsRequest, PayloadsDetailsResponse)
PAYLOADS_DOWNLOAD = Method("Payloads", "Download", PayloadsDownloadRequest, PayloadsDownloadResponse)
PAYLOADS_REMOVE = Method("Payloads", "Remove", PayloadsRemoveRequest, PayloadsRemoveResponse)
PAYLOADS_UPLOAD = Method("Payloads", "Upload", PayloadsUploadRequest, PayloadsUploadResponse)

MALFORMED_PIPELINE_ID = -0x1000
PIPELINE_NOT_FOUND = -0x1001
MALFORMED_JOB_ID = -0x2000
JOB_NOT_FOUND = -0x2001
INVALID_JOB_NAME = -0x2100
MALFORMED_PAYLOAD_ID = -0x3000  # this and the next: by the pattern of the others, not by the published table
PAYLOAD_NOT_FOUND = -0x3001
PERMANENT_CODES = frozenset(
    {
        MALFORMED_PIPELINE_ID,
        PIPELINE_NOT_FOUND,
        -0x1100,  # malformed pipeline definition
        -0x1101,  # a pipeline definition that cannot be loaded
        MALFORMED_JOB_ID,
        JOB_NOT_FOUND,
        INVALID_JOB_NAME,
        MALFORMED_PAYLOAD_ID,
        PAYLOAD_NOT_FOUND,
    }
)
"""Header codes that a second try does not change. Others may pass: a store error, a list error, what we do not know."""

PRIORITIES = {
    JobPriority.LOWER: JOB_PRIORITY_LOWER,
    JobPriority.NORMAL: JOB_PRIORITY_NORMAL,
    JobPriority.HIGHER: JOB_PRIORITY_HIGHER,
    JobPriority.IMMEDIATE: JOB_PRIORITY_IMMEDIATE,
}
STATES = {
    JOB_STATE_PENDING: EngineState.PENDING,
    JOB_STATE_RUNNING: EngineState.RUNNING,
    JOB_STATE_STOPPED: EngineState.STOPPED,
}
ENDINGS = {
    JOB_STATUS_FAULTED: "faulted",
    JOB_STATUS_CANCELED: "canceled",
    JOB_STATUS_EVICTED: "evicted",
    JOB_STATUS_TERMINATED: "terminated",
}
"""In words, how a job stopped that is not healthy."""


def header() -> RequestHeader:
    """The header of a request."""
    return RequestHeader(api_version=API_VERSION, user_agent=USER_AGENT)


def identifier(value: str) -> Identifier:
    """An id of the platform's: opaque to us."""
    return Identifier(value=value)


def unix_time(timestamp: Timestamp) -> float | None:
    """Seconds since 1970, or None when it is not set."""
    return float(timestamp.value - YEAR_1_TO_1970) if timestamp.value else None


def timestamp(seconds: float) -> Timestamp:
    """Of seconds since 1970."""
    return Timestamp(value=int(seconds) + YEAR_1_TO_1970)


def one_line(words: str) -> str:
    """What the platform says, as one line of bounded length."""
    line = "".join(character if character.isprintable() else " " for character in words[: 4 * MAX_WORDS])
    return " ".join(line.split())[:MAX_WORDS]


AnyMethod: TypeAlias = Method[Any, Any]
