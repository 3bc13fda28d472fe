"""Runs jobs on the Clara Platform. Jobs there are told apart by name, which is the same at every try (contract 1.6).

A job whose answer was lost, or whose ids a crash kept from being stored, is pending there under its name: it is found
and used, never made twice. What the platform has started is its own: payloads are not removed.
"""

from __future__ import annotations

from collections.abc import Sequence

from dicom_adapter.core.errors import PermanentError, TemporaryError
from dicom_adapter.core.job_lifecycle import attempt_name
from dicom_adapter.core.model import EngineState, JobRef, JobSpec, JobStatus, PayloadFile
from dicom_adapter.engines.clara_platform import wire
from dicom_adapter.engines.clara_platform.client import PlatformClient
from dicom_adapter.engines.clara_platform.jobs_pb2 import (
    JOB_STATE_PENDING,
    JOB_STATUS_HEALTHY,
    JobsCancelRequest,
    JobsCreateRequest,
    JobsListRequest,
    JobsStartRequest,
    JobsStatusRequest,
    JobsStatusResponse,
)
from dicom_adapter.engines.clara_platform.payloads import PlatformPayloads


class ClaraPlatformEngine:
    """A JobEngine (`core.ports`). It has no local results: those come through the Results Service."""

    def __init__(self, client: PlatformClient, payloads: PlatformPayloads) -> None:
        self._client = client
        self._payloads = payloads

    async def create_job(self, spec: JobSpec) -> JobRef:
        if found := await self.find_job(spec):
            return found
        request = JobsCreateRequest(
            pipeline_id=wire.identifier(spec.pipeline_id),
            name=attempt_name(spec.name, spec.attempt),
            priority=wire.PRIORITIES[spec.priority],
            metadata=spec.metadata,  # a platform that is too old for it passes over it
        )
        answer = await self._client.call(wire.JOBS_CREATE, request)
        return JobRef(answer.job_id.value, answer.payload_id.value)

    async def find_job(self, spec: JobSpec) -> JobRef | None:
        """Of those that are pending: one that runs, or is over, was started, so its ids are known."""
        name = attempt_name(spec.name, spec.attempt)
        pending = JobsListRequest.JobFilter(
            has_state=[JOB_STATE_PENDING], pipeline_id=[wire.identifier(spec.pipeline_id)]
        )
        answers = self._client.listen(wire.JOBS_LIST, JobsListRequest(filter=pending))
        found = [
            JobRef(job.job_id.value, job.payload_id.value)
            async for job in (answer.job_details async for answer in answers)
            if job.job_name == name and job.state == JOB_STATE_PENDING
        ]
        return found[0] if found else None

    async def upload(self, ref: JobRef, files: Sequence[PayloadFile]) -> None:
        if (await self._status(ref)).state == JOB_STATE_PENDING:  # else it was canceled there: nothing to add
            await self._payloads.upload(ref.payload_id, files)

    async def start_job(self, ref: JobRef) -> None:
        if (await self._status(ref)).state == JOB_STATE_PENDING:
            await self._client.call(wire.JOBS_START, JobsStartRequest(job_id=wire.identifier(ref.job_id)))

    async def get_status(self, ref: JobRef) -> JobStatus:
        try:
            answer = await self._status(ref)
        except PermanentError as error:
            return JobStatus(EngineState.UNKNOWN, healthy=False, reason=str(error))
        state = wire.STATES.get(answer.state)
        if state is None:
            raise TemporaryError(f"the Clara Platform does not say in which state job {ref.job_id} is")
        healthy = state is not EngineState.STOPPED or answer.status == JOB_STATUS_HEALTHY
        return JobStatus(
            state=state,
            healthy=healthy,
            reason=None if healthy else _why(answer),
            started_at=wire.unix_time(answer.started),
            stopped_at=wire.unix_time(answer.stopped),
        )

    async def cancel_job(self, ref: JobRef, reason: str) -> None:
        if (await self.get_status(ref)).state in (EngineState.PENDING, EngineState.RUNNING):
            request = JobsCancelRequest(job_id=wire.identifier(ref.job_id), reason=reason)
            await self._client.call(wire.JOBS_CANCEL, request)

    async def remove_job(self, ref: JobRef) -> None:
        """Nothing: the adapter keeps nothing of the job, and its payload is the platform's."""

    async def _status(self, ref: JobRef) -> JobsStatusResponse:
        return await self._client.call(wire.JOBS_STATUS, JobsStatusRequest(job_id=wire.identifier(ref.job_id)))


def _why(answer: JobsStatusResponse) -> str:
    ending = wire.ENDINGS.get(answer.status, "stopped, and does not say how")
    said = wire.one_line("; ".join(answer.messages)) or "it gives no reason"
    return f"the Clara Platform says that it is {ending}: {said}"
