"""What the test platform's gRPC face adds to its rules: headers, filters, faults. Tests of our client show the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from dicom_adapter.engines.clara_platform import wire
from dicom_adapter.engines.clara_platform.client import PlatformClient
from dicom_adapter.engines.clara_platform.jobs_pb2 import (
    JOB_PRIORITY_NORMAL,
    JOB_STATE_PENDING,
    JOB_STATE_STOPPED,
    JOB_STATUS_CANCELED,
    JobsListRequest,
    JobsStatusRequest,
)
from dicom_adapter.testing.clara_platform.server import Server
from dicom_adapter.testing.clara_platform.state import Platform
from tests.clara_platform import COPY, UNKNOWN, serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


def test_a_request_has_a_header(server: Server) -> None:
    with grpc.insecure_channel(server.endpoint) as channel:
        call = channel.unary_unary(
            wire.JOBS_STATUS.path, JobsStatusRequest.SerializeToString, wire.JOBS_STATUS.response.FromString
        )
        with pytest.raises(grpc.RpcError, match="the request has no header"):
            call(JobsStatusRequest(job_id=wire.identifier(UNKNOWN)), timeout=20)


async def test_filters(server: Server) -> None:
    jobs = [server.platform.create(COPY, f"job-{number}", JOB_PRIORITY_NORMAL, {}) for number in range(3)]
    jobs[0].created, jobs[1].created = 1000, 2000
    server.platform.cancel(jobs[1].id, "")
    client = PlatformClient(server.endpoint)

    async def listed(**fields: object) -> list[str]:
        wanted = JobsListRequest(filter=JobsListRequest.JobFilter(**fields))  # type: ignore[arg-type]
        return [answer.job_details.job_name[4:] async for answer in client.listen(wire.JOBS_LIST, wanted)]

    assert await listed() == ["0", "1", "2"]
    assert await listed(has_state=[JOB_STATE_PENDING]) == ["0", "2"]
    assert await listed(has_state=[JOB_STATE_PENDING, JOB_STATE_STOPPED]) == ["0", "1", "2"]
    assert await listed(has_status=[JOB_STATUS_CANCELED]) == ["1"]
    assert await listed(pipeline_id=[wire.identifier(UNKNOWN)]) == []
    assert await listed(created_after=wire.timestamp(1500)) == ["1", "2"]
    assert await listed(completed_before=wire.timestamp(1500)) == []
    assert await listed(completed_before=wire.timestamp(jobs[1].stopped + 1)) == ["1"]
    await client.close()


def test_a_port_that_is_taken(server: Server, tmp_path: Path) -> None:
    """Never two servers on one port, which answer in turn."""
    with pytest.raises(RuntimeError):
        Server(Platform(tmp_path, {}), port=server.port).start()
