"""The exporter on a real database: what is sent, what is sent again, and what is given up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from dicom_adapter.core.errors import Stopping
from dicom_adapter.core.export_policy import WarningPolicy
from dicom_adapter.core.model import (
    Batch,
    BatchState,
    DeliveryState,
    ExportFile,
    ExportState,
    ExportTask,
    FileOutcome,
    Job,
    JobState,
)
from dicom_adapter.manager import exporter
from dicom_adapter.manager.exporter import Exporter, ExportSettings
from dicom_adapter.store import batches, export_tasks, jobs
from tests.databases import fresh
from tests.fakes import AE, CT, EXPLICIT, PACS, FakeAgent, FakeClock, failing, snapshot


class House:
    """An exporter with one job's results to send."""

    def __init__(self, folder: Path) -> None:
        self.database = fresh(folder)
        self.clock = FakeClock()
        self.agent = FakeAgent()
        self.destinations = {"pacs": PACS}
        self.exporter = Exporter(
            self.database,
            lambda: replace(snapshot(), destinations=self.destinations),
            self.clock,
            self.agent,
            ExportSettings(2, (10, 20, 30), WarningPolicy.SUCCESS),
        )
        with self.database.write() as connection:
            batches.open_batch(connection, Batch("b", "LUNG", BatchState.CLOSED, 1000, AE))
            jobs.add(connection, Job("j", "n", "b", "p1", "lung_ai", "LUNG", JobState.QUEUED, 1, 1, 0, 1000), None)

    def task(self, files: int, destination: str = "PACS") -> str:
        task = ExportTask(f"e-{destination}", "j", destination, ExportState.PENDING, 0, 0, self.clock.now())
        rows = [
            ExportFile(task.id, number, f"{number}.dcm", CT, f"1.2.{number}", "1.2", EXPLICIT, 100)
            for number in range(1, files + 1)
        ]
        with self.database.write() as connection:
            export_tasks.add(connection, task, rows)
        return task.id

    async def run(self) -> float | None:
        """One step, and what it began."""
        due_in = await self.exporter.step()
        await self.exporter.stop()
        return due_in

    async def turn(self) -> list[str]:
        """One step, and to which destinations it sends."""
        await self.exporter.step()
        served = list(self.exporter._active)
        await asyncio.gather(*self.exporter._active.values())
        return served

    def get(self, task_id: str) -> ExportTask:
        with self.database.read() as connection:
            task = export_tasks.get(connection, task_id)
        assert task is not None
        return task

    def files(self, task_id: str) -> list[str]:
        with self.database.read() as connection:
            return [file.state.value for file in export_tasks.files_of(connection, task_id)]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


async def test_delivered(house: House) -> None:
    task = house.task(3)
    await house.run()
    assert house.get(task).state is ExportState.SUCCEEDED
    assert house.files(task) == ["delivered"] * 3
    assert house.get(task).ended_at == 1000


async def test_exactly_half_failed_is_success_with_the_failed_ones_listed(house: House) -> None:
    task = house.task(4)
    failing(house.agent, [1, 2])
    await house.run()
    assert house.get(task).state is ExportState.SUCCEEDED
    assert house.get(task).reason == "2 of 4 files failed: A700H: no space"
    assert house.files(task) == ["failed", "failed", "delivered", "delivered"]


async def test_only_the_failed_files_are_sent_again_and_then_it_is_a_dead_letter(house: House) -> None:
    task = house.task(3)
    failing(house.agent, [2, 3])
    await house.run()
    for _ in range(8):
        waiting = house.get(task)
        if waiting.next_attempt_at is None:
            break
        assert await house.run() == pytest.approx(waiting.next_attempt_at - house.clock.moment)
        house.clock.moment = waiting.next_attempt_at
        await house.run()
    assert house.agent.sent == [[1, 2, 3], [2, 3], [2, 3], [2, 3]]
    assert (house.get(task).state, house.get(task).attempts) == (ExportState.FAILED, 4)
    house.agent.answers = {}
    with house.database.write() as connection:
        assert export_tasks.retry(connection, task)
    await house.run()
    assert house.agent.sent[-1] == [2, 3]
    assert house.get(task).state is ExportState.SUCCEEDED


async def test_delays_grow(house: House) -> None:
    task = house.task(1)
    failing(house.agent, [1])
    for least in (10, 20, 30):
        await house.run()
        waits = (house.get(task).next_attempt_at or 0) - house.clock.moment
        assert least <= waits <= least * 1.2
        house.clock.moment += waits


async def test_an_unknown_destination_is_given_up_at_once_with_the_known_names(house: House) -> None:
    task = house.task(1, "ELSEWHERE")
    await house.run()
    assert house.agent.sent == []
    assert house.get(task).state is ExportState.FAILED
    assert "destination ELSEWHERE is not configured; configured: PACS" in (house.get(task).reason or "")


async def test_names_of_destinations_compare_without_case(house: House) -> None:
    task = house.task(1, "pacs")
    await house.run()
    assert house.get(task).state is ExportState.SUCCEEDED


async def test_a_warning_is_delivered_and_listed(house: House) -> None:
    task = house.task(1)
    house.agent.answers = {1: FileOutcome(1, DeliveryState.WARNING, 0xB000, "B000H: coercion of data elements")}
    await house.run()
    assert house.files(task) == ["warning"]
    assert house.get(task).state is ExportState.SUCCEEDED
    assert house.get(task).reason == "1 of 1 files were stored with a warning"


async def test_stopping_is_not_an_outcome(house: House) -> None:
    task = house.task(3)

    def stop_before_the_third(file: ExportFile) -> None:
        if file.number == 3:
            raise Stopping("the adapter stops")

    house.agent.before = stop_before_the_third
    await house.run()
    assert (house.get(task).state, house.get(task).attempts) == (ExportState.PENDING, 0)
    assert house.files(task) == ["delivered", "delivered", "pending"]
    house.agent.before = lambda _file: None
    await house.run()
    assert house.agent.sent == [[1, 2, 3], [3]]
    assert house.get(task).state is ExportState.SUCCEEDED


async def test_a_crash_of_the_agent_is_a_failed_try(house: House) -> None:
    task = house.task(2)

    def crash(_file: ExportFile) -> None:
        raise RuntimeError("a bug")

    house.agent.before = crash
    await house.run()
    assert (house.get(task).state, house.get(task).failures) == (ExportState.PENDING, 1)
    assert house.get(task).next_attempt_at is not None


async def test_outcomes_wait_for_a_database_that_is_away_and_nothing_is_sent_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "UNSTORED_PAUSE", 0.01)
    monkeypatch.setattr(exporter, "OUTCOME_INTERVAL", 0.0)
    task = house.task(3)
    full = 10  # so many writes fail
    write = house.database.write

    def refused() -> AbstractContextManager[Connection]:
        nonlocal full
        full -= 1
        if full >= 0:
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))
        return write()

    monkeypatch.setattr(house.database, "write", refused)
    await house.exporter.step()
    while house.get(task).state is ExportState.PENDING:
        await asyncio.sleep(0.01)
    assert house.agent.sent == [[1, 2, 3]]
    assert house.files(task) == ["delivered"] * 3


async def test_the_destination_that_waited_longest_comes_next(house: House) -> None:
    """Two archives that are away and have long queues hold up nobody."""
    names = ("AWAY1", "AWAY2", "PACS")
    house.destinations = {name.lower(): replace(PACS, name=name) for name in names}
    with house.database.write() as connection:
        for name in names:
            for number in range(3):
                job_id = f"{name}{number}"
                queued = JobState.QUEUED
                jobs.add(connection, Job(job_id, job_id, "b", "p1", "lung_ai", "LUNG", queued, 1, 1, 0, 1000), None)
                created_at = 1000 + 100 * names.index(name) + number
                task = ExportTask(f"e-{job_id}", job_id, name, ExportState.PENDING, 0, 0, created_at)
                export_tasks.add(connection, task, [ExportFile(task.id, 1, "1.dcm", CT, "1.2.1", "1.2", EXPLICIT, 1)])
    turns = [await house.turn(), await house.turn(), await house.turn()]
    assert [sorted(turn) for turn in turns] == [["away1", "away2"], ["away1", "pacs"], ["away2", "pacs"]]


async def test_what_was_seen_of_a_task_before_it_ended_does_not_count(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = house.task(2)
    failing(house.agent, [1, 2])
    seen = house.exporter._due()
    concluded = threading.Event()

    def slow() -> tuple[list[ExportTask], float | None]:
        concluded.wait(10)
        return seen

    await house.exporter.step()
    monkeypatch.setattr(house.exporter, "_due", slow)
    looking = asyncio.create_task(house.exporter.step())
    while house.exporter._active:
        await asyncio.sleep(0.01)
    concluded.set()
    await looking
    await house.exporter.stop()
    assert house.agent.sent == [[1, 2]]
    assert house.get(task).failures == 1


def test_results_that_retention_has_removed_are_not_sent_again(house: House) -> None:
    task = house.task(1)
    with house.database.write() as connection:
        jobs.canceled(connection, "j", 2000)
        jobs.mark_removed(connection, "j", 2000)
        assert not export_tasks.retry(connection, task)


async def test_slow_destinations_keep_nothing_else_waiting(house: House) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # which all workers share
    release = threading.Event()

    def send_slowly(_file: ExportFile) -> None:
        release.wait(10)

    house.agent.before = send_slowly
    house.task(1)
    await house.exporter.step()
    try:
        async with asyncio.timeout(5):
            while not house.agent.sent:
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(lambda: not release.is_set())
    finally:
        release.set()
        await house.exporter.stop()
