"""What the adapter keeps facts about: associations, instances, batches, jobs, results tasks, export tasks.

Every state here is a durable fact, never an intention: a restart reads the facts and computes the next step
(`docs/architecture.md`, "The ideas that carry the house"). The comment beside a state is the transition into it.
All times are seconds since the epoch (UTC), as wall time survives a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from dicom_adapter.core.snapshot import ClaraAeTitle, Destination


class AssociationOutcome(StrEnum):
    """How an association ended; also the name of the marker file in the spool (`docs/spool.md`)."""

    RELEASED = "released"  # A-RELEASE-RQ by the peer
    ABORTED = "aborted"  # A-ABORT, broken connection, time-out: never joins a batch
    INTERRUPTED = "interrupted"  # we died in the middle: what was acknowledged is held, never deleted


MOST_REFUSED: Final = 1000  # instances by name: a marker of 70 KB


class Refused(NamedTuple):
    """C-STORE requests of an association that were not answered Success.

    `why`: the last answer, in words. `instances`: their SOP Instance UIDs, each once. `unnamed`: how many requests had
    no valid one, or came when there were `MOST_REFUSED` others.
    """

    requests: int = 0
    why: str | None = None
    instances: tuple[str, ...] = ()
    unnamed: int = 0

    def plus(self, why: str, sop_instance_uid: str | None) -> Refused:
        """With one request more."""
        instances, unnamed = self.instances, self.unnamed
        if sop_instance_uid not in instances:
            if sop_instance_uid is None or len(instances) == MOST_REFUSED:
                unnamed += 1
            else:
                instances = (*instances, sop_instance_uid)
        return Refused(self.requests + 1, why, instances, unnamed)


NOTHING_REFUSED = Refused()


class Missing(NamedTuple):
    """What a sender tried to send, and is not submitted.

    `instances`: refused, and not come since; `unnamed`: refused requests of which nobody can tell; `why`: the last of
    those answers. `aborted`: instances that were acknowledged in aborted associations, and have not come otherwise.
    """

    instances: int = 0
    unnamed: int = 0
    why: str | None = None
    aborted: int = 0


NOTHING_MISSING = Missing()


@dataclass(frozen=True, slots=True)
class AssociationRecord:
    """One accepted association: its envelope and, when it has ended, how."""

    id: str
    calling_ae_title: str
    called_ae_title: str
    peer_host: str
    peer_port: int
    started_at: float
    ended_at: float | None = None
    outcome: AssociationOutcome | None = None
    refused: Refused = NOTHING_REFUSED


class Instance(NamedTuple):
    """One committed SOP Instance of the spool. Its file is `<number>.dcm` in its association's folder.

    A NamedTuple because ten thousand are made while a person waits.
    """

    association_id: str
    number: int
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str | None
    series_instance_uid: str | None
    transfer_syntax_uid: str
    size: int  # bytes of the whole file
    received_at: float


class BatchState(StrEnum):
    COLLECTING = "collecting"  # first released association with instances, timeout > 0
    CLOSED = "closed"  # released (timeout 0) or deadline reached: processors run
    PROCESSED = "processed"  # every processor is done; its jobs exist
    HELD = "held"  # needs a person: `release ID` moves it to closed
    DROPPED = "dropped"  # superseded by a later batch with the same instances, or dropped by a person


@dataclass(frozen=True, slots=True)
class Batch:
    id: str
    called_ae_title: str
    state: BatchState
    opened_at: float
    policy: ClaraAeTitle  # as it was when the batch opened: a batch keeps the rules it began with
    deadline: float | None = None  # while collecting
    closed_at: float | None = None
    held_reason: str | None = None


class JobState(StrEnum):
    QUEUED = "queued"  # batch processed: the job's row and manifest exist
    CREATED = "created"  # the engine knows the job (job_id, payload_id stored)
    UPLOADED = "uploaded"  # every file of the batch is in the job's payload
    STARTED = "started"  # the engine runs it
    SUCCEEDED = "succeeded"  # stopped and healthy; its results are export tasks or in quarantine
    FAILED = "failed"  # all tries used, or a permanent error: a dead letter until `retry` or `cancel`
    CANCELED = "canceled"  # by a person


@dataclass(frozen=True, slots=True)
class Job:
    """One pipeline run over one batch (or a part of it). `name` is the idempotency key."""

    id: str
    name: str
    batch_id: str
    pipeline_id: str
    pipeline_name: str
    called_ae_title: str
    state: JobState
    attempt: int  # 1 for the first try
    attempts_allowed: int
    failures: int  # temporary errors in a row: of calls to the engine, not of the pipeline
    created_at: float
    next_attempt_at: float | None = None  # waiting for it when set; `reason` says why
    engine_job_id: str | None = None
    engine_payload_id: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    reason: str | None = None


class ResultsTaskState(StrEnum):
    RECEIVED = "received"  # the Results Service gave it, for the first time or again: its files are not all here (D7)
    DOWNLOADED = "downloaded"  # each of its files is here, or failed; its exports may be sent (D8)
    SUCCEEDED = "succeeded"  # every export did
    RETURNED = "returned"  # an export failed: the Results Service gives the task again, later
    FAILED = "failed"  # an export failed, and trying again is over or in vain: a dead letter until `retry ID`
    CANCELED = "canceled"  # by a person; the Results Service takes it for failed


@dataclass(frozen=True, slots=True)
class GivenTask:
    """A task as the Results Service gives it (contract 2). `problem`: why it can never be worked on, in words."""

    task_id: str
    job_id: str = ""
    payload_id: str = ""
    destinations: tuple[str, ...] = ()  # names, each once
    uris: tuple[str, ...] = ()  # names of files in the payload
    retries: int = 0  # how often it came back with RetryLater, by the service's count
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ResultsTask:
    """A task of the Results Service: files of one payload for some destinations."""

    id: str
    task_id: str  # the Results Service's
    job_id: str | None  # our job, if the platform ran it for us
    platform_job_id: str
    payload_id: str
    uris: tuple[str, ...]  # file N of its exports is uris[N - 1]
    state: ResultsTaskState
    turns: int  # how often it was taken up
    retries: int  # see `core.results_tasks.retries_so_far`
    failures: int  # in a row: of keeping files, or of telling the Results Service
    created_at: float
    next_attempt_at: float | None = None
    ended_at: float | None = None
    reason: str | None = None
    reported_at: float | None = None  # when the Results Service took note of the state it is in (D10)


class ExportState(StrEnum):
    DOWNLOADING = "downloading"  # of a results task whose files are not all here
    PENDING = "pending"  # with its files: in the transaction that ended its job, or when they are downloaded
    SUCCEEDED = "succeeded"  # at most half of the files failed; the failed ones stay listed
    RETURNED = "returned"  # more than half failed: the Results Service gives its task again, later
    FAILED = "failed"  # more than half failed after all tries: a dead letter until `retry ID`
    CANCELED = "canceled"  # by a person


@dataclass(frozen=True, slots=True)
class ExportTask:
    """Files for one destination, sent in one association: of one of our jobs, or of a results task."""

    id: str
    job_id: str | None
    destination: str  # name under dicom.scu.destinations
    state: ExportState
    attempts: int  # finished ones
    failures: int  # failed ones since the task was made, or last retried by a person
    created_at: float
    next_attempt_at: float | None = None
    ended_at: float | None = None
    reason: str | None = None
    results_task_id: str | None = None  # exactly one of this and job_id is set
    peer: Destination | None = None  # of a results task: where the destination was when it was taken up; None: unknown


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"  # C-STORE-RSP 0000H
    WARNING = "warning"  # C-STORE-RSP Bxxx: delivered unless scu.warnings is failure
    FAILED = "failed"  # any other status, refused context, broken association


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file of an export task and what became of it."""

    task_id: str
    number: int
    path: str  # relative to the storage folder
    sop_class_uid: str | None  # None, as the other UIDs: not here, or in quarantine, so it cannot be sent
    sop_instance_uid: str | None
    study_instance_uid: str | None
    transfer_syntax_uid: str | None
    size: int
    state: DeliveryState = DeliveryState.PENDING
    status: int | None = None  # DIMSE status of the last try
    reason: str | None = None  # in words

    @property
    def is_sendable(self) -> bool:
        """Whether there is a file that may be sent."""
        return self.sop_instance_uid is not None


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What one try to send one file came to (an ExportAgent's answer)."""

    number: int
    state: DeliveryState
    status: int | None = None
    reason: str | None = None


class JobPriority(StrEnum):
    """How an engine that has many jobs orders them (contract 1.6)."""

    LOWER = "lower"
    NORMAL = "normal"
    HIGHER = "higher"
    IMMEDIATE = "immediate"


@dataclass(frozen=True, slots=True)
class JobSpec:
    """All that an engine needs to create a job. The same name and attempt always mean the same job."""

    id: str
    name: str
    attempt: int
    pipeline_id: str
    manifest: Mapping[str, object] = field(default_factory=dict)  # job.json: ids, AE Titles, series; no patient data
    priority: JobPriority = JobPriority.NORMAL
    metadata: Mapping[str, str] = field(default_factory=dict)  # what people see of it at the engine; no patient data


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job as its engine knows it."""

    job_id: str
    payload_id: str


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """A file to hand to a job: where it lies, and its name relative to the payload's input folder."""

    path: str  # absolute
    name: str


class EngineState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    UNKNOWN = "unknown"  # the engine has no trace of the run: it died without a word


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The engine's view of a job (contract 1.2: JobState, JobStatus)."""

    state: EngineState
    healthy: bool = True  # of a stopped job: it succeeded
    reason: str | None = None  # of an unhealthy one, in words
    started_at: float | None = None
    stopped_at: float | None = None
