"""Removes what retention allows, and forgets rows that are older than `storage.history`.

Files first, then the row that says so: a crash in between removes what is gone already once more, which does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from ..clock import Clock
from ..core.errors import OutOfResources
from ..core.model import Job, JobRef
from ..core.ports import JobEngine
from ..core.retention import removable_at
from ..core.snapshot import ConfigSnapshot
from ..store import associations, batches, jobs
from ..store.database import Database
from .trigger import Trigger

log = structlog.get_logger("housekeeping")

INTERVAL = 5.0  # seconds


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
        snapshot: Callable[[], ConfigSnapshot],
        clock: Clock,
        settings: RetentionSettings,
        *,
        engines: Mapping[str, JobEngine],
        spool: Upkeep,
        on_outcomes: Callable[[], None],
    ) -> None:
        self.trigger = Trigger()
        self._database = database
        self._snapshot = snapshot
        self._clock = clock
        self._settings = settings
        self._engines = engines
        self._spool = spool
        self._on_outcomes = on_outcomes

    async def step(self) -> float | None:
        await asyncio.to_thread(self._mend_spool)
        for batch_id in await asyncio.to_thread(self._removable):
            await self._remove_work(batch_id)
        await asyncio.to_thread(self._remove_associations)
        await asyncio.to_thread(self._forget)
        return INTERVAL

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
        now = self._clock.now()
        with self._database.read() as connection:
            ended = batches.ended_work(connection)
        due = ((batch_id, removable_at(facts, self._settings.retention)) for batch_id, facts in ended)
        return [batch_id for batch_id, at in due if at is not None and at <= now]

    async def _remove_work(self, batch_id: str) -> None:
        for job in await asyncio.to_thread(self._jobs_of, batch_id):
            await self._remove_job(job)
            await asyncio.to_thread(self._spool.remove_results, job.id)
        await asyncio.to_thread(self._mark_removed, batch_id)

    async def _remove_job(self, job: Job) -> None:
        pipeline = self._snapshot().pipelines.get(job.pipeline_id)
        if pipeline is not None and job.engine_job_id is not None and job.engine_payload_id is not None:
            await self._engines[pipeline.engine].remove_job(JobRef(job.engine_job_id, job.engine_payload_id))

    def _jobs_of(self, batch_id: str) -> list[Job]:
        with self._database.read() as connection:
            return jobs.of_batch(connection, batch_id)

    def _mark_removed(self, batch_id: str) -> None:
        now = self._clock.now()
        with self._database.write() as connection:
            batches.mark_removed(connection, batch_id, now)
            for job in jobs.of_batch(connection, batch_id):
                jobs.mark_removed(connection, job.id, now)
        log.info("files of a batch removed: its work has ended", batch=batch_id)

    def _remove_associations(self) -> None:
        now = self._clock.now()
        with self._database.read() as connection:
            aside = associations.set_aside_due(connection, now)
            worked = associations.without_work(connection)
        for association_id in (*aside, *worked):
            self._spool.remove_association(association_id)
        if aside or worked:
            with self._database.write() as connection:
                associations.mark_removed(connection, (*aside, *worked), now)
        for association_id in aside:
            log.info("files of an aborted association removed", association=association_id)

    def _forget(self) -> None:
        with self._database.write() as connection:
            associations.forget(connection, self._clock.now() - self._settings.history)
