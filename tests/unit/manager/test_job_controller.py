"""The job controller on a real database with an engine in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_adapter.core.errors import PermanentError, TemporaryError
from dicom_adapter.core.model import Batch, BatchState, EngineState, Job, JobPriority, JobRef, JobState, JobStatus
from dicom_adapter.core.retry import STEP_CAP
from dicom_adapter.core.snapshot import ClaraAeTitle, ConfigSnapshot, Pipeline
from dicom_adapter.manager import job_controller
from dicom_adapter.manager.job_controller import WINDOW, JobController
from dicom_adapter.store import associations, batches, jobs
from dicom_adapter.store.database import Database
from tests.databases import fresh
from tests.fakes import AE, PIPELINE, FakeClock, FakeEngine, association, snapshot

RUNNING = JobStatus(EngineState.RUNNING)
HEALTHY = JobStatus(EngineState.STOPPED)
FAULTED = JobStatus(EngineState.STOPPED, healthy=False, reason="exit status 3")


class Collector:
    """Ends jobs without results, or fails by `trouble`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.trouble: Exception | None = None

    async def collect(self, job: Job, _ref: JobRef, _pipeline: Pipeline) -> None:
        if self.trouble is not None:
            raise self.trouble
        with self._database.write() as connection:
            jobs.succeeded(connection, job.id, job.attempt, 1.0, None)


class House:
    """A controller; `restart` makes another over the same database and engine."""

    def __init__(self, folder: Path) -> None:
        self.database = fresh(folder)
        self.clock = FakeClock()
        self.engine = FakeEngine()
        self.platform = FakeEngine()
        self.snapshot: ConfigSnapshot = snapshot()
        self.folder = folder
        self.restart()

    def restart(self) -> None:
        self.collector = Collector(self.database)
        self.controller = JobController(
            self.database,
            lambda: self.snapshot,
            self.clock,
            engines={"process": self.engine, "clara-platform": self.platform},
            collector=self.collector,
            path_of=lambda instance: self.folder / f"{instance.number}.dcm",
            on_exports=lambda: None,
        )

    def job(self, job_id: str = "j1", attempts_allowed: int = 1, policy: ClaraAeTitle = AE) -> str:
        record, instances = association()
        batch = Batch(f"b-{job_id}", "LUNG", BatchState.CLOSED, 1000, policy)
        job = Job(
            job_id, f"n-{job_id}", batch.id, "p1", "lung_ai", "LUNG", JobState.QUEUED, 1, attempts_allowed, 0, 1000
        )
        with self.database.write() as connection:
            associations.add(connection, record, instances, set_aside_until=None)
            batches.open_batch(connection, batch)
            batches.add_instances(connection, batch.id, instances, overwrite=False)
            jobs.add(connection, job, None)
        return job_id

    def get(self, job_id: str = "j1") -> Job:
        with self.database.read() as connection:
            job = jobs.get(connection, job_id)
        assert job is not None
        return job

    async def settle(self) -> float | None:
        """One step, and everything that it began but what runs in the engine."""
        due_in = await self.controller.step()
        for _ in range(200):
            if not self.controller.active_jobs:
                break
            await asyncio.sleep(0.01)
        return due_in

    async def until(self, job_id: str, state: JobState) -> None:
        for _ in range(500):
            if self.get(job_id).state is state:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{job_id} is {self.get(job_id)}")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


async def test_the_whole_way(house: House) -> None:
    house.job()
    await house.settle()
    assert house.get().state is JobState.SUCCEEDED
    assert house.engine.starts == ["j1/1"]
    assert house.engine.payloads == {"j1/1": ["00000001.dcm", "00000002.dcm"]}
    manifest = house.engine.created["j1/1"].manifest
    assert (manifest["calledAeTitle"], manifest["callingAeTitles"]) == ("LUNG", ["CT1"])


async def test_a_failed_run_is_tried_again_and_then_a_dead_letter(house: House) -> None:
    house.job(attempts_allowed=2)
    house.engine.status = FAULTED
    await house.settle()
    waiting = house.get()
    assert (waiting.state, waiting.attempt, waiting.reason) == (
        JobState.QUEUED,
        2,
        "attempt 1 failed: exit status 3",
    )
    assert await house.settle() is not None  # not before it is due
    assert house.engine.starts == ["j1/1"]
    house.clock.moment = waiting.next_attempt_at or 0
    await house.settle()
    assert house.engine.starts == ["j1/1", "j1/2"]
    assert (house.get().state, house.get().reason) == (JobState.FAILED, "attempt 2 failed: exit status 3")
    with house.database.write() as connection:
        assert jobs.retry(connection, "j1", 2)
    house.engine.status = HEALTHY
    await house.settle()
    assert (house.get().state, house.get().attempt) == (JobState.SUCCEEDED, 3)


async def test_an_ae_title_says_when_a_failed_run_is_tried_again(house: House) -> None:
    house.job(attempts_allowed=2, policy=replace(AE, settings={"jobRetryDelay": "120000"}))
    house.engine.status = FAULTED
    await house.settle()
    waits = (house.get().next_attempt_at or 0) - house.clock.moment
    assert 120 <= waits <= 144  # with jitter


async def test_an_engine_without_trace_of_the_run_costs_an_attempt(house: House) -> None:
    house.job(attempts_allowed=2)
    house.engine.status = JobStatus(EngineState.UNKNOWN, healthy=False, reason="interrupted")
    await house.settle()
    assert (house.get().attempt, house.get().reason) == (2, "attempt 1 failed: interrupted")


@pytest.mark.parametrize("verb", ["create", "upload", "start"])
async def test_an_engine_that_is_away_is_waited_for(house: House, verb: str) -> None:
    house.job()
    away = True

    def fail(called: str) -> None:
        if called == verb and away:
            raise TemporaryError("the platform is away")

    house.engine.fail = fail
    for failures in range(1, 30):
        await house.settle()
        job = house.get()
        assert (job.failures, job.reason, job.attempt) == (failures, "the platform is away", 1)
        house.clock.moment = job.next_attempt_at or 0
    away = False
    await house.settle()
    assert house.get().state is JobState.SUCCEEDED


async def test_an_engine_that_was_away_while_a_job_ran(house: House) -> None:
    """Its failures, and what they were, are forgotten once it answers: it is not away any more."""
    house.job()
    house.engine.status = RUNNING
    await house.controller.step()
    await house.until("j1", JobState.STARTED)
    await house.controller.stop()
    with house.database.write() as connection:
        jobs.step_failed(connection, "j1", 1000, "the platform is away")
    house.restart()
    await house.controller.step()
    for _ in range(500):
        if not house.get().failures:
            break
        await asyncio.sleep(0.01)
    job = house.get()
    assert (job.state, job.failures, job.reason, job.next_attempt_at) == (JobState.STARTED, 0, None, None)
    await house.controller.stop()


async def test_results_that_cannot_be_taken_are_tried_for_less_and_less_often(house: House) -> None:
    """That the engine answers in between says nothing of them."""
    house.job()
    house.collector.trouble = TemporaryError("Permission denied at result file 2")
    delays = []
    for failures in range(1, 8):
        await house.settle()
        job = house.get()
        assert (job.failures, job.reason, job.attempt) == (failures, "Permission denied at result file 2", 1)
        delays.append((job.next_attempt_at or 0) - house.clock.moment)
        house.clock.moment = job.next_attempt_at or 0
    assert delays == sorted(delays)
    assert delays[-1] >= STEP_CAP
    house.collector.trouble = None
    await house.settle()
    assert (house.get().state, house.get().reason) == (JobState.SUCCEEDED, None)


async def test_a_permanent_error_is_a_dead_letter_at_once(house: House) -> None:
    house.job(attempts_allowed=5)

    def fail(_verb: str) -> None:
        raise PermanentError("no such command")

    house.engine.fail = fail
    await house.settle()
    assert (house.get().state, house.get().reason) == (JobState.FAILED, "no such command")


async def test_what_can_never_start_is_canceled_at_the_engine(house: House) -> None:
    house.job()

    def fail(verb: str) -> None:
        if verb == "upload":
            raise PermanentError("a file is gone")

    house.engine.fail = fail
    house.engine.cancel_trouble = TemporaryError("the platform is away")
    await house.settle()
    assert (house.get().state, house.get().reason) == (JobState.CREATED, "the platform is away")  # and is tried again
    house.engine.cancel_trouble = None
    house.clock.moment = house.get().next_attempt_at or 0
    await house.settle()
    assert (house.get().state, house.get().reason) == (JobState.FAILED, "a file is gone")
    assert house.engine.canceled == ["j1/1"]


async def test_an_engine_that_lost_a_job_does_not_keep_it_from_being_a_dead_letter(house: House) -> None:
    house.job()

    def fail(verb: str) -> None:
        if verb == "start":
            raise PermanentError("job not found")

    house.engine.fail = fail
    house.engine.cancel_trouble = PermanentError("job not found")
    await house.settle()
    assert (house.get().state, house.get().reason) == (JobState.FAILED, "job not found")


async def test_an_engine_is_told_priority_and_metadata(house: House) -> None:
    house.job(policy=replace(AE, settings={"priority": "Higher"}))
    await house.settle()
    spec = house.engine.created["j1/1"]
    assert (spec.priority, spec.metadata) == (JobPriority.HIGHER, {"Source": "LUNG", "Instances": "2"})


async def test_a_pipeline_that_only_the_platform_can_know(house: House) -> None:
    house.job()
    house.snapshot = replace(snapshot(pipelines=[]), has_platform=True)
    await house.settle()
    assert house.get().state is JobState.SUCCEEDED
    assert (house.platform.starts, house.engine.starts) == (["j1/1"], [])


async def test_a_pipeline_that_is_gone(house: House) -> None:
    house.job()
    house.snapshot = snapshot(pipelines=[])
    await house.settle()
    assert house.get().state is JobState.FAILED
    assert "pipeline p1 is not defined" in (house.get().reason or "")


async def test_a_job_that_runs_while_its_pipeline_is_gone_waits_and_can_be_canceled(house: House) -> None:
    house.job()
    house.engine.status = RUNNING
    await house.controller.step()
    await house.until("j1", JobState.STARTED)
    house.restart()
    house.snapshot = snapshot(pipelines=[])
    await house.controller.step()
    async with asyncio.timeout(10):
        while "not defined any more" not in (house.get().reason or ""):
            await asyncio.sleep(0.01)
    assert (house.get().state, house.engine.canceled) == (JobState.STARTED, [])
    house.engine.cancel_trouble = TemporaryError("it does not end in time")
    with pytest.raises(TemporaryError):  # it would run on, and a retry beside it
        await house.controller.cancel("j1")
    assert house.get().state is JobState.STARTED
    house.engine.cancel_trouble = None
    assert await house.controller.cancel("j1")
    assert (house.get().state, house.engine.canceled) == (JobState.CANCELED, ["j1/1"])


async def test_a_restart_adopts_the_running_job(house: House) -> None:
    house.job()
    house.engine.status = RUNNING
    await house.controller.step()
    await house.until("j1", JobState.STARTED)
    await house.controller.stop()
    house.restart()
    house.engine.status = HEALTHY
    await house.settle()
    assert house.get().state is JobState.SUCCEEDED
    assert house.engine.starts == ["j1/1"]
    assert house.get().attempt == 1


async def test_a_job_made_just_before_a_crash_is_found_not_made_again(house: House) -> None:
    house.job()
    spec = house.controller._spec(house.get(), ())
    await house.engine.create_job(spec)
    first = house.engine.created["j1/1"]
    await house.settle()
    assert house.engine.created["j1/1"] is first


async def test_concurrency(house: House) -> None:
    house.snapshot = snapshot(pipelines=[replace(PIPELINE, concurrency=2)])
    house.engine.status = RUNNING
    for job_id in ("j1", "j2", "j3"):
        house.job(job_id)
    await house.controller.step()
    await house.until("j2", JobState.STARTED)
    await house.controller.step()
    assert house.get("j3").state is JobState.QUEUED
    house.engine.status = HEALTHY
    await house.until("j1", JobState.SUCCEEDED)
    await house.until("j2", JobState.SUCCEEDED)
    await house.settle()
    assert house.get("j3").state is JobState.SUCCEEDED


async def test_cancel(house: House) -> None:
    house.job()
    house.engine.status = RUNNING
    await house.controller.step()
    await house.until("j1", JobState.STARTED)
    assert await house.controller.cancel("j1")
    assert house.engine.canceled == ["j1/1"]
    assert house.get().state is JobState.CANCELED
    assert not await house.controller.cancel("j1")
    assert not await house.controller.cancel("nothing")


async def test_a_dead_letter_is_given_up_also_while_its_engine_is_away(house: House) -> None:
    """Else its files would stay for ever: retention waits for a person to retry or cancel it."""
    house.job()
    house.engine.status = FAULTED
    await house.settle()
    assert house.get().state is JobState.FAILED
    house.engine.cancel_trouble = TemporaryError("the platform is away")
    assert await house.controller.cancel("j1")
    assert (house.get().state, house.get().reason) == (JobState.CANCELED, "canceled by a person")
    assert not await house.controller.cancel("j1")


async def test_what_a_dead_letter_left_running_is_ended_with_it(house: House) -> None:
    house.job()
    house.engine.status = FAULTED
    await house.settle()
    assert await house.controller.cancel("j1")
    assert house.engine.canceled == ["j1/1"]


async def test_a_job_that_has_succeeded_cannot_be_canceled(house: House) -> None:
    house.job()
    await house.settle()
    assert house.get().state is JobState.SUCCEEDED
    assert not await house.controller.cancel("j1")
    assert house.get().state is JobState.SUCCEEDED


async def test_what_was_seen_of_a_job_before_its_task_ended_does_not_count(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task ends between our look into the database and what we do about it: no attempt is lost, none doubled."""
    house.job(attempts_allowed=3)
    house.engine.status = RUNNING
    await house.controller.step()
    await house.until("j1", JobState.STARTED)
    seen = house.controller._load()  # the job is started
    ended = threading.Event()

    def slow() -> tuple[list[Job], float | None]:
        ended.wait(10)
        return seen

    monkeypatch.setattr(house.controller, "_load", slow)
    looking = asyncio.create_task(house.controller.step())
    await asyncio.sleep(0)  # it looks, and while it does, the run fails
    house.engine.status = FAULTED
    while house.controller.active_jobs:
        await asyncio.sleep(0.01)
    ended.set()
    await looking
    assert not house.controller.active_jobs
    assert house.get().attempt == 2


async def test_a_late_word_does_not_revive_a_canceled_job(house: House) -> None:
    """A thread outlives its task that was canceled: what it writes then changes nothing."""
    house.job()
    house.engine.status = RUNNING
    await house.controller.step()
    await house.until("j1", JobState.STARTED)
    assert await house.controller.cancel("j1")
    with house.database.write() as connection:
        jobs.started(connection, "j1", 2)
        jobs.next_attempt(connection, "j1", 2, "why")
        jobs.step_failed(connection, "j1", 2, "why")
        jobs.failed(connection, "j1", 2, "why")
        assert not jobs.succeeded(connection, "j1", 1, 2, None)
    assert (house.get().state, house.get().reason) == (JobState.CANCELED, "canceled by a person")


async def test_a_job_that_is_being_canceled_is_not_taken_up_again(house: House) -> None:
    house.job()
    house.engine.status = RUNNING
    await house.controller.step()
    await house.until("j1", JobState.STARTED)
    steps = []

    async def step_meanwhile(ref: JobRef, reason: str) -> None:
        await house.controller.step()
        steps.append(house.controller.active_jobs)

    house.engine.cancel_job = step_meanwhile  # type: ignore[method-assign]
    assert await house.controller.cancel("j1")
    assert steps == [frozenset()]


async def test_a_fact_that_cannot_be_stored_makes_no_spin(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.job()
    looks: list[str] = []

    def full(*_: object) -> None:
        looks.append("stored")
        raise OSError("database or disk is full")

    monkeypatch.setattr(job_controller, "UNSTORED_PAUSE", 3600.0)
    monkeypatch.setattr(house.controller, "_write", full)
    for _ in range(5):
        await house.controller.step()
        await asyncio.sleep(0.02)
    assert house.controller.active_jobs == {"j1"}
    assert len(looks) == 2  # that it was created, and that this failed
    await house.controller.stop()


async def test_a_long_queue_stays_in_the_database_and_hides_no_other_pipeline(house: House) -> None:
    house.snapshot = snapshot(pipelines=[PIPELINE, replace(PIPELINE, id="p2")])
    for number in range(WINDOW * 2):
        house.job(f"j{number:03d}")
    with house.database.write() as connection:
        other = Job("k", "n-k", "b-j000", "p2", "other", "LUNG", JobState.QUEUED, 1, 1, 0, 2000)
        jobs.add(connection, other, None)
    due, _ = house.controller._load()
    assert [job.id for job in due] == [*(f"j{number:03d}" for number in range(1 + WINDOW)), "k"]


def test_a_job_whose_files_are_gone_is_not_tried_again(house: House) -> None:
    house.job()
    with house.database.write() as connection:
        jobs.canceled(connection, "j1", 2)
        jobs.mark_removed(connection, "j1", 3)
        assert not jobs.retry(connection, "j1", 1)
