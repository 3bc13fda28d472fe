"""Tells the Results Service what became of its tasks (D10), again and again until it takes note.

The verdict is a row before it is told, and that it was told is a row after that: a crash in between tells it twice,
which says nothing new, and sends nothing twice.
"""

from __future__ import annotations

import asyncio
import random

import structlog

from dicom_adapter.clock import Clock
from dicom_adapter.core.errors import TemporaryError
from dicom_adapter.core.model import ResultsTask, ResultsTaskState
from dicom_adapter.core.ports import ResultsService
from dicom_adapter.core.retry import step_delay
from dicom_adapter.crash_points import crash_point
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.store import results_tasks
from dicom_adapter.store.database import Database

log = structlog.get_logger("results")

REPORTS_AT_ONCE = 10  # in one step


class ResultsReporter:
    """See the module. `trigger`: pulled when a task is over."""

    name = "results reports"

    def __init__(self, database: Database, clock: Clock, service: ResultsService, trigger: Trigger) -> None:
        self.trigger = trigger
        self._database = database
        self._clock = clock
        self._service = service

    async def step(self) -> float | None:
        due, next_due_in = await asyncio.to_thread(self._due)
        for task in due:
            try:
                crash_point("results_task.before_report")
                await self._report(task)
                crash_point("results_task.after_report")
                await asyncio.to_thread(self._reported, task)
            except TemporaryError as error:
                await asyncio.to_thread(self._wait, task, str(error))
        return 0.0 if len(due) == REPORTS_AT_ONCE else next_due_in

    async def stop(self) -> None:
        pass

    async def _report(self, task: ResultsTask) -> None:
        if task.state is ResultsTaskState.SUCCEEDED:
            await self._service.report_success(task.task_id)
        else:
            again = task.state is ResultsTaskState.RETURNED
            await self._service.report_failure(task.task_id, retry_later=again)

    def _reported(self, task: ResultsTask) -> None:
        with self._database.write() as connection:
            results_tasks.reported(connection, task, self._clock.now())
        words = {"results_task": task.id, "task": task.task_id, "reason": task.reason}
        if task.state is ResultsTaskState.SUCCEEDED:
            log.info("task marked as successful", **words)
        else:
            log.warning("task marked as failed", retry_later=task.state is ResultsTaskState.RETURNED, **words)

    def _wait(self, task: ResultsTask, reason: str) -> None:
        delay = step_delay(task.failures + 1, random.random())
        if task.failures % 10 == 0:  # for as long as it takes, and not a line for each try
            log.warning("a report waits", results_task=task.id, why=reason, tries=task.failures + 1)
        with self._database.write() as connection:
            results_tasks.step_failed(connection, task.id, self._clock.steady() + delay, None)

    def _due(self) -> tuple[list[ResultsTask], float | None]:
        now = self._clock.steady()
        with self._database.read() as connection:
            next_at = results_tasks.next_due_at(connection, now)
            due = results_tasks.to_report(connection, now, REPORTS_AT_ONCE)
            return due, None if next_at is None else next_at - now
