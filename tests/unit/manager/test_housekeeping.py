"""Housekeeping on a real database: what leaves the disk, when, and what stays."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from dicom_adapter.core.errors import OutOfResources, PermanentError, TemporaryError
from dicom_adapter.core.model import (
    AssociationOutcome,
    Batch,
    BatchState,
    ExportState,
    ExportTask,
    GivenTask,
    Job,
    JobRef,
    JobState,
)
from dicom_adapter.manager.housekeeping import Housekeeping, RetentionSettings
from dicom_adapter.store import associations, batches, export_tasks, jobs, results_tasks, tables
from dicom_adapter.store.tables import metadata
from tests.databases import fresh
from tests.fakes import AE, FakeClock, FakeEngine, association

RETENTION, HISTORY = 60.0, 1000.0


class FakeUpkeep:
    """Notes what it is told to remove."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.results: list[str] = []
        self.unfinished = 0
        self.healthy = True
        self.works_again = False
        self.stubborn: set[str] = set()

    def remove_association(self, association_id: str) -> None:
        if association_id in self.stubborn:
            raise OSError(errno.EACCES, "Permission denied")
        self.removed.append(association_id)

    def remove_results(self, job_id: str) -> None:
        if job_id in self.stubborn:
            raise OSError(errno.EACCES, "Permission denied")
        self.results.append(job_id)

    def finish_outcomes(self) -> int:
        finished, self.unfinished = self.unfinished, 0
        return finished

    def probe(self) -> None:
        if not self.works_again:
            raise OutOfResources("the disk is full")
        self.healthy = True


class House:
    """Housekeeping over one association, batch, job and export, in states that a test chooses."""

    def __init__(self, folder: Path) -> None:
        self.database = fresh(folder)
        self.clock = FakeClock()
        self.engine = FakeEngine()
        self.spool = FakeUpkeep()
        self.intake_woken = 0
        self.others = FakeEngine()
        self.housekeeping = Housekeeping(
            self.database,
            self.clock,
            RetentionSettings(RETENTION, HISTORY),
            engines={"another": self.others, "process": self.engine},
            spool=self.spool,
            on_outcomes=self._wake,
        )

    def _wake(self) -> None:
        self.intake_woken += 1

    def work(self, job_state: JobState, export_state: ExportState | None = None) -> str:
        """A processed batch with a job and perhaps an export, all ended at 1000; answers with the association's id."""
        record, instances = association()
        with self.database.write() as connection:
            associations.add(connection, record, instances, set_aside_until=None)
            batches.open_batch(connection, Batch("b", "LUNG", BatchState.COLLECTING, 1000, AE))
            batches.add_instances(connection, "b", instances, overwrite=False)
            batches.close(connection, "b", 1000)
            batches.processor_done(connection, "b", 0, 1000)
            jobs.add(connection, Job("j", "n", "b", "p1", "x", "LUNG", JobState.QUEUED, 1, 1, 0, 1000), None)
            jobs.created(connection, "j", JobRef("j/1", "j/1"))
            if job_state is JobState.SUCCEEDED:
                jobs.uploaded(connection, "j")
                jobs.started(connection, "j", 1000)
                jobs.succeeded(connection, "j", 1, 1000, None)
            elif job_state is JobState.FAILED:
                jobs.failed(connection, "j", 1000, "why")
            if export_state is not None:
                export_tasks.add(connection, ExportTask("e", "j", "PACS", ExportState.PENDING, 0, 0, 1000), [])
                export_tasks.attempted(
                    connection,
                    "e",
                    state=export_state,
                    failed=False,
                    next_attempt_at=None,
                    ended_at=1000,
                    reason=None,
                )
        return record.id

    def rows(self) -> dict[str, int]:
        """The tables that are not empty."""
        with self.database.read() as connection:
            counts = {
                name: connection.scalar(select(func.count()).select_from(table)) or 0
                for name, table in metadata.tables.items()
            }
        return {name: count for name, count in counts.items() if count}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


async def test_ended_work_leaves_the_disk_after_retention_and_its_facts_after_history(house: House) -> None:
    record = house.work(JobState.SUCCEEDED, ExportState.SUCCEEDED)
    house.clock.moment = 1000 + RETENTION - 1
    await house.housekeeping.step()
    assert (house.spool.removed, house.engine.removed) == ([], [])
    house.clock.moment = 1000 + RETENTION
    await house.housekeeping.step()
    assert (house.spool.removed, house.spool.results, house.engine.removed) == ([record], ["j"], ["j/1"])
    await house.housekeeping.step()
    assert house.spool.removed == [record]  # once
    assert house.rows()["instances"] == 2
    house.clock.moment += HISTORY + 1
    await house.housekeeping.step()
    assert house.rows() == {}


@pytest.mark.parametrize(
    ("job", "export"),
    [
        (JobState.FAILED, None),
        (JobState.QUEUED, None),
        (JobState.SUCCEEDED, ExportState.FAILED),
        (JobState.SUCCEEDED, ExportState.PENDING),
    ],
)
async def test_what_is_not_over_keeps_everything_for_ever(
    house: House, job: JobState, export: ExportState | None
) -> None:
    house.work(job, export)
    before = house.rows()
    house.clock.moment += 1e9
    await house.housekeeping.step()
    assert (house.spool.removed, house.engine.removed, house.rows()) == ([], [], before)


async def test_aborted_associations_are_set_aside_and_then_removed(house: House) -> None:
    record, instances = association(outcome=AssociationOutcome.ABORTED)
    with house.database.write() as connection:
        associations.add(connection, record, instances, set_aside_until=1030.0)
    await house.housekeeping.step()
    assert house.spool.removed == []
    house.clock.moment = 1030
    await house.housekeeping.step()
    assert house.spool.removed == [record.id]
    house.clock.moment += HISTORY + 1
    await house.housekeeping.step()
    assert house.rows() == {}


async def test_held_batches_stay(house: House) -> None:
    record, instances = association(outcome=AssociationOutcome.INTERRUPTED)
    with house.database.write() as connection:
        associations.add(connection, record, instances, set_aside_until=None)
        batches.open_batch(connection, Batch("b", "LUNG", BatchState.HELD, 1000, AE, held_reason="why"))
        batches.add_instances(connection, "b", instances, overwrite=False)
    house.clock.moment += 1e9
    await house.housekeeping.step()
    assert house.spool.removed == []
    with house.database.write() as connection:
        assert batches.drop(connection, "b", house.clock.moment)
    house.clock.moment += RETENTION
    await house.housekeeping.step()
    assert house.spool.removed == [record.id]


async def test_a_disk_that_works_again_is_used_again(house: House) -> None:
    house.spool.healthy = False
    house.spool.unfinished = 2
    await house.housekeeping.step()
    assert not house.spool.healthy
    assert house.intake_woken == 1
    house.spool.works_again = True
    await house.housekeeping.step()
    assert house.spool.healthy
    assert house.intake_woken == 1


async def test_what_cannot_be_removed_holds_up_nothing_else_and_is_told(house: House) -> None:
    house.work(JobState.SUCCEEDED)
    stubborn, other = (association(outcome=AssociationOutcome.ABORTED) for _ in range(2))
    with house.database.write() as connection:
        for record, instances in (stubborn, other):
            associations.add(connection, record, instances, set_aside_until=1030.0)
    house.spool.stubborn = {"j", stubborn[0].id}
    house.clock.moment = 1000 + RETENTION
    with pytest.raises(TemporaryError, match=rf"batch b: .*Permission denied; association {stubborn[0].id}: "):
        await house.housekeeping.step()
    assert house.spool.removed == [other[0].id]
    house.spool.stubborn = set()
    await house.housekeeping.step()
    assert house.spool.results == ["j"]
    assert stubborn[0].id in house.spool.removed


async def test_a_job_is_removed_by_the_engine_that_knows_it(house: House) -> None:
    """Not by what its pipeline is now: that may be another engine's, or configured no more."""
    house.others.remove_trouble = PermanentError("it is none of this engine's")
    house.work(JobState.SUCCEEDED)
    house.clock.moment = 1000 + RETENTION
    await house.housekeeping.step()
    assert house.engine.removed == ["j/1"]
    assert house.spool.results == ["j"]


@pytest.mark.parametrize(
    ("state", "reported", "leaves"),
    [
        ("succeeded", True, True),
        ("succeeded", False, False),
        ("canceled", True, True),
        ("failed", True, False),
        ("returned", True, False),
        ("received", False, False),
    ],
)
async def test_files_of_results_tasks_leave_after_the_report(
    house: House, state: str, reported: bool, leaves: bool
) -> None:
    with house.database.write() as connection:
        results_tasks.add(connection, GivenTask("t"), "r", [], "results/new/r", 1000)
        told = 1000 if reported else None
        connection.execute(update(tables.results_tasks).values(state=state, ended_at=1000, reported_at=told))
    house.clock.moment = 1000 + RETENTION - 1
    await house.housekeeping.step()
    assert house.spool.results == []
    house.clock.moment = 1000 + RETENTION
    await house.housekeeping.step()
    await house.housekeeping.step()
    assert house.spool.results == (["r"] if leaves else [])
    house.clock.moment += HISTORY + 1
    await house.housekeeping.step()
    assert house.rows() == ({} if leaves else {"results_tasks": 1})


async def test_a_results_task_outlives_its_job(house: House) -> None:
    house.work(JobState.SUCCEEDED)
    with house.database.write() as connection:
        results_tasks.add(connection, GivenTask("t", job_id="j/1"), "r", [], "results/new/r", 1000)
    house.clock.moment = 1000 + RETENTION
    await house.housekeeping.step()
    house.clock.moment += HISTORY + 1
    await house.housekeeping.step()
    assert house.rows() == {"results_tasks": 1}


async def test_a_results_task_that_cannot_be_removed_is_told(house: House) -> None:
    with house.database.write() as connection:
        results_tasks.add(connection, GivenTask("t"), "r", [], "results/new/r", 1000)
        connection.execute(update(tables.results_tasks).values(state="succeeded", ended_at=1000, reported_at=1000))
    house.spool.stubborn = {"r"}
    house.clock.moment = 1000 + RETENTION
    with pytest.raises(TemporaryError, match="results task r: "):
        await house.housekeeping.step()
