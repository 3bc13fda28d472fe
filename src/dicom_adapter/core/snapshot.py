"""ConfigSnapshot: what the data plane may know of the configuration. Immutable, so a thread reads it without a lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_PROCESSOR = "Nvidia.Clara.Dicom.Processors.JobProcessor,Nvidia.Clara.DicomAdapter"
AE_TITLE_JOB_PROCESSOR = (  # its name from 0.7.2 on (contract 3.2)
    "Nvidia.Clara.DicomAdapter.Server.Processors.AeTitleJobProcessor,Nvidia.Clara.DicomAdapter"
)
PROCESSOR_ALIASES = {DEFAULT_PROCESSOR: "job", AE_TITLE_JOB_PROCESSOR: "job"}

PROCESS, CLARA_PLATFORM = "process", "clara-platform"  # engines


def processor_name(name: str) -> str:
    """The name that a processor is found by: spaces beside a comma do not count, and Clara's names are ours."""
    bare = ",".join(part.strip() for part in name.split(","))
    return PROCESSOR_ALIASES.get(bare, bare)


def is_job_processor(name: str) -> bool:
    """Whether it is the processor that makes jobs, by any of its names."""
    return processor_name(name) == "job"


@dataclass(frozen=True, slots=True)
class ClaraAeTitle:
    """One AE Title we answer to, and what is done with what it receives."""

    name: str  # of the resource: lower case
    ae_title: str
    timeout: float = 0.0  # seconds; 0 = one batch for each released association
    overwrite_same_instance: bool = False
    ignored_sop_classes: frozenset[str] = frozenset()
    processors: tuple[str, ...] = (DEFAULT_PROCESSOR,)
    pipelines: tuple[str, ...] = ()  # pipeline ids this AE Title is mapped to
    settings: Mapping[str, str] = field(default_factory=dict)  # for processors
    uid: str = ""  # of the resource: one that was deleted and made again is another; the file's lists have none


@dataclass(frozen=True, slots=True)
class Source:
    """A peer that may send to us. AE Titles compare without case; host is an IP address or a name."""

    ae_title: str
    host: str


@dataclass(frozen=True, slots=True)
class Destination:
    """A peer that results are sent to."""

    name: str
    ae_title: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline. Of `pipelines:` engine "process" runs `command` on this machine; others are the Clara Platform's."""

    id: str
    name: str
    engine: str = PROCESS
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None  # seconds
    retries: int = 0  # tries after the first
    destinations: tuple[str, ...] = ()
    cpu: int | None = None  # cores
    memory: int | None = None  # bytes
    concurrency: int = 1  # runs of this pipeline at once
    observe_interval: float = 1.0  # seconds between looks at a run that takes long


def platform_pipeline(pipeline_id: str, name: str | None = None) -> Pipeline:
    """A pipeline of the Clara Platform. It has its own queue, and its results come by another way: no hurry."""
    return Pipeline(pipeline_id, name or pipeline_id, engine=CLARA_PLATFORM, concurrency=100, observe_interval=5.0)


@dataclass(frozen=True, slots=True)
class ScpPolicy:
    """How the SCP answers, beyond who may call whom."""

    max_associations: int = 2
    reject_unknown_sources: bool = True
    check_source_host: bool = True
    verification_enabled: bool = True
    verification_transfer_syntaxes: tuple[str, ...] = (
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.2",
    )  # contract 4.3
    log_dimse_datasets: bool = False
    log_phi: bool = False


@dataclass(frozen=True, slots=True)
class ConfigSnapshot:
    """Everything the data plane decides with, at one instant. `version` grows with each change."""

    version: int = 0
    ae_titles: Mapping[str, ClaraAeTitle] = field(default_factory=dict)  # by exact, trimmed AE Title
    retired: Mapping[str, ClaraAeTitle] = field(default_factory=dict)  # deleted; associations to them may be open
    sources: tuple[Source, ...] = ()
    destinations: Mapping[str, Destination] = field(default_factory=dict)  # by lower-case name
    pipelines: Mapping[str, Pipeline] = field(default_factory=dict)  # by id; those that are defined or mapped
    has_platform: bool = False
    scp: ScpPolicy = ScpPolicy()

    def pipeline(self, pipeline_id: str) -> Pipeline | None:
        """What runs jobs of this id, or None: nothing does. With a Clara Platform, what is not ours is its own."""
        known = self.pipelines.get(pipeline_id)
        return platform_pipeline(pipeline_id) if known is None and self.has_platform else known
