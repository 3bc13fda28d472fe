"""Sends results: one queue for each destination, a bounded number of associations in all.

Per file, the outcome is stored as it comes (D9); after a crash the files without one are sent again, which at worst
gives a destination the same SOP Instance twice. A destination that is away blocks nobody else: its task waits, and the
destination that was served longest ago comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from dicom_adapter.clock import Clock
from dicom_adapter.core.errors import Stopping, in_words
from dicom_adapter.core.export_policy import ExportVerdict, WarningPolicy, is_delivered, verdict
from dicom_adapter.core.model import DeliveryState, ExportFile, ExportState, ExportTask, FileOutcome
from dicom_adapter.core.ports import ExportAgent
from dicom_adapter.core.snapshot import ConfigSnapshot, Destination
from dicom_adapter.crash_points import crash_point
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.store import export_tasks, results_tasks
from dicom_adapter.store.database import Database

log = structlog.get_logger("exports")

UNSTORED_PAUSE = 1.0  # seconds between tries to store outcomes that the database does not take
OUTCOME_INTERVAL = 0.25  # seconds: how much a crash can make us send again


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """`retry_delays`: seconds before each further try (`scu.retry-delays`)."""

    max_associations: int
    retry_delays: Sequence[float]
    warnings: WarningPolicy


class Exporter:
    """See the module. `on_results_task`: called when the last export of one is over."""

    name = "exports"

    def __init__(
        self,
        database: Database,
        snapshot: Callable[[], ConfigSnapshot],
        clock: Clock,
        agent: ExportAgent,
        settings: ExportSettings,
        on_results_task: Callable[[], None] = lambda: None,
    ) -> None:
        self.trigger = Trigger()
        self._database = database
        self._snapshot = snapshot
        self._clock = clock
        self._agent = agent
        self._settings = settings
        self._on_results_task = on_results_task
        self._active: dict[str, asyncio.Task[None]] = {}  # destination (lower case) -> the task that sends to it
        self._turns: dict[str, int] = {}  # destination -> when it had its last turn, counted in turns
        # Of their own: in the few that all workers share, slow destinations would keep intake waiting.
        self._threads = ThreadPoolExecutor(settings.max_associations, thread_name_prefix="export")
        self._stopping = False

    async def step(self) -> float | None:
        # What was being sent when we began to look may have changed since: what we saw of it does not count.
        busy = set(self._active)
        due, next_due_in = await asyncio.to_thread(self._due)
        for task in sorted(due, key=lambda one: self._turns.get(one.destination.lower(), 0)):
            destination = task.destination.lower()
            if destination in busy or destination in self._active:
                continue
            if len(self._active) >= self._settings.max_associations:
                break
            self._turns[destination] = 1 + max(self._turns.values(), default=0)
            sending = asyncio.create_task(self._send(task), name=f"export {task.id}")
            self._active[destination] = sending
            sending.add_done_callback(partial(self._ended, destination))
        return next_due_in

    async def stop(self) -> None:
        """End what is being sent; it goes on at the next start, without the files that have an outcome."""
        self._stopping = True
        self._agent.stop()
        await asyncio.gather(*self._active.values(), return_exceptions=True)

    def _ended(self, destination: str, _task: asyncio.Task[None]) -> None:
        del self._active[destination]
        self.trigger.pull()

    async def _send(self, task: ExportTask) -> None:
        recorder = _OutcomeRecorder(self._database, task.id)
        finished: Callable[[], None]
        try:
            sending = asyncio.get_running_loop().run_in_executor(self._threads, self._try, task, recorder)
            give_up = await sending
            finished = partial(self._conclude, task, recorder, give_up=give_up)
        except Stopping:
            log.info("export goes on at the next start", export=task.id)
            finished = recorder.flush
        except Exception as error:
            log.exception("an export failed by our own fault", export=task.id)
            recorder.last_reason = in_words(error)
            finished = partial(self._conclude, task, recorder)
        await self._store(task, finished)

    async def _store(self, task: ExportTask, finished: Callable[[], None]) -> None:
        """Again until the database takes it: nothing is sent twice because of a disk that is full for a while."""
        while True:
            try:
                await asyncio.to_thread(finished)
                return
            except SQLAlchemyError as error:
                if self._stopping:
                    log.error("outcomes of an export are lost: its files are sent again", export=task.id)
                    return
                why = type(error).__name__
                log.error(
                    "outcomes of an export wait for the database", export=task.id, why=why, seconds=UNSTORED_PAUSE
                )
                await asyncio.sleep(UNSTORED_PAUSE)

    def _try(self, task: ExportTask, recorder: _OutcomeRecorder) -> bool:
        """Send what is unsent. True: trying again would change nothing."""
        with self._database.read() as connection:
            files = export_tasks.files_of(connection, task.id)
        unsent = [file for file in files if file.is_sendable and not is_delivered(file.state, self._settings.warnings)]
        # A results task ends its turn with the destination that it began with; a person may mend that of a job's.
        destination = task.peer or self._snapshot().destinations.get(task.destination.lower())
        if destination is None:
            words = self._unknown_destination(task.destination)
            for file in unsent:
                recorder.record(FileOutcome(file.number, DeliveryState.FAILED, reason=words))
        elif unsent:
            log.info("export begins", export=task.id, destination=destination.name, files=len(unsent))
            self._export(destination, unsent, recorder)
        return destination is None

    def _export(self, destination: Destination, unsent: Sequence[ExportFile], recorder: _OutcomeRecorder) -> None:
        self._agent.export(destination, unsent, recorder.record)
        for file in unsent:  # an agent that forgot one must not make it look delivered
            if file.number not in recorder.seen:
                recorder.record(FileOutcome(file.number, DeliveryState.FAILED, reason="it was not tried"))

    def _conclude(self, task: ExportTask, recorder: _OutcomeRecorder, *, give_up: bool = False) -> None:
        recorder.flush()
        crash_point("export.before_commit")
        # The retrying of a results task is the Results Service's: tries of ours beside it would multiply with its own.
        own_tries = () if give_up or task.results_task_id is not None else self._settings.retry_delays
        with self._database.write() as connection:
            files = export_tasks.files_of(connection, task.id)
            decided = verdict(
                [file.state for file in files],
                task.failures,
                own_tries,
                self._settings.warnings,
                random.random(),
                recorder.last_reason or _last_reason(files),
            )
            again = decided.delay is not None
            export_tasks.attempted(
                connection,
                task.id,
                state=decided.state,
                failed=decided.state is not ExportState.SUCCEEDED,
                next_attempt_at=self._clock.steady() + decided.delay if decided.delay is not None else None,
                ended_at=None if again else self._clock.now(),
                reason=decided.reason,
            )
            ended = None
            if task.results_task_id is not None:
                ended = results_tasks.settle(connection, task.results_task_id, self._clock.now())
        crash_point("export.after_commit")
        _log_verdict(task, decided)
        if ended is not None:
            self._on_results_task()

    def _due(self) -> tuple[list[ExportTask], float | None]:
        """The next task of each destination, and in how many seconds one that waits is due."""
        now = self._clock.steady()
        with self._database.read() as connection:
            next_at = export_tasks.next_due_at(connection, now)
            return export_tasks.due(connection, now), None if next_at is None else next_at - now

    def _unknown_destination(self, name: str) -> str:
        known = ", ".join(sorted(one.name for one in self._snapshot().destinations.values())) or "none"
        return f"destination {name} is not configured; configured: {known}"


class _OutcomeRecorder:
    """Stores outcomes as they come, a few at a time: a commit for each would cost more than the sending."""

    def __init__(self, database: Database, task_id: str) -> None:
        self._database = database
        self._task_id = task_id
        self._waiting: list[FileOutcome] = []
        self._flushed_at = time.monotonic()
        self._lock = threading.Lock()
        self.seen: set[int] = set()
        self.last_reason: str | None = None

    def record(self, outcome: FileOutcome) -> None:
        """Keep an outcome. Raises nothing: a database that is away for a moment must not end the association."""
        crash_point("export.after_response")
        with self._lock:
            self.seen.add(outcome.number)
            self._waiting.append(outcome)
            if outcome.state is DeliveryState.FAILED:
                self.last_reason = outcome.reason
        if time.monotonic() - self._flushed_at >= OUTCOME_INTERVAL:
            with contextlib.suppress(SQLAlchemyError):
                self.flush()

    def flush(self) -> None:
        """Store what is not stored yet. Raises SQLAlchemyError; nothing is forgotten then."""
        with self._lock:
            waiting = list(self._waiting)
        try:
            if waiting:
                with self._database.write() as connection:
                    export_tasks.record_outcomes(connection, self._task_id, waiting)
        finally:
            self._flushed_at = time.monotonic()
        with self._lock:
            del self._waiting[: len(waiting)]


def _last_reason(files: Sequence[ExportFile]) -> str | None:
    """Why the last failed file failed, where none was tried."""
    return next((file.reason for file in reversed(files) if file.state is DeliveryState.FAILED), None)


def _log_verdict(task: ExportTask, decided: ExportVerdict) -> None:
    words = {"export": task.id, "destination": task.destination, "reason": decided.reason}
    if task.results_task_id is not None:
        words["results_task"] = task.results_task_id
    if decided.state is ExportState.SUCCEEDED:
        log.info("export succeeded", **words)
    elif decided.delay is not None:
        log.warning("export failed and is tried again", seconds=round(decided.delay, 1), **words)
    elif task.results_task_id is not None:
        log.error("export failed", **words)
    else:
        log.error("export failed for good: `retry` it when the cause is mended", **words)
