"""Small stand-ins for the ports, for tests of one layer. The real ones meet in tests/end_to_end and tests/crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from dicom_adapter.clock import Clock
from dicom_adapter.core.model import (
    AssociationOutcome,
    AssociationRecord,
    DeliveryState,
    EngineState,
    ExportFile,
    FileOutcome,
    Instance,
    JobRef,
    JobSpec,
    JobStatus,
    PayloadFile,
)
from dicom_adapter.core.snapshot import ClaraAeTitle, ConfigSnapshot, Destination, Pipeline

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

AE = ClaraAeTitle("lung", "LUNG", pipelines=("p1",))
SLIDING = ClaraAeTitle("sliding", "SLIDING", timeout=30.0, pipelines=("p1",))
PIPELINE = Pipeline("p1", "lung_ai", command=("true",), retries=1, destinations=("PACS",))
PACS = Destination("PACS", "ARCHIVE", "127.0.0.1", 104)


def snapshot(*ae_titles: ClaraAeTitle, pipelines: Sequence[Pipeline] = (PIPELINE,)) -> ConfigSnapshot:
    return ConfigSnapshot(
        ae_titles={one.ae_title: one for one in ae_titles or (AE, SLIDING)},
        destinations={"pacs": PACS},
        pipelines={one.id: one for one in pipelines},
    )


class FakeClock(Clock):
    """Both clocks stand still until the test moves them."""

    def __init__(self, now: float = 1000.0) -> None:
        self.moment = now

    def now(self) -> float:
        return self.moment

    def steady(self) -> float:
        return self.moment


_numbers = count(1)


def association(
    called: str = "LUNG",
    outcome: AssociationOutcome = AssociationOutcome.RELEASED,
    instances: int = 2,
    *,
    uids: Sequence[str] = (),
    study: str = "1.2.3",
    at: float = 1000.0,
) -> tuple[AssociationRecord, list[Instance]]:
    """An association that ended, with its instances."""
    number = next(_numbers)
    record = AssociationRecord(f"a{number:06d}", "CT1", called, "192.0.2.7", 40000, at - 1, at, outcome)
    names = uids or [f"1.2.3.{number}.{index}" for index in range(1, instances + 1)]
    return record, [
        Instance(record.id, index, CT, uid, study, f"{study}.1", EXPLICIT, 1000, at)
        for index, uid in enumerate(names, start=1)
    ]


@dataclass
class FakeSpool:
    """Associations in the order in which a test closes them."""

    ended: list[tuple[AssociationRecord, list[Instance]]] = field(default_factory=list)

    def closed_associations(self, known: set[str]) -> Iterator[tuple[AssociationRecord, list[Instance]]]:
        yield from (one for one in self.ended if one[0].id not in known)


@dataclass
class FakeEngine:
    """An engine in memory: keeps what it was told; a test sets the status."""

    created: dict[str, JobSpec] = field(default_factory=dict)
    payloads: dict[str, list[str]] = field(default_factory=dict)
    starts: list[str] = field(default_factory=list)
    canceled: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    status: JobStatus = field(default_factory=lambda: JobStatus(EngineState.STOPPED))
    fail: Callable[[str], None] = lambda _verb: None
    cancel_trouble: Exception | None = None
    remove_trouble: Exception | None = None

    async def create_job(self, spec: JobSpec) -> JobRef:
        self.fail("create")
        ref = self._ref(spec)
        self.created.setdefault(ref.job_id, spec)
        return ref

    async def find_job(self, spec: JobSpec) -> JobRef | None:
        ref = self._ref(spec)
        return ref if ref.job_id in self.created else None

    async def upload(self, ref: JobRef, files: Sequence[PayloadFile]) -> None:
        self.fail("upload")
        self.payloads[ref.job_id] = [file.name for file in files]

    async def start_job(self, ref: JobRef) -> None:
        self.fail("start")
        if ref.job_id not in self.starts:
            self.starts.append(ref.job_id)

    async def get_status(self, ref: JobRef) -> JobStatus:
        return self.status

    async def cancel_job(self, ref: JobRef, reason: str) -> None:
        if self.cancel_trouble is not None:
            raise self.cancel_trouble
        self.canceled.append(ref.job_id)

    async def remove_job(self, ref: JobRef) -> None:
        if self.remove_trouble is not None:
            raise self.remove_trouble
        self.removed.append(ref.job_id)

    def result_files(self, ref: JobRef) -> list[Path]:
        return []

    def irregular_results(self, ref: JobRef) -> list[Path]:
        return []

    def output_folder(self, ref: JobRef) -> Path:
        return Path()

    def log_files(self, ref: JobRef) -> Mapping[str, Path]:
        return {}

    @staticmethod
    def _ref(spec: JobSpec) -> JobRef:
        return JobRef(f"{spec.id}/{spec.attempt}", f"{spec.id}/{spec.attempt}")


@dataclass
class FakeAgent:
    """Answers each file with the next of `answers`, by default delivered."""

    answers: dict[int, FileOutcome] = field(default_factory=dict)
    sent: list[list[int]] = field(default_factory=list)
    destinations: list[Destination] = field(default_factory=list)
    before: Callable[[ExportFile], None] = lambda _file: None

    def export(
        self, destination: Destination, files: Sequence[ExportFile], on_outcome: Callable[[FileOutcome], None]
    ) -> None:
        self.destinations.append(destination)
        self.sent.append([file.number for file in files])
        for file in files:
            self.before(file)
            on_outcome(self.answers.get(file.number) or FileOutcome(file.number, DeliveryState.DELIVERED, 0))

    def stop(self) -> None:
        pass


def failing(agent: FakeAgent, numbers: Sequence[int], reason: str = "A700H: no space") -> None:
    """Make these files fail from now on."""
    agent.answers = {number: FileOutcome(number, DeliveryState.FAILED, 0xA700, reason) for number in numbers}
