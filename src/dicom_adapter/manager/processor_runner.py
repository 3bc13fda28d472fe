"""Runs the processors of closed batches, at least once each (hand-over 2).

A processor only asks for jobs; they are made, with the mark that it is done, in one transaction when it has returned
(D4, an outbox). So a crash in the middle makes no job, and the processor runs again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy import Connection

from dicom_adapter.clock import Clock
from dicom_adapter.core.errors import PermanentError, TemporaryError, in_words
from dicom_adapter.core.job_lifecycle import distinct_key, job_name
from dicom_adapter.core.model import Batch, Instance, Job, JobState
from dicom_adapter.core.ports import Processor
from dicom_adapter.core.retry import step_delay
from dicom_adapter.core.snapshot import ClaraAeTitle, ConfigSnapshot
from dicom_adapter.crash_points import crash_point
from dicom_adapter.identifiers import new_id
from dicom_adapter.manager.plugin_call import PluginCall
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.store import batches, jobs
from dicom_adapter.store.database import Database

log = structlog.get_logger("processors")

ACTIVE_WINDOW = 16  # batches looked at in one step: the backlog stays in the database
MAX_FAILURES = 10  # in a row; then the batch is held, so that it never blocks others and is never lost
UNSTORED_PAUSE = 5.0  # seconds before the batches of an AE Title are worked on again whose fact could not be stored
PROCESSOR_DEADLINE = 300.0  # seconds: a plug-in that hangs must not hold its AE Title up for ever
MAX_LEFT_BEHIND = 3  # calls of an AE Title that did not end, each with its threads: then its other batches wait
LEFT_BEHIND_PAUSE = 60.0  # seconds until it is looked whether they have ended

_Due = tuple[Batch, int, str, int]  # batch, position of the processor, its name, its failures in a row


@dataclass(slots=True)
class _Request:
    pipeline_id: str
    instances: Sequence[Instance] | None
    key: str


@dataclass(slots=True)
class _Context:
    """`core.ports.ProcessorContext` over one batch."""

    batch: Batch
    instances: Sequence[Instance]
    path_of: Callable[[Instance], Path]
    requests: list[_Request] = field(default_factory=list)

    @property
    def ae_title(self) -> ClaraAeTitle:
        return self.batch.policy

    def path(self, instance: Instance) -> Path:
        return self.path_of(instance)

    def submit_job(self, pipeline_id: str, instances: Sequence[Instance] | None = None, *, key: str = "") -> None:
        self.requests.append(_Request(pipeline_id, instances, key))


class ProcessorRunner:
    """See the module. `resolve` finds a processor by the name that an AE Title's configuration gives."""

    name = "processors"

    def __init__(
        self,
        database: Database,
        snapshot: Callable[[], ConfigSnapshot],
        clock: Clock,
        *,
        resolve: Callable[[str], Processor],
        path_of: Callable[[Instance], Path],
        on_jobs: Callable[[], None],
    ) -> None:
        self.trigger = Trigger()
        self._database = database
        self._snapshot = snapshot
        self._clock = clock
        self._resolve = resolve
        self._path_of = path_of
        self._on_jobs = on_jobs
        self._active: dict[str, asyncio.Task[None]] = {}  # Clara AE Title -> the task that works on its batches
        self._left_behind: list[tuple[Batch, PluginCall]] = []

    async def step(self) -> float | None:
        # An AE Title that was worked on when we began to look is left out: its batches may have changed since.
        busy = frozenset(self._active)
        due, next_due_in = await asyncio.to_thread(self._due, busy)
        for ae_title, group in _by_ae_title(due).items():
            working = asyncio.create_task(self._process_in_order(group), name=f"processors {ae_title}")
            self._active[ae_title] = working
            working.add_done_callback(partial(self._ended, ae_title))
        return 0.0 if due else next_due_in  # these may have hidden those of other AE Titles

    async def stop(self) -> None:
        """A processor that runs is ended; it runs again at the next start."""
        for working in self._active.values():
            working.cancel()
        await asyncio.gather(*self._active.values(), return_exceptions=True)

    def _ended(self, ae_title: str, _task: asyncio.Task[None]) -> None:
        del self._active[ae_title]
        self.trigger.pull()  # a batch may have another processor, or the backlog more batches

    def _due(self, busy: frozenset[str]) -> tuple[list[_Due], float | None]:
        """What is due, and in how many seconds something else is."""
        now = self._clock.steady()
        with self._database.read() as connection:
            next_at = batches.next_processing_at(connection, now)
            due = batches.to_process(connection, now, ACTIVE_WINDOW, busy)
        return due, None if next_at is None else next_at - now

    async def _process_in_order(self, due: Sequence[_Due]) -> None:
        """Batches of one AE Title keep the order in which they closed; one that has to wait lets later ones pass."""
        try:
            for batch, position, name, failures in due:
                await self._process(batch, position, name, failures)
        except Exception:  # what became of it could not be stored
            log.exception("processors wait", ae_title=due[0][0].called_ae_title, seconds=UNSTORED_PAUSE)
            await asyncio.sleep(UNSTORED_PAUSE)

    async def _process(self, batch: Batch, position: int, name: str, failures: int) -> None:
        left_behind = self._left_behind_of(batch.called_ae_title)
        if len(left_behind) >= MAX_LEFT_BEHIND and batch.id not in left_behind:
            await asyncio.to_thread(self._wait, batch, position, name)
            return
        try:
            if batch.id in left_behind:
                raise TemporaryError("it did not end and still runs")
            context = _Context(batch, await asyncio.to_thread(self._instances, batch), self._path_of)
            await self._call(name, batch, context)
            made = await asyncio.to_thread(self._commit, batch, position, context.requests)
        except PermanentError as error:
            await asyncio.to_thread(self._hold, batch, f"processor {name}: {error}")
        except Exception as error:  # anything unexpected counts as temporary (rule 19)
            if not isinstance(error, TemporaryError):
                log.exception("a processor failed", batch=batch.id, processor=name)
            await asyncio.to_thread(self._try_again, batch, position, name, failures + 1, error)
        else:
            log.info("batch processed", batch=batch.id, processor=name, jobs=made)
            self._on_jobs()

    async def _call(self, name: str, batch: Batch, context: _Context) -> None:
        async def work() -> None:
            await self._resolve(name).process(batch, context)  # it may have to be imported: that can hang as well

        call = PluginCall(f"processor {name}", work)
        try:
            await call.wait(PROCESSOR_DEADLINE)
        finally:
            if not call.ended:
                self._left_behind.append((batch, call))
                log.error("a processor still runs", batch=batch.id, processor=name, such_calls=len(self._left_behind))

    def _left_behind_of(self, ae_title: str) -> list[str]:
        """The batches of an AE Title whose call still runs although nobody waits for it."""
        self._left_behind = [(batch, call) for batch, call in self._left_behind if not call.ended]
        return [batch.id for batch, _ in self._left_behind if batch.called_ae_title == ae_title]

    def _instances(self, batch: Batch) -> list[Instance]:
        with self._database.read() as connection:
            return batches.instances_of(connection, batch.id)

    def _commit(self, batch: Batch, position: int, requests: Sequence[_Request]) -> list[str]:
        made = []
        snapshot = self._snapshot()
        crash_point("processor.before_commit")
        with self._database.write() as connection:
            for request in requests:
                pipeline = snapshot.pipeline(request.pipeline_id)
                pipeline_name = pipeline.name if pipeline else request.pipeline_id
                name = _free_name(connection, batch, request, pipeline_name)
                job = Job(
                    id=new_id(),
                    name=name,
                    batch_id=batch.id,
                    pipeline_id=request.pipeline_id,
                    pipeline_name=pipeline_name,
                    called_ae_title=batch.called_ae_title,
                    state=JobState.QUEUED,
                    attempt=1,
                    attempts_allowed=1 + (pipeline.retries if pipeline else 0),
                    failures=0,
                    created_at=self._clock.now(),
                )
                jobs.add(connection, job, request.instances)
                made.append(job.id)
            batches.processor_done(connection, batch.id, position, self._clock.now())
        crash_point("processor.after_commit")
        return made

    def _hold(self, batch: Batch, reason: str) -> None:
        log.error("batch held: a person has to look", batch=batch.id, reason=reason)
        with self._database.write() as connection:
            batches.hold(connection, batch.id, reason)

    def _wait(self, batch: Batch, position: int, name: str) -> None:
        """No failure of this batch: its processor is not called."""
        reason = (
            f"processor {name} is not called: {MAX_LEFT_BEHIND} calls for AE Title {batch.called_ae_title} did not end"
            " and still run; if they hang, restart the adapter"
        )
        log.warning("batch waits", batch=batch.id, reason=reason, seconds=LEFT_BEHIND_PAUSE)
        with self._database.write() as connection:
            batches.processor_waits(connection, batch.id, position, self._clock.steady() + LEFT_BEHIND_PAUSE, reason)

    def _try_again(self, batch: Batch, position: int, name: str, failures: int, error: Exception) -> None:
        reason = f"processor {name} failed: {in_words(error)}"
        if failures >= MAX_FAILURES:
            self._hold(batch, f"{reason} ({failures} times)")
            return
        delay = error.delay if isinstance(error, TemporaryError) else None
        if delay is None:
            delay = step_delay(failures, random.random())
        log.warning("batch waits for its processor", batch=batch.id, reason=reason, seconds=round(delay, 1))
        with self._database.write() as connection:
            batches.processor_failed(connection, batch.id, position, self._clock.steady() + delay, reason)


def _free_name(connection: Connection, batch: Batch, request: _Request, pipeline_name: str) -> str:
    """The name of a new job. Raises PermanentError: the pipeline has a job over this batch with the same key."""
    for key in (request.key, distinct_key(request.key, request.pipeline_id)):
        name = job_name(batch.called_ae_title, pipeline_name, batch.id, key)
        owner = jobs.pipeline_of(connection, name)
        if owner is None:
            return name
        if owner == request.pipeline_id:
            break
    raise PermanentError(
        f"it asks twice for pipeline {pipeline_name} over this batch; a processor must give each job of one pipeline a"
        " key of its own"
    )


def _by_ae_title(due: Sequence[_Due]) -> dict[str, list[_Due]]:
    """AE Titles do not wait for each other."""
    groups: dict[str, list[_Due]] = {}
    for one in due:
        groups.setdefault(one[0].called_ae_title, []).append(one)
    return groups
