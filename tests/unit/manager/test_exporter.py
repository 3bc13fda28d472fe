"""The exporter on a real database: what is sent, what is sent again, and what is given up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
from dicom_adapter.manager.exporter import Exporter, ExportSettings
from dicom_adapter.store import batches, export_tasks, jobs
from tests.databases import fresh
from tests.fakes import AE, CT, EXPLICIT, FakeAgent, FakeClock, failing, snapshot


class House:
    """An exporter with one job's results to send."""

    def __init__(self, folder: Path) -> None:
        self.database = fresh(folder)
        self.clock = FakeClock()
        self.agent = FakeAgent()
        self.exporter = Exporter(
            self.database, snapshot, self.clock, self.agent, ExportSettings(2, (10, 20, 30), WarningPolicy.SUCCESS)
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
