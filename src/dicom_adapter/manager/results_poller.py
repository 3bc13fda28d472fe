"""Asks the Results Service for tasks and stores them (D7), before anything is done about them.

The service counts a task as handed out as soon as it has answered. So what it gave is stored before it is asked again,
a stop lets a question that is under way come to its end, and a full disk keeps us from asking at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog
from sqlalchemy import Connection

from dicom_adapter.clock import Clock
from dicom_adapter.core.errors import TemporaryError
from dicom_adapter.core.model import GivenTask, ResultsTask
from dicom_adapter.core.ports import ResultsService
from dicom_adapter.core.results_tasks import Seen, retries_so_far, seen_again, turn_at
from dicom_adapter.core.retry import step_delay
from dicom_adapter.crash_points import crash_point
from dicom_adapter.identifiers import new_id
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.store import results_tasks
from dicom_adapter.store.database import Database

log = structlog.get_logger("results")

PAGE = 10  # tasks asked for at once (contract 2)
BACKLOG = 100  # tasks that are not over: beyond it the others wait at the Results Service
STOP_PATIENCE = 5.0  # seconds that a stop waits for an answer


class Polling(StrEnum):
    """How it is going."""

    BEGINNING = "beginning"
    POLLED = "polled"
    AWAY = "away"  # it does not answer, or not with tasks
    PAUSED = "paused"  # by us


@dataclass(frozen=True, slots=True)
class PollingState:
    """`since`: seconds since the epoch. `reason`: why it is not polled."""

    polling: Polling
    since: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PollSettings:
    """`agent`: the SCU's AE Title. `interval`: seconds. `retry_delays`: "a later time" (`scu.retry-delays`)."""

    agent: str
    interval: float
    retry_delays: Sequence[float]


class ResultsPoller:
    """See the module. `has_room`: whether the storage may take more; `folder_of`: where a task's files are going to be,
    relative to the storage folder."""

    name = "results poller"

    def __init__(
        self,
        database: Database,
        clock: Clock,
        service: ResultsService,
        settings: PollSettings,
        *,
        has_room: Callable[[], bool],
        folder_of: Callable[[str], str],
        on_tasks: Callable[[], None],
    ) -> None:
        self.trigger = Trigger()
        self.state = PollingState(Polling.BEGINNING, clock.now())
        self._database = database
        self._clock = clock
        self._service = service
        self._settings = settings
        self._has_room = has_room
        self._folder_of = folder_of
        self._on_tasks = on_tasks
        self._unstored: Sequence[GivenTask] = ()  # given, and the database did not take them yet
        self._failures = 0
        self._not_before = 0.0
        self._asking: asyncio.Task[float] | None = None

    async def step(self) -> float | None:
        waits = self._not_before - self._clock.steady()
        if waits > 0:
            return waits
        self._asking = asyncio.create_task(self._ask())
        due_in = await asyncio.shield(self._asking)
        self._not_before = self._clock.steady() + due_in
        return due_in

    async def stop(self) -> None:
        """Let an answer that is on its way arrive, and store it."""
        if self._asking is not None and not self._asking.done():
            await asyncio.wait([self._asking], timeout=STOP_PATIENCE)
            self._asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._asking
        if self._unstored:
            tasks = [task.task_id for task in self._unstored]
            log.error("the database did not take tasks that the Results Service counts as handed out", tasks=tasks)

    async def _ask(self) -> float:
        """One question; answers in how many seconds the next one is due."""
        if not self._unstored:
            paused = await asyncio.to_thread(self._pause)
            if paused is not None:
                self._note(Polling.PAUSED, paused)
                return self._settings.interval
            try:
                self._unstored = await self._service.get_pending(self._settings.agent, PAGE)
            except TemporaryError as error:
                self._failures += 1
                self._note(Polling.AWAY, str(error))
                return max(self._settings.interval, step_delay(self._failures, random.random()))
        given = self._unstored
        news = await asyncio.to_thread(self._store, given)
        self._unstored = ()
        self._failures = 0
        self._note(Polling.POLLED, None)
        if given:
            self._on_tasks()
        # A full page of what is being worked on says nothing of another: a service may go on giving it.
        return 0.0 if news and len(given) >= PAGE else self._settings.interval

    def _pause(self) -> str | None:
        """Why not to ask now."""
        if not self._has_room():
            return "too little free space (`storage.reserve-space`, `storage.watermark-percent`)"
        with self._database.read() as connection:
            waiting = results_tasks.waiting_for_files(connection, self._clock.steady())
        return f"{waiting} tasks wait for their files" if waiting >= BACKLOG else None

    def _store(self, given: Sequence[GivenTask]) -> bool:
        """Whether there is something new to do among them."""
        if not given:
            return False
        news = False
        with self._database.write() as connection:
            for task in given:
                known = results_tasks.by_task_id(connection, task.task_id)
                if known is None:
                    self._add(connection, task)
                    news = True
                elif (seen := seen_again(known, task.retries)) is not Seen.IGNORE:
                    news |= self._again(connection, known, task, seen)
        crash_point("results_task.after_commit")
        return news

    def _add(self, connection: Connection, task: GivenTask) -> None:
        own_id, *export_ids = (new_id() for _ in range(1 + len(task.destinations)))
        added = results_tasks.add(connection, task, own_id, export_ids, self._folder_of(own_id), self._clock.now())
        words = {"results_task": own_id, "task": task.task_id}
        if task.problem is not None:
            log.error("a task of the Results Service cannot be worked on", why=task.problem, **words)
            return
        log.info("task of the Results Service taken", files=len(task.uris), job=added.job_id, **words)
        if not task.uris:
            log.warning("the task names no files: it is done", **words)

    def _again(self, connection: Connection, known: ResultsTask, task: GivenTask, seen: Seen) -> bool:
        """Whether it is taken up."""
        retries = retries_so_far(task.retries, known.turns + 1)
        ended_at = self._clock.steady_from_wall(known.ended_at or self._clock.now())
        at = turn_at(ended_at, retries, self._settings.retry_delays, random.random())
        words = {"results_task": known.id, "task": known.task_id}
        if seen is Seen.TAKE_UP and results_tasks.take_up(connection, known.id, retries=retries, next_attempt_at=at):
            waits = max(0.0, at - self._clock.steady())
            log.info("task of the Results Service taken again", retries=retries, seconds=round(waits, 1), **words)
            return True
        results_tasks.report_again(connection, known.id, self._clock.now())
        log.info("a task that is over was given again: it is reported again", state=known.state, **words)
        return False

    def _note(self, polling: Polling, reason: str | None) -> None:
        before = self.state
        if (before.polling, before.reason) != (polling, reason):
            since = self._clock.now() if before.polling is not polling else before.since
            self.state = PollingState(polling, since, reason)
        if before.polling is polling:
            return
        if reason is not None:
            log.warning("the Results Service is not polled", why=reason)
        else:
            log.info("the Results Service is polled", agent=self._settings.agent)
