"""The parts of the running adapter that are no rows, for the REST API (`api.view.Live`)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from dicom_adapter.api import schemas
from dicom_adapter.config.schema import Settings
from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import JobRef
from dicom_adapter.core.ports import LocalResults
from dicom_adapter.core.snapshot import CLARA_PLATFORM, ClaraAeTitle, ConfigSnapshot
from dicom_adapter.core.storage_policy import must_stay_free
from dicom_adapter.manager.job_controller import JobController
from dicom_adapter.manager.results_poller import ResultsPoller
from dicom_adapter.manager.supervisor import Supervisor
from dicom_adapter.scp.listener import Listener
from dicom_adapter.spool.spool import Spool
from dicom_adapter.store import jobs, results_tasks
from dicom_adapter.store.database import Database

UNWELL_AFTER = 3  # failed steps in a row: then a worker's trouble is the adapter's


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """See the module. Read from any thread. `started_at`: seconds since the epoch."""

    settings: Settings
    spool: Spool
    database: Database
    listener: Listener
    supervisor: Supervisor
    controller: JobController
    engines: Mapping[str, LocalResults]  # those that leave logs here
    snapshot: Callable[[], ConfigSnapshot]
    poller: ResultsPoller | None = None
    started_at: float = field(default_factory=time.time)

    def scp(self) -> schemas.Scp:
        snapshot = self.snapshot()
        return schemas.Scp(
            port=self.listener.port,
            listening=self.listener.listening,
            open_associations=len(self.listener.open_associations()),
            max_associations=snapshot.scp.max_associations,
            ae_titles=tuple(sorted(snapshot.ae_titles)),
            counters=self.listener.counters(),
        )

    def storage(self) -> schemas.Storage:
        total, free = self.spool.space()
        storage = self.settings.storage
        reserved = must_stay_free(total, watermark_percent=storage.watermark_percent, reserve=storage.reserve_space)
        return schemas.Storage(
            path=str(self.spool.layout.root),
            free_bytes=free,
            reserved_bytes=reserved,
            accepting=free > reserved,
            healthy=self.spool.healthy,
        )

    def workers(self) -> Sequence[schemas.Worker]:
        return [
            schemas.Worker(name=name, failures=health.failures, reason=health.reason)
            for name, health in self.supervisor.health.items()
        ]

    def results_service(self) -> schemas.ResultsService | None:
        if self.poller is None:
            return None
        with self.database.read() as connection:
            unreported = results_tasks.unreported(connection)
        state = self.poller.state
        return schemas.ResultsService(
            endpoint=self.settings.services.results_service_endpoint,
            agent=self.settings.dicom.scu.ae_title,
            state=state.polling,
            since=state.since,
            reason=state.reason,
            unreported=unreported,
        )

    def open_associations(self) -> Sequence[schemas.Association]:
        return [
            schemas.Association(
                id=one.record.id,
                calling_ae_title=one.record.calling_ae_title,
                called_ae_title=one.record.called_ae_title,
                peer_host=one.record.peer_host,
                peer_port=one.record.peer_port,
                started_at=one.record.started_at,
                instances=one.instances,
                bytes=one.bytes,
                refused=one.refused.requests,
                refused_why=one.refused.why,
            )
            for one in self.listener.open_associations()
        ]

    def rejections(self) -> Sequence[schemas.Rejection]:
        return [
            schemas.Rejection(**one.rejection._asdict(), first_at=one.first_at, last_at=one.last_at, times=one.times)
            for one in self.listener.rejections()
        ]

    def not_ready(self) -> Sequence[str]:
        """Why it cannot take a study at this instant; empty when it can."""
        reasons = []
        if not self.listener.listening:
            reasons.append("the SCP does not listen")
        if not self.spool.healthy:
            reasons.append(f"the storage does not work: {self.spool.fault}")
        if not os.access(self.spool.layout.new, os.W_OK):
            reasons.append(f"the storage folder {self.spool.layout.root} cannot be written")
        else:
            storage = self.storage()
            if not storage.accepting:
                reasons.append(
                    f"too little free space: {_size(storage.free_bytes)}, and {_size(storage.reserved_bytes)} must "
                    "stay free (`storage.reserve-space`, `storage.watermark-percent`)"
                )
        with contextlib.suppress(SQLAlchemyError):  # it says why itself
            self.database.check()
        if self.database.fault is not None:
            reasons.append(f"the database cannot be written: {self.database.fault}")
        for name, health in self.supervisor.health.items():
            if health.failures >= UNWELL_AFTER:
                reasons.append(f"{name} failed {health.failures} times in a row: {health.reason}")
        return reasons

    def log_files(self, job_id: str) -> Mapping[str, Path]:
        with self.database.read() as connection:
            job = jobs.get(connection, job_id)
        if job is None or job.engine_job_id is None or job.engine_payload_id is None:
            return {}
        ref = JobRef(job.engine_job_id, job.engine_payload_id)
        for engine in self.engines.values():  # its pipeline may be another engine's by now, or nobody's
            with contextlib.suppress(PermanentError):  # it is none of this engine's
                return engine.log_files(ref)
        return {}

    def logs_elsewhere(self, job_id: str) -> str | None:
        with self.database.read() as connection:
            job = jobs.get(connection, job_id)
            removed = jobs.is_removed(connection, job_id)
        pipeline = None if job is None else self.snapshot().pipeline(job.pipeline_id)
        if job is None or pipeline is None or pipeline.engine != CLARA_PLATFORM:
            return "removed with the job's files (`storage.retention`)" if removed else None
        platform = f"the Clara Platform at {self.settings.services.platform}"
        if job.engine_job_id is None:
            return f"it is not on {platform} yet"
        return f"it is job {job.engine_job_id} of {platform}: what its operators wrote is there"

    async def cancel_job(self, job_id: str) -> bool:
        return await self.controller.cancel(job_id)

    def ae_title(self, called: str) -> ClaraAeTitle | None:
        return self.snapshot().ae_titles.get(called)

    def destinations(self) -> Sequence[str]:
        return [one.name for one in self.snapshot().destinations.values()]

    def tries_of(self, pipeline_id: str) -> int:
        pipeline = self.snapshot().pipelines.get(pipeline_id)
        return 1 + (pipeline.retries if pipeline else 0)


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count >> 20} MiB"
