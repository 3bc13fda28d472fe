"""Removes what retention allows, and forgets rows that are older than `storage.history`.

Files first, then the row that says so: a crash in between removes what is gone already once more, which does nothing.
What cannot be removed holds up nothing else: the rest is done, and then the step fails, so that a person sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from dicom_adapter.clock import Clock
from dicom_adapter.core.errors import AdapterError, OutOfResources, PermanentError, TemporaryError
from dicom_adapter.core.job_lifecycle import Step, next_step
from dicom_adapter.core.model import Job, JobRef
from dicom_adapter.core.ports import JobEngine
from dicom_adapter.core.retention import removable_at
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.store import associations, batches, jobs, results_tasks
from dicom_adapter.store.database import Database

log = structlog.get_logger("housekeeping")

INTERVAL = 5.0  # seconds
BATCHES_AT_ONCE = 16  # removed in one step, so that a step is short and a stop need not wait


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """Seconds: after work has ended; that facts are kept."""

    retention: float
    history: float


class Upkeep(Protocol):
    """The spool, as far as housekeeping needs it."""

    def remove_association(self, association_id: str) -> None: ...

    def remove_results(self, job_id: str) -> None: ...

    def finish_outcomes(self) -> int:
        """Write the outcomes of associations that ended while the disk was full; answers how many."""
        ...

    @property
    def healthy(self) -> bool: ...

    def probe(self) -> None:
        """Prove that it works; it is healthy again then. Raises OutOfResources."""
        ...


class Housekeeping:
    """See the module. `on_outcomes` wakes intake."""

    name = "housekeeping"

    def __init__(
        self,
        database: Database,
        clock: Clock,
        settings: RetentionSettings,
        *,
        engines: Mapping[str, JobEngine],
        spool: Upkeep,
        on_outcomes: Callable[[], None],
    ) -> None:
        self.trigger = Trigger()
        self._database = database
        self._clock = clock
        self._settings = settings
        self._engines = engines
        self._spool = spool
        self._on_outcomes = on_outcomes

    async def step(self) -> float | None:
        await asyncio.to_thread(self._mend_spool)
        removable = await asyncio.to_thread(self._removable)
        troubles = []
        removed = 0
        for batch_id in removable:
            try:
                await self._remove_work(batch_id)
                removed += 1
            except (AdapterError, OSError) as error:
                troubles.append(f"batch {batch_id}: {error}")
            if removed == BATCHES_AT_ONCE:
                break
        troubles += await asyncio.to_thread(self._remove_results_tasks)
        troubles += await asyncio.to_thread(self._remove_associations)
        await asyncio.to_thread(self._forget)
        if troubles:
            raise TemporaryError(f"files whose time is over cannot be removed: {'; '.join(troubles)}")
        return 0.0 if removed == BATCHES_AT_ONCE else INTERVAL

    async def stop(self) -> None:
        pass

    def _mend_spool(self) -> None:
        """A disk that failed, or was full, may work again: then the spool does too, without a restart."""
        if not self._spool.healthy:
            with contextlib.suppress(OutOfResources):
                self._spool.probe()
                log.info("the storage works again")
        if self._spool.finish_outcomes():
            self._on_outcomes()

    def _removable(self) -> list[str]:
        now, retention = self._clock.now(), self._settings.retention
        with self._database.read() as connection:
            ended = batches.ended_work(connection, before=now - retention)
        due = ((batch_id, removable_at(facts, retention)) for batch_id, facts in ended)
        return [batch_id for batch_id, at in due if at is not None and at <= now]

    async def _remove_work(self, batch_id: str) -> None:
        for job in await asyncio.to_thread(self._jobs_of, batch_id):
            await self._remove_job(job)
            await asyncio.to_thread(self._spool.remove_results, job.id)
        await asyncio.to_thread(self._mark_removed, batch_id)

    async def _remove_job(self, job: Job) -> None:
        if job.engine_job_id is None or job.engine_payload_id is None:
            return
        ref = JobRef(job.engine_job_id, job.engine_payload_id)
        for engine in self._engines.values():  # its pipeline may be another engine's by now, or nobody's
            with contextlib.suppress(PermanentError):  # it is none of this engine's
                await engine.remove_job(ref)

    def _jobs_of(self, batch_id: str) -> list[Job]:
        with self._database.read() as connection:
            return jobs.of_batch(connection, batch_id)

    def _mark_removed(self, batch_id: str) -> None:
        now = self._clock.now()
        with self._database.write() as connection:
            work = jobs.of_batch(connection, batch_id)
            if any(next_step(job) is not Step.DONE for job in work):
                return  # a person has retried one meanwhile: when that is over
            batches.mark_removed(connection, batch_id, now)
            for job in work:
                jobs.mark_removed(connection, job.id, now)
        log.info("files of a batch removed: its work has ended", batch=batch_id)

    def _remove_results_tasks(self) -> list[str]:
        """Remove the files of those that are over and reported; answers with what could not be, in words."""
        now = self._clock.now()
        with self._database.read() as connection:
            due = results_tasks.removable(connection, now - self._settings.retention, BATCHES_AT_ONCE)
        troubles = []
        for results_task_id in due:
            try:
                self._spool.remove_results(results_task_id)
            except OSError as error:
                troubles.append(f"results task {results_task_id}: {error}")
                continue
            with self._database.write() as connection:
                results_tasks.mark_removed(connection, results_task_id, now)
            log.info("files of a results task removed: it is over", results_task=results_task_id)
        return troubles

    def _remove_associations(self) -> list[str]:
        """Remove those that nothing needs any more; answers with what could not be, in words."""
        now = self._clock.now()
        with self._database.read() as connection:
            aside = associations.set_aside_due(connection, now)
            worked = associations.without_work(connection)
        removed, troubles = [], []
        for association_id in (*aside, *worked):
            try:
                self._spool.remove_association(association_id)
                removed.append(association_id)
            except (OSError, ValueError) as error:
                troubles.append(f"association {association_id}: {error}")
        if removed:
            with self._database.write() as connection:
                associations.mark_removed(connection, removed, now)
        for association_id in set(aside) & set(removed):
            log.info("files of an aborted association removed", association=association_id)
        return troubles

    def _forget(self) -> None:
        with self._database.write() as connection:
            before = self._clock.now() - self._settings.history
            results_tasks.forget(connection, before)
            associations.forget(connection, before)
