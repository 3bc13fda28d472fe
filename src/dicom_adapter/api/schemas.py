"""The JSON of `/api/v1`: camelCase on the wire, times in seconds since the epoch (UTC), durations in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Schema(BaseModel):
    """Base of all answers: built from a row or from keywords, extra columns ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    @classmethod
    def of(cls, row: Mapping[str, Any], **more: Any) -> Self:
        return cls.model_validate({**row, **more})


class Association(Schema):
    """`outcome` is null while it is open. `refused`: C-STORE requests that were not answered Success; of the last of
    them, `refused_why` is the status in words."""

    id: str
    calling_ae_title: str
    called_ae_title: str
    peer_host: str
    peer_port: int
    started_at: float
    ended_at: float | None = None
    outcome: str | None = None
    instances: int
    bytes: int
    refused: int
    refused_why: str | None = None


class Rejection(Schema):
    """Somebody was turned away so many `times`: `answer` is that to an association (A-ASSOCIATE-RJ) or to an instance
    (C-STORE-RSP) in words, `why` says what to change."""

    calling_ae_title: str
    called_ae_title: str
    peer_host: str
    answer: str
    why: str
    first_at: float
    last_at: float
    times: int


class Batch(Schema):
    """`closes_in`: seconds, while collecting."""

    id: str
    called_ae_title: str
    state: str
    instances: int
    studies: int
    bytes: int
    opened_at: float
    closed_at: float | None = None
    ended_at: float | None = None
    closes_in: float | None = None
    held_reason: str | None = None
    reason: str | None = None


class Job(Schema):
    """`next_attempt_in`: seconds, while it waits. `reason`: why it waits or failed."""

    id: str
    name: str
    batch_id: str
    pipeline_id: str
    pipeline_name: str
    called_ae_title: str
    state: str
    attempt: int
    attempts_allowed: int
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    next_attempt_in: float | None = None
    reason: str | None = None
    exports: int = 0
    quarantined: int = 0


class QuarantinedFile(Schema):
    """A result file that went to no destination. `path` is relative to the storage folder."""

    number: int
    path: str
    reason: str


class JobDetail(Job):
    quarantined_files: tuple[QuarantinedFile, ...] = ()


class JobLogs(Schema):
    """The end of what the job wrote."""

    job: str
    attempt: int
    stdout: str
    stderr: str
    elsewhere: str | None = None  # in words, where they are if not here, or that they were removed


class Export(Schema):
    """One task: files for one destination, of one of our jobs or of a results task."""

    id: str
    job_id: str | None
    results_task_id: str | None = None
    destination: str
    state: str
    attempts: int
    files: int
    delivered: int
    warning: int
    files_failed: int
    created_at: float
    ended_at: float | None = None
    next_attempt_in: float | None = None
    reason: str | None = None


class ExportFile(Schema):
    """`status`: the DIMSE status in hexadecimal, as PS3.4 prints it."""

    number: int
    sop_class_uid: str | None  # null, as the other UIDs: there is no file that could be sent
    sop_instance_uid: str | None
    transfer_syntax_uid: str | None
    state: str
    status: str | None = None
    reason: str | None = None


class ExportDetail(Export):
    outcomes: tuple[ExportFile, ...] = ()


class ResultsTask(Schema):
    """One task of the Results Service. `task_id`: its name there. `reported_at`: when the service took note of the
    state. `next_attempt_in`: seconds, while it waits; `reason`: why it waits or failed."""

    id: str
    task_id: str
    job_id: str | None
    platform_job_id: str
    payload_id: str
    destinations: tuple[str, ...]
    state: str
    files: int
    retries: int
    created_at: float
    ended_at: float | None = None
    reported_at: float | None = None
    next_attempt_in: float | None = None
    reason: str | None = None


class ResultsTaskDetail(ResultsTask):
    exports: tuple[Export, ...] = ()


class Study(Schema):
    """`stage` says where it is, `waits` why it does not go on; when it is done, why not everything arrived."""

    study_instance_uid: str
    called_ae_titles: tuple[str, ...]
    series: int
    instances: int
    bytes: int
    first_received_at: float
    last_received_at: float
    stage: str
    waits: str | None = None


class TimelineEntry(Schema):
    """One line of a study's timeline. `duration`: seconds, null while it goes on."""

    at: float
    duration: float | None
    kind: str  # association, batch, job, results task, export
    id: str
    state: str
    text: str


class StudyDetail(Study):
    timeline: tuple[TimelineEntry, ...]


Item = TypeVar("Item", bound=Schema)


class Items(Schema, Generic[Item]):
    """A page of a list. `next`: ask again with `before` this, or null at the end."""

    items: tuple[Item, ...]
    next: str | None = None


class Worker(Schema):
    name: str
    failures: int
    reason: str | None


class Storage(Schema):
    """`accepting`: whether there is more free space than the reserve (`storage.reserve-space`)."""

    path: str
    free_bytes: int
    reserved_bytes: int
    accepting: bool
    healthy: bool


class Resources(Schema):
    """Where the resources of a kind are. `stale_since`: what is in force may be older than them since then."""

    kind: str
    store: str  # file, database, kubernetes
    place: str
    stale_since: float | None = None
    reason: str | None = None


class Scp(Schema):
    port: int
    listening: bool
    open_associations: int
    max_associations: int
    ae_titles: tuple[str, ...]
    counters: Mapping[str, int]


class ResultsService(Schema):
    """How the Results Service is polled. `since`: that it is in this state. `unreported`: tasks that are over, and it
    has not taken note."""

    endpoint: str
    agent: str
    state: str  # beginning, polled, away, paused
    since: float
    reason: str | None
    unreported: int


class Status(Schema):
    """The adapter at this instant. Counts are by state. `results_service`: null where none is polled."""

    version: str
    started_at: float
    ready: bool
    not_ready: tuple[str, ...]
    scp: Scp
    storage: Storage
    resources: tuple[Resources, ...]
    batches: Mapping[str, int]
    jobs: Mapping[str, int]
    exports: Mapping[str, int]
    results_tasks: Mapping[str, int] = Field(default_factory=dict)
    results_service: ResultsService | None = None
    workers: tuple[Worker, ...]


ServiceState: TypeAlias = Literal["Unknown", "Stopped", "Running", "Cancelled"]  # contract 8.1


class Health(Schema):
    """`services`: Running, Stopped, or Unknown for one whose last try failed."""

    status: Literal["Healthy", "Unhealthy"]
    reasons: tuple[str, ...]
    active_dimse_connections: int
    services: Mapping[str, ServiceState]
    resources: tuple[Resources, ...]


class Readiness(Schema):
    """`reasons`: why it cannot take a study, in words."""

    status: Literal["Healthy", "Unhealthy"]
    reasons: tuple[str, ...]


class Done(Schema):
    """An action was taken."""

    kind: str
    id: str
    action: str


class Resend(Schema):
    """The name of the destination that the files are sent to."""

    model_config = ConfigDict(extra="forbid")

    destination: str = Field(min_length=1, max_length=253)


class Resent(Schema):
    """`exports`: the tasks that send the files."""

    destination: str
    exports: tuple[str, ...]


class Problem(Schema):
    """RFC 9457. `detail` says what was found, what is allowed and what to do."""

    title: str
    status: int
    detail: str


class Parameters(BaseModel):
    """Base of what a list may be asked. A name that is not known is refused: a misspelled filter shows everything."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)
