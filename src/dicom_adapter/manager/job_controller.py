"""Reconciles job rows with the engines: create, upload, start, observe, collect; each step ends in a durable fact.

A job is never started twice: its name and attempt are the idempotency key of every call, `create_job` adopts what a
crash orphaned, and `start_job` leaves a started job alone. Cancellation by our own shutdown is not an outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from dicom_adapter.clock import Clock
from dicom_adapter.core.errors import AdapterError, PermanentError, TemporaryError, in_words
from dicom_adapter.core.job_lifecycle import Step, job_priority, job_retry_delay, next_step
from dicom_adapter.core.model import Instance, Job, JobRef, JobSpec, JobState, JobStatus, PayloadFile
from dicom_adapter.core.ports import JobEngine
from dicom_adapter.core.retry import job_delay, step_delay
from dicom_adapter.core.snapshot import ConfigSnapshot, Pipeline
from dicom_adapter.crash_points import crash_point
from dicom_adapter.manager.manifest import job_manifest, job_metadata, payload_name
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.store import batches, jobs
from dicom_adapter.store.database import Database

log = structlog.get_logger("jobs")

WINDOW = 16  # jobs of a pipeline looked at in one step, beside those that may run: the backlog stays in the database
UNSTORED_PAUSE = 5.0  # seconds before a job is worked on again whose fact could not be stored
OBSERVE_INTERVALS = (0.05, 0.1, 0.2, 0.5)  # seconds between looks at a running job; then what its pipeline says


class Collector(Protocol):
    """Takes the results of a job that succeeded."""

    async def collect(self, job: Job, ref: JobRef, pipeline: Pipeline) -> None:
        """Stage them, and in one transaction end the job and make its export tasks. Idempotent."""
        ...


class JobController:
    """See the module. `engines`: by the word that a pipeline's `engine` gives."""

    name = "jobs"

    def __init__(
        self,
        database: Database,
        snapshot: Callable[[], ConfigSnapshot],
        clock: Clock,
        *,
        engines: Mapping[str, JobEngine],
        collector: Collector,
        path_of: Callable[[Instance], Path],
        on_exports: Callable[[], None],
    ) -> None:
        self.trigger = Trigger()
        self._database = database
        self._snapshot = snapshot
        self._clock = clock
        self._engines = engines
        self._collector = collector
        self._path_of = path_of
        self._on_exports = on_exports
        self._active: dict[str, tuple[str, asyncio.Task[None]]] = {}  # job id -> (pipeline id, its task)
        self._canceling: set[str] = set()

    async def step(self) -> float | None:
        # A job that was worked on when we began to look may have changed since: what we saw of it does not count.
        busy = self._active.keys() | self._canceling
        due, next_due_in = await asyncio.to_thread(self._load)
        for job in due:
            if job.id in busy or job.id in self._active or job.id in self._canceling:
                continue
            pipeline = self._snapshot().pipeline(job.pipeline_id)
            if pipeline is None or self._running(job.pipeline_id) < pipeline.concurrency:
                task = asyncio.create_task(self._advance(job, pipeline), name=f"job {job.id}")
                self._active[job.id] = (job.pipeline_id, task)
                task.add_done_callback(partial(self._ended, job.id))
        return next_due_in

    async def stop(self) -> None:
        tasks = [task for _, task in self._active.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def cancel(self, job_id: str) -> bool:
        """End a job for good, or give a dead letter up, by a person's wish.

        False when there is no such job, or it has succeeded or was canceled.
        """
        if job_id in self._canceling:
            return False
        self._canceling.add(job_id)  # nobody takes it up again until it is canceled, or cannot be
        try:
            return await self._cancel(job_id)
        finally:
            self._canceling.discard(job_id)
            self.trigger.pull()

    async def _cancel(self, job_id: str) -> bool:
        _, task = self._active.get(job_id, (None, None))
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        job = await asyncio.to_thread(self._get, job_id)
        if job is None:
            return False
        if job.state is not JobState.SUCCEEDED:
            await self._cancel_at_engine(job)
        if not await asyncio.to_thread(self._write, jobs.canceled, job_id, self._clock.now()):
            return False
        log.info("job canceled", job=job_id)
        return True

    async def _cancel_at_engine(self, job: Job) -> None:
        """Also of a dead letter, whose program may live on; and without its pipeline, which may be gone."""
        pipeline = self._snapshot().pipeline(job.pipeline_id)
        engines = self._engines.values() if pipeline is None else (self._engines[pipeline.engine],)
        over = next_step(job) is Step.DONE
        spec = await asyncio.to_thread(self._spec, job, ())  # name and attempt are enough to find it
        for engine in engines:
            try:
                ref = await engine.find_job(spec) if job.state is JobState.QUEUED else _ref(job)
                if ref is not None:
                    await engine.cancel_job(ref, "canceled by a person")
            except AdapterError as error:
                foreign = pipeline is None and isinstance(error, PermanentError)  # it is none of this engine's
                if not (over or foreign):
                    raise
                log.info("an engine does not end a job", job=job.id, why=str(error))

    @property
    def active_jobs(self) -> frozenset[str]:
        """The jobs that are worked on at this instant."""
        return frozenset(self._active)

    def _ended(self, job_id: str, _task: asyncio.Task[None]) -> None:
        del self._active[job_id]
        self.trigger.pull()  # its place is free

    def _running(self, pipeline_id: str) -> int:
        return sum(active_pipeline == pipeline_id for active_pipeline, _ in self._active.values())

    async def _advance(self, job: Job, pipeline: Pipeline | None) -> None:
        """Take one job as far as it goes: to its end, or to something it has to wait for."""
        try:
            await self._try(job, pipeline)
        except Exception:  # not even that could be stored: the database does not take it
            log.exception(
                "a job waits, as what became of its step cannot be stored", job=job.id, seconds=UNSTORED_PAUSE
            )
            await asyncio.sleep(UNSTORED_PAUSE)  # and keeps its place: no spin

    async def _try(self, job: Job, pipeline: Pipeline | None) -> None:
        try:
            if pipeline is None and job.state is JobState.STARTED:
                raise TemporaryError(
                    f"it runs, and its pipeline {job.pipeline_id} is not defined any more: define it again, or"
                    f" `clara dicom cancel {job.id}`"
                )
            if pipeline is None:
                await self._cancel_at_engine(job)
                raise PermanentError(
                    f"pipeline {job.pipeline_id} is not defined under `pipelines`: define it, or name the Clara"
                    " Platform in services.platform-endpoint, and retry this job"
                )
            await self._run_or_cancel(job, pipeline, self._engines[pipeline.engine])
        except PermanentError as error:
            await self._fail(job, str(error))
        except TemporaryError as error:
            await self._wait_for_engine(job, str(error), error.delay)
        except Exception as error:
            log.exception("a job's step failed", job=job.id)
            await self._wait_for_engine(job, in_words(error), None)

    async def _run_or_cancel(self, job: Job, pipeline: Pipeline, engine: JobEngine) -> None:
        """What can never start is canceled before it is a dead letter: no engine is left with a job that waits."""
        try:
            await self._run(job, pipeline, engine)
        except PermanentError as error:
            current = await asyncio.to_thread(self._get, job.id)
            if current is not None and current.state in (JobState.CREATED, JobState.UPLOADED):
                with contextlib.suppress(PermanentError):
                    await engine.cancel_job(_known_ref(current), str(error))
            raise

    async def _run(self, job: Job, pipeline: Pipeline, engine: JobEngine) -> None:
        status: JobStatus | None = None
        intervals = iter(OBSERVE_INTERVALS)
        instances: Sequence[Instance] = ()  # while they are needed: a batch may have very many
        while True:
            match next_step(job, status):
                case Step.CREATE:
                    instances = await asyncio.to_thread(self._instances, job)
                    await self._create(job, instances, engine)
                case Step.UPLOAD:
                    instances = instances or await asyncio.to_thread(self._instances, job)
                    await engine.upload(_known_ref(job), await asyncio.to_thread(self._payload, instances))
                    instances = ()
                    crash_point("job.after_upload")
                    await asyncio.to_thread(self._write, jobs.uploaded, job.id)
                case Step.START:
                    crash_point("job.before_start")
                    await engine.start_job(_known_ref(job))
                    crash_point("job.after_start")
                    await asyncio.to_thread(self._write, jobs.started, job.id, self._clock.now())
                    log.info("job started", job=job.id, name=job.name, attempt=job.attempt)
                case Step.OBSERVE:
                    status = await engine.get_status(_known_ref(job))
                    # Not of a job that has ended: then it was the taking of its results that failed, and may again.
                    if job.failures and next_step(job, status) is Step.WAIT:
                        await asyncio.to_thread(self._write, jobs.observed, job.id)
                    continue
                case Step.WAIT:
                    await asyncio.sleep(next(intervals, pipeline.observe_interval))
                    status = await engine.get_status(_known_ref(job))
                    continue
                case Step.COLLECT:
                    await self._collector.collect(job, _known_ref(job), pipeline)
                    self._on_exports()
                    return
                case Step.FAIL_ATTEMPT:
                    await self._fail_attempt(job, (status.reason if status else None) or "the engine gave no reason")
                    return
                case Step.DONE:
                    return
            current = await asyncio.to_thread(self._get, job.id)
            if current is None:
                return
            job = current

    async def _create(self, job: Job, instances: Sequence[Instance], engine: JobEngine) -> None:
        spec = await asyncio.to_thread(self._spec, job, instances)
        ref = await engine.create_job(spec)
        crash_point("job.after_create")
        await asyncio.to_thread(self._write, jobs.created, job.id, ref)

    async def _fail_attempt(self, job: Job, reason: str) -> None:
        words = f"attempt {job.attempt} failed: {reason}"
        if job.attempt >= job.attempts_allowed:
            await self._fail(job, words)
            return
        delay = job_delay(job.attempt, random.random(), await asyncio.to_thread(self._retry_delay, job))
        log.warning("job failed and is tried again", job=job.id, reason=words, seconds=round(delay, 1))
        await asyncio.to_thread(self._write, jobs.next_attempt, job.id, self._clock.steady() + delay, words)

    async def _fail(self, job: Job, reason: str) -> None:
        log.error("job failed for good: `retry` it when the cause is mended", job=job.id, reason=reason)
        await asyncio.to_thread(self._write, jobs.failed, job.id, self._clock.now(), reason)

    async def _wait_for_engine(self, job: Job, reason: str, delay: float | None) -> None:
        current = await asyncio.to_thread(self._get, job.id)
        if delay is None:
            failures = (current.failures if current else 0) + 1
            delay = step_delay(failures, random.random(), await asyncio.to_thread(self._retry_delay, job))
        log.warning("job waits", job=job.id, reason=reason, seconds=round(delay, 1))
        await asyncio.to_thread(self._write, jobs.step_failed, job.id, self._clock.steady() + delay, reason)

    def _load(self) -> tuple[list[Job], float | None]:
        """Jobs that are due, and in how many seconds another one is."""
        now = self._clock.steady()
        most = max((pipeline.concurrency for pipeline in self._snapshot().pipelines.values()), default=0)
        with self._database.read() as connection:
            next_at = jobs.next_due_at(connection, now)
            return jobs.due(connection, now, most + WINDOW), None if next_at is None else next_at - now

    def _get(self, job_id: str) -> Job | None:
        with self._database.read() as connection:
            return jobs.get(connection, job_id)

    def _write(self, change: Callable[..., bool | None], *arguments: object) -> bool | None:
        with self._database.write() as connection:
            return change(connection, *arguments)

    def _instances(self, job: Job) -> list[Instance]:
        with self._database.read() as connection:
            return jobs.instances_of_job(connection, job)

    def _spec(self, job: Job, instances: Sequence[Instance]) -> JobSpec:
        with self._database.read() as connection:
            callers = jobs.calling_ae_titles(connection, job.batch_id)
        return JobSpec(
            id=job.id,
            name=job.name,
            attempt=job.attempt,
            pipeline_id=job.pipeline_id,
            manifest=job_manifest(job, callers, instances),
            priority=job_priority(self._processor_settings(job)),
            metadata=job_metadata(job, instances),
        )

    def _processor_settings(self, job: Job) -> Mapping[str, str]:
        with self._database.read() as connection:
            batch = batches.get(connection, job.batch_id)
        return batch.policy.settings if batch else {}

    def _retry_delay(self, job: Job) -> float | None:
        return job_retry_delay(self._processor_settings(job))

    def _payload(self, instances: Sequence[Instance]) -> Sequence[PayloadFile]:
        return [
            PayloadFile(str(self._path_of(instance)), payload_name(position))
            for position, instance in enumerate(instances, start=1)
        ]


def _ref(job: Job) -> JobRef | None:
    if job.engine_job_id is None or job.engine_payload_id is None:
        return None
    return JobRef(job.engine_job_id, job.engine_payload_id)


def _known_ref(job: Job) -> JobRef:
    ref = _ref(job)
    if ref is None:
        raise PermanentError("the job's row lost what the engine calls it; retry it")
    return ref
