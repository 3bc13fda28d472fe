"""The processor runner on a real database: jobs and the mark that a processor is done are one fact."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from dicom_adapter.core.errors import PermanentError, TemporaryError
from dicom_adapter.core.model import Batch, BatchState, Instance, Job, JobState
from dicom_adapter.core.ports import Processor, ProcessorContext
from dicom_adapter.core.snapshot import Pipeline
from dicom_adapter.manager import plugin_call, processor_runner
from dicom_adapter.manager.processor_runner import ACTIVE_WINDOW, MAX_FAILURES, MAX_LEFT_BEHIND, ProcessorRunner
from dicom_adapter.processors.job import JobProcessor
from dicom_adapter.store import associations, batches, jobs
from dicom_adapter.store.tables import processings
from tests.databases import fresh
from tests.fakes import AE, FakeClock, association, snapshot
from tests.waiting import eventually

Behaviour = Callable[[Batch, ProcessorContext], Awaitable[None]]


async def submit_all(_batch: Batch, context: ProcessorContext) -> None:
    for pipeline in context.ae_title.pipelines:
        context.submit_job(pipeline)


class Plugin:
    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def process(self, batch: Batch, context: ProcessorContext) -> None:
        await self._behaviour(batch, context)


class House:
    """A runner over one database, with processors by name."""

    def __init__(self, folder: Path) -> None:
        self.database = fresh(folder)
        self.clock = FakeClock()
        self.snapshot = snapshot()
        self.processors: dict[str, Behaviour] = {"job": submit_all}
        self.runner = ProcessorRunner(
            self.database,
            lambda: self.snapshot,
            self.clock,
            resolve=self.resolve,
            path_of=lambda instance: folder / f"{instance.number}.dcm",
            on_jobs=lambda: None,
        )

    async def step(self) -> float | None:
        """One step, and what it began."""
        due_in = await self.runner.step()
        await asyncio.gather(*self.runner._active.values())
        return due_in

    def resolve(self, name: str) -> Processor:
        if name not in self.processors:
            raise PermanentError(f"there is no processor {name}")
        return Plugin(self.processors[name])

    def batch(self, *processors: str, uids: tuple[str, ...] = ("1.2.1", "1.2.2"), ae_title: str = AE.ae_title) -> Batch:
        """A closed batch for these processors."""
        record, instances = association(uids=uids)
        policy = replace(AE, processors=processors or ("job",))
        batch = Batch(f"b-{record.id}", ae_title, BatchState.COLLECTING, self.clock.now(), policy)
        with self.database.write() as connection:
            associations.add(connection, record, instances, set_aside_until=None)
            batches.open_batch(connection, batch)
            batches.add_instances(connection, batch.id, instances, overwrite=False)
            batches.close(connection, batch.id, self.clock.now())
        return batch

    def state(self, batch: Batch) -> tuple[BatchState, str | None]:
        with self.database.read() as connection:
            found = batches.get(connection, batch.id)
        assert found is not None
        return found.state, found.held_reason

    def waiting(self, batch: Batch) -> tuple[int, str | None]:
        """The failures of a batch that waits, and why it waits."""
        with self.database.read() as connection:
            row = connection.execute(select(processings).where(processings.c.batch_id == batch.id)).one()
        return row.failures, row.reason

    def jobs(self) -> list[Job]:
        with self.database.read() as connection:
            return jobs.due(connection, self.clock.now(), 100)

    def instances_of(self, job: Job) -> list[Instance]:
        with self.database.read() as connection:
            return jobs.instances_of_job(connection, job)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


async def test_one_job_for_a_batch(house: House) -> None:
    batch = house.batch()
    await house.step()
    [job] = house.jobs()
    assert (job.state, job.attempt, job.attempts_allowed) == (JobState.QUEUED, 1, 2)
    assert job.name == f"lung-lung-ai-{batch.id}"
    assert house.state(batch) == (BatchState.PROCESSED, None)
    assert [one.sop_instance_uid for one in house.instances_of(job)] == ["1.2.1", "1.2.2"]


async def test_processors_run_in_order_each_once(house: House) -> None:
    ran: list[str] = []

    def note(name: str) -> Behaviour:
        async def behaviour(_batch: Batch, _context: ProcessorContext) -> None:
            ran.append(name)

        return behaviour

    house.processors = {name: note(name) for name in "abc"}
    batch = house.batch("a", "b", "c")
    for _ in range(4):
        await house.step()
    assert ran == ["a", "b", "c"]
    assert house.state(batch)[0] is BatchState.PROCESSED


async def test_a_part_of_the_batch_for_each_job(house: House) -> None:
    async def by_instance(_batch: Batch, context: ProcessorContext) -> None:
        for index, instance in enumerate(context.instances):
            context.submit_job("p1", [instance], key=str(index))

    house.processors["job"] = by_instance
    house.batch()
    await house.step()
    assert [[one.sop_instance_uid for one in house.instances_of(job)] for job in house.jobs()] == [
        ["1.2.1"],
        ["1.2.2"],
    ]


async def test_two_jobs_of_one_pipeline_without_a_key_are_a_mistake(house: House) -> None:
    async def twice(_batch: Batch, context: ProcessorContext) -> None:
        context.submit_job("p1")
        context.submit_job("p1")

    house.processors["job"] = twice
    batch = house.batch()
    await house.step()
    state, reason = house.state(batch)
    assert state is BatchState.HELD
    assert "asks twice for pipeline lung_ai" in (reason or "")
    assert house.jobs() == []  # all or none


@pytest.mark.parametrize(
    "names",
    [
        ("bone_1", "bone-1"),
        ("thorax-lung-nodule-segmentation-ct-v1", "thorax-lung-nodule-segmentation-ct-v2"),
        ("bone", "bone"),
    ],
)
async def test_pipelines_whose_names_come_to_the_same_get_a_job_each(house: House, names: tuple[str, str]) -> None:
    """Names of jobs lack what is not allowed in them, and what is too much; nothing says that two cannot be alike."""
    house.snapshot = snapshot(pipelines=[Pipeline(f"p{number}", name) for number, name in enumerate(names, start=1)])

    async def grouped(_batch: Batch, context: ProcessorContext) -> None:
        for key in ("a" * 12, "b" * 12):
            for pipeline in ("p1", "p2"):
                context.submit_job(pipeline, key=key)

    house.processors["job"] = grouped
    batch = house.batch()
    await house.step()
    assert house.state(batch) == (BatchState.PROCESSED, None)
    assert sorted(one.pipeline_id for one in house.jobs()) == ["p1", "p1", "p2", "p2"]
    assert len({one.name for one in house.jobs()}) == 4


async def test_a_temporary_error_is_tried_again_when_it_is_due(house: House) -> None:
    tries = 0

    async def at_the_second_try(batch: Batch, context: ProcessorContext) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise TemporaryError("the registry is away", delay=40)
        await submit_all(batch, context)

    house.processors["job"] = at_the_second_try
    batch = house.batch()
    await house.step()
    assert await house.step() == pytest.approx(40)
    assert (tries, house.jobs()) == (1, [])
    house.clock.moment += 41
    await house.step()
    assert len(house.jobs()) == 1
    assert house.state(batch)[0] is BatchState.PROCESSED


async def test_a_batch_that_always_fails_is_held_and_blocks_no_other(house: House) -> None:
    async def fail_for_the_first(batch: Batch, context: ProcessorContext) -> None:
        if batch.id == poison.id:
            raise ValueError("cannot read this")
        await submit_all(batch, context)

    house.processors["job"] = fail_for_the_first
    poison, good = house.batch(), house.batch()
    await house.step()
    assert house.state(good)[0] is BatchState.PROCESSED
    for _ in range(MAX_FAILURES):
        house.clock.moment += 1000
        await house.step()
    state, reason = house.state(poison)
    assert state is BatchState.HELD
    assert reason == f"processor job failed: ValueError (the log says where) ({MAX_FAILURES} times)"


async def test_an_unknown_processor_holds_the_batch_until_it_is_released(house: House) -> None:
    batch = house.batch("missing")
    await house.step()
    assert house.state(batch) == (BatchState.HELD, "processor missing: there is no processor missing")
    house.processors["missing"] = submit_all
    with house.database.write() as connection:
        assert batches.release(connection, batch.id, house.clock.now())
    await house.step()
    assert house.state(batch)[0] is BatchState.PROCESSED


async def test_a_processor_that_hangs_holds_up_no_other_ae_title(house: House) -> None:
    async def hang(_batch: Batch, _context: ProcessorContext) -> None:
        await asyncio.Event().wait()

    house.processors["hang"] = hang
    for _ in range(ACTIVE_WINDOW + 1):  # more than one look shows
        hanging = house.batch("hang")
    other = house.batch(ae_title="BRAIN")
    while await house.runner.step() == 0.0:
        await asyncio.sleep(0)
    while house.state(other)[0] is BatchState.CLOSED:
        await asyncio.sleep(0.01)
    assert house.state(hanging)[0] is BatchState.CLOSED
    await house.runner.stop()  # and does not wait for it
    assert house.state(hanging)[0] is BatchState.CLOSED


async def test_a_processor_that_takes_too_long_is_told_in_words(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_batch: Batch, _context: ProcessorContext) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(processor_runner, "PROCESSOR_DEADLINE", 0.01)
    house.processors["job"] = hang
    batch = house.batch()
    for _ in range(MAX_FAILURES):
        await house.step()
        house.clock.moment += 1000
    assert house.state(batch) == (
        BatchState.HELD,
        f"processor job failed: it did not end within 0.01 s ({MAX_FAILURES} times)",
    )


class Blocking:
    """A plug-in whose blocking work hangs in a thread, as that of examples/processors would, until it is released."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._released = threading.Event()

    async def process(self, batch: Batch, context: ProcessorContext) -> None:
        self.calls.append(batch.id)
        await asyncio.to_thread(self._released.wait, 10)  # a test that fails has to end
        await submit_all(batch, context)

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def blocking(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Blocking]:
    monkeypatch.setattr(processor_runner, "PROCESSOR_DEADLINE", 0.05)
    monkeypatch.setattr(plugin_call, "CANCEL_GRACE", 0.05)
    plugin = Blocking()
    house.processors["block"] = plugin.process
    yield plugin
    plugin.release()


async def test_threads_that_hang_are_not_those_of_the_adapter(house: House, blocking: Blocking) -> None:
    with ThreadPoolExecutor(2) as ours:  # as few as a small machine has
        asyncio.get_running_loop().set_default_executor(ours)
        for number in range(4):
            house.batch("block", ae_title=f"HANGS{number}")
        other = house.batch(ae_title="BRAIN")
        async with asyncio.timeout(5):
            await house.step()
        blocking.release()
    assert len(blocking.calls) == 4
    assert house.state(other)[0] is BatchState.PROCESSED


async def test_an_ae_title_leaves_so_many_calls_behind_and_then_waits(house: House, blocking: Blocking) -> None:
    made = [house.batch("block") for _ in range(MAX_LEFT_BEHIND + 2)]
    await house.step()
    assert blocking.calls == [one.id for one in made[:MAX_LEFT_BEHIND]]
    assert house.waiting(made[0]) == (1, "processor block failed: it did not end within 0.05 s and still runs")
    assert house.waiting(made[-1]) == (
        0,
        f"processor block is not called: {MAX_LEFT_BEHIND} calls for AE Title LUNG did not end and still run; if they"
        " hang, restart the adapter",
    )
    for _ in range(MAX_FAILURES):
        house.clock.moment += 1000
        await house.step()
    assert len(blocking.calls) == MAX_LEFT_BEHIND
    assert house.state(made[0]) == (
        BatchState.HELD,
        f"processor block failed: it did not end and still runs ({MAX_FAILURES} times)",
    )
    assert house.state(made[-1])[0] is BatchState.CLOSED  # by no fault of its own
    blocking.release()
    await asyncio.to_thread(eventually, lambda: not house.runner._left_behind_of("LUNG"))
    house.clock.moment += 1000
    await house.step()
    assert house.state(made[-1])[0] is BatchState.PROCESSED


async def test_a_released_batch_goes_by_what_is_configured_now(house: House) -> None:
    """The advice was to mend the configuration and to release the batch."""
    house.processors |= {"job": JobProcessor().process, "done": _nothing}
    batch = house.batch("done", "job", "old")
    unmapped = replace(batch.policy, pipelines=())
    with house.database.write() as connection:
        batches.hold(connection, batch.id, "a test")
        assert batches.release(connection, batch.id, 1000, unmapped)
    for _ in range(3):
        await house.step()
    state, reason = house.state(batch)
    assert (state, "map it, then release the batch" in (reason or "")) == (BatchState.HELD, True)
    with house.database.write() as connection:
        assert batches.release(
            connection, batch.id, 1000, replace(unmapped, pipelines=("p1",), processors=("x", "job"))
        )
    for _ in range(3):
        await house.step()
    assert house.state(batch)[0] is BatchState.PROCESSED
    assert len(house.jobs()) == 1


async def test_a_released_batch_with_nothing_left_to_do_is_processed(house: House) -> None:
    house.processors["done"] = _nothing
    batch = house.batch("done", "missing")
    for _ in range(3):
        await house.step()
    assert house.state(batch)[0] is BatchState.HELD
    with house.database.write() as connection:
        assert batches.release(connection, batch.id, 1000, replace(AE, processors=("done",)))
    assert house.state(batch)[0] is BatchState.PROCESSED


async def _nothing(_batch: Batch, _context: ProcessorContext) -> None:
    pass
