"""Takes up results tasks: their files come from the platform (D8), and then their exports may be sent.

A turn begins here: the destinations are looked up now, and are the same until the turn is over, whatever is configured
meanwhile. A crash, or another turn, costs the files that are not here, no more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from dicom_adapter.clock import Clock
from dicom_adapter.core.errors import TemporaryError, in_words
from dicom_adapter.core.export_policy import WarningPolicy, is_delivered
from dicom_adapter.core.model import DeliveryState, ExportState, ResultsTask
from dicom_adapter.core.retry import step_delay
from dicom_adapter.core.snapshot import ConfigSnapshot, Destination
from dicom_adapter.crash_points import crash_point
from dicom_adapter.manager.results_files import ResultsFiles
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.store import export_tasks, results_tasks
from dicom_adapter.store.database import Database

log = structlog.get_logger("results")

UNSTORED_PAUSE = 5.0  # seconds before a task is worked on again whose fact could not be stored


@dataclass(frozen=True, slots=True)
class DownloadSettings:
    """`at_once`: tasks. `warnings`: see `core.export_policy.WarningPolicy`."""

    at_once: int
    warnings: WarningPolicy


@dataclass(frozen=True, slots=True)
class _Turn:
    """What is to be done: `peers` by the id of the export, and the numbers of the files that they miss."""

    peers: Mapping[str, Destination]
    wanted: Sequence[int]


class ResultsDownloader:
    """See the module. `on_files` wakes the exporter, `on_end` whoever reports."""

    name = "results downloads"

    def __init__(
        self,
        database: Database,
        snapshot: Callable[[], ConfigSnapshot],
        clock: Clock,
        files: ResultsFiles,
        settings: DownloadSettings,
        *,
        on_files: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self.trigger = Trigger()
        self._database = database
        self._snapshot = snapshot
        self._clock = clock
        self._files = files
        self._settings = settings
        self._on_files = on_files
        self._on_end = on_end
        self._active: dict[str, asyncio.Task[None]] = {}

    async def step(self) -> float | None:
        # What was worked on when we began to look may have changed since: what we saw of it does not count.
        busy = set(self._active)
        due, next_due_in = await asyncio.to_thread(self._due)
        for task in due:
            if task.id in busy or task.id in self._active:
                continue
            if len(self._active) >= self._settings.at_once:
                break
            self._active[task.id] = asyncio.create_task(self._work(task), name=f"results task {task.id}")
            self._active[task.id].add_done_callback(partial(self._ended, task.id))
        return next_due_in

    async def stop(self) -> None:
        tasks = list(self._active.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task_id: str, _task: asyncio.Task[None]) -> None:
        del self._active[task_id]
        self.trigger.pull()

    async def _work(self, task: ResultsTask) -> None:
        try:
            try:
                await self._take_turn(task)
            except TemporaryError as error:
                await asyncio.to_thread(self._wait, task, str(error))
            except Exception as error:
                log.exception("the download of results failed by our own fault", results_task=task.id)
                await asyncio.to_thread(self._wait, task, in_words(error))
        except Exception:  # not even that could be stored: the database does not take it
            log.exception("a results task waits for the database", results_task=task.id, seconds=UNSTORED_PAUSE)
            await asyncio.sleep(UNSTORED_PAUSE)  # and keeps its place: no spin

    async def _take_turn(self, task: ResultsTask) -> None:
        turn = await asyncio.to_thread(self._begin, task)
        if turn is None:
            self._on_end()
            return
        failures = await self._files.fetch(task, turn.wanted)
        await asyncio.to_thread(self._finish, task, turn, failures)
        self._on_files()

    def _begin(self, task: ResultsTask) -> _Turn | None:
        """What is to be done; None: nothing, as nobody knows where to send the files."""
        destinations = self._snapshot().destinations
        known = ", ".join(sorted(one.name for one in destinations.values())) or "none"
        peers: dict[str, Destination] = {}
        wanted: set[int] = set()
        with self._database.write() as connection:
            for export in export_tasks.of_results_task(connection, task.id):
                if export.state is not ExportState.DOWNLOADING:
                    continue
                peer = destinations.get(export.destination.lower())
                if peer is None:
                    reason = f"destination {export.destination} is not configured; configured: {known}"
                    log.error("results go nowhere", results_task=task.id, export=export.id, why=reason)
                    results_tasks.unknown_destination(connection, export.id, self._clock.now(), reason)
                    continue
                peers[export.id] = peer
                files = export_tasks.files_of(connection, export.id)
                wanted |= {one.number for one in files if not is_delivered(one.state, self._settings.warnings)}
            if not peers:
                results_tasks.settle(connection, task.id, self._clock.now())
                return None
        return _Turn(peers, sorted(wanted))

    def _finish(self, task: ResultsTask, turn: _Turn, failures: Mapping[int, str]) -> None:
        """Judge what is here, and note it: from now on it may be sent."""
        files = self._files.judge(task, turn.wanted, failures)
        crash_point("download.before_commit")
        with self._database.write() as connection:
            results_tasks.downloaded(connection, task.id, turn.peers, files)
        crash_point("download.after_commit")
        failed = sum(one.state is DeliveryState.FAILED for one in files)
        log.info("results downloaded", results_task=task.id, files=len(files), failed=failed)

    def _wait(self, task: ResultsTask, reason: str) -> None:
        delay = step_delay(task.failures + 1, random.random())
        log.warning("a results task waits", results_task=task.id, why=reason, seconds=round(delay, 1))
        with self._database.write() as connection:
            results_tasks.step_failed(connection, task.id, self._clock.steady() + delay, reason)

    def _due(self) -> tuple[list[ResultsTask], float | None]:
        now = self._clock.steady()
        with self._database.read() as connection:
            next_at = results_tasks.next_due_at(connection, now)
            due = results_tasks.to_download(connection, now, 2 * self._settings.at_once)
            return due, None if next_at is None else next_at - now
