"""What is the Clara Platform's own about its engine; what every engine owes is in tests/conformance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dicom_adapter.core.errors import PermanentError, TemporaryError
from dicom_adapter.core.model import EngineState, JobPriority, JobRef, JobSpec, PayloadFile
from dicom_adapter.engines.clara_platform.engine import ClaraPlatformEngine
from dicom_adapter.engines.clara_platform.jobs_pb2 import (
    JOB_PRIORITY_IMMEDIATE,
    JOB_STATE_PENDING,
    JOB_STATE_RUNNING,
    JOB_STATE_STOPPED,
    JOB_STATE_UNKNOWN,
    JOB_STATUS_CANCELED,
    JOB_STATUS_EVICTED,
    JOB_STATUS_FAULTED,
    JOB_STATUS_HEALTHY,
    JOB_STATUS_TERMINATED,
    JOB_STATUS_UNKNOWN,
    JobState,
    JobStatus,
)
from dicom_adapter.testing.clara_platform.server import Server
from tests.clara_platform import COPY, UNKNOWN, connected, serving

SPEC = JobSpec("j1", "lung-lung-ai-b1", 1, COPY)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
async def engine(server: Server) -> AsyncIterator[ClaraPlatformEngine]:
    async with connected(server.endpoint) as platform:
        yield platform.engine


async def test_what_the_platform_is_told(server: Server, engine: ClaraPlatformEngine) -> None:
    metadata = {"Source": "LUNG", "Instances": "2"}
    ref = await engine.create_job(JobSpec("j1", "lung-b1", 3, COPY, {"secret": 1}, JobPriority.IMMEDIATE, metadata))
    [job] = server.platform.jobs
    assert (job.id, job.payload_id, job.pipeline_id) == (ref.job_id, ref.payload_id, COPY)
    assert (job.name, job.priority, job.metadata) == ("lung-b1-attempt-3", JOB_PRIORITY_IMMEDIATE, metadata)


async def test_a_job_whose_answer_was_lost_is_found(server: Server, engine: ClaraPlatformEngine) -> None:
    server.faults.lost_answers["Jobs/Create"] = 1
    with pytest.raises(TemporaryError):
        await engine.create_job(SPEC)
    ref = await engine.create_job(SPEC)
    assert [job.id for job in server.platform.jobs] == [ref.job_id]
    assert server.calls["Jobs/Create"] == 1


async def test_a_start_whose_answer_was_lost_is_no_second_start(server: Server, engine: ClaraPlatformEngine) -> None:
    ref = await engine.create_job(SPEC)
    server.faults.lost_answers["Jobs/Start"] = 1
    with pytest.raises(TemporaryError):
        await engine.start_job(ref)
    await engine.start_job(ref)
    assert server.calls["Jobs/Start"] == 1


async def test_only_a_pending_job_is_found(server: Server, engine: ClaraPlatformEngine) -> None:
    ref = await engine.create_job(SPEC)
    server.platform.cancel(ref.job_id, "")
    assert await engine.find_job(SPEC) is None
    assert await engine.create_job(SPEC) != ref


async def test_a_job_that_was_canceled_there_takes_no_files(
    server: Server, engine: ClaraPlatformEngine, tmp_path: Path
) -> None:
    ref = await engine.create_job(SPEC)
    server.platform.cancel(ref.job_id, "by hand")
    await engine.upload(ref, [PayloadFile(str(tmp_path / "none"), "00000001.dcm")])
    await engine.start_job(ref)
    status = await engine.get_status(ref)
    assert (status.state, status.healthy) == (EngineState.STOPPED, False)
    assert status.reason == "the Clara Platform says that it is canceled: by hand"


@pytest.mark.parametrize(
    ("state", "status", "seen", "reason"),
    [
        (JOB_STATE_PENDING, JOB_STATUS_HEALTHY, EngineState.PENDING, None),
        (JOB_STATE_RUNNING, JOB_STATUS_HEALTHY, EngineState.RUNNING, None),
        (JOB_STATE_RUNNING, JOB_STATUS_FAULTED, EngineState.RUNNING, None),  # it goes on
        (JOB_STATE_STOPPED, JOB_STATUS_HEALTHY, EngineState.STOPPED, None),
        (JOB_STATE_STOPPED, JOB_STATUS_FAULTED, EngineState.STOPPED, "faulted: one; two"),
        (JOB_STATE_STOPPED, JOB_STATUS_CANCELED, EngineState.STOPPED, "canceled: one; two"),
        (JOB_STATE_STOPPED, JOB_STATUS_EVICTED, EngineState.STOPPED, "evicted: one; two"),
        (JOB_STATE_STOPPED, JOB_STATUS_TERMINATED, EngineState.STOPPED, "terminated: one; two"),
        (JOB_STATE_STOPPED, JOB_STATUS_UNKNOWN, EngineState.STOPPED, "stopped, and does not say how: one; two"),
    ],
)
async def test_status(
    server: Server,
    engine: ClaraPlatformEngine,
    state: JobState,
    status: JobStatus,
    seen: EngineState,
    reason: str | None,
) -> None:
    ref = await engine.create_job(SPEC)
    [job] = server.platform.jobs
    job.state, job.status, job.messages, job.started = state, status, ["one", "two"], 1_700_000_000.5
    answer = await engine.get_status(ref)
    assert (answer.state, answer.healthy, answer.started_at) == (seen, reason is None, 1_700_000_000.0)
    assert answer.reason == (reason and f"the Clara Platform says that it is {reason}")


async def test_a_state_that_is_not_said_is_asked_for_again(server: Server, engine: ClaraPlatformEngine) -> None:
    ref = await engine.create_job(SPEC)
    server.platform.jobs[0].state = JOB_STATE_UNKNOWN
    with pytest.raises(TemporaryError, match="does not say in which state"):
        await engine.get_status(ref)


async def test_a_job_that_the_platform_has_lost(engine: ClaraPlatformEngine) -> None:
    lost = JobRef(UNKNOWN, UNKNOWN)
    status = await engine.get_status(lost)
    assert (status.state, status.healthy) == (EngineState.UNKNOWN, False)
    assert f"job {UNKNOWN} not found" in str(status.reason)
    await engine.cancel_job(lost, "enough")  # nothing runs


@pytest.mark.parametrize("pipeline", ["lung_ai", "", UNKNOWN])
async def test_a_pipeline_that_cannot_be(engine: ClaraPlatformEngine, pipeline: str) -> None:
    with pytest.raises(PermanentError, match=r"pipeline.*code -0x100[01]"):
        await engine.create_job(JobSpec("j1", "lung-b1", 1, pipeline))
