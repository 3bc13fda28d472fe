"""What a call comes to: an answer, something that may pass, or something that a person has to mend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from dicom_adapter.core.errors import AdapterError, PermanentError, TemporaryError
from dicom_adapter.engines.clara_platform import client as client_module
from dicom_adapter.engines.clara_platform import wire
from dicom_adapter.engines.clara_platform.client import PlatformClient
from dicom_adapter.engines.clara_platform.jobs_pb2 import JobsCreateRequest, JobsListRequest, JobsStatusRequest
from dicom_adapter.testing.clara_platform.server import Server
from dicom_adapter.testing.clara_platform.state import Refused
from tests.clara_platform import COPY, UNKNOWN, serving

UNKNOWN_JOB = JobsStatusRequest(job_id=wire.identifier(UNKNOWN))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[PlatformClient]:
    client = PlatformClient(server.endpoint)
    yield client
    await client.close()


async def test_a_call(client: PlatformClient) -> None:
    request = JobsCreateRequest(pipeline_id=wire.identifier(COPY), name="lung-b1")
    answer = await client.call(wire.JOBS_CREATE, request)
    assert len(answer.job_id.value) == 32
    assert (request.header.api_version.minor, request.header.user_agent) == (6, "dicom-adapter")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-0x1000, PermanentError),
        (-0x1001, PermanentError),
        (-0x1002, TemporaryError),
        (-0x1003, TemporaryError),
        (-0x1004, TemporaryError),
        (-0x1100, PermanentError),
        (-0x1101, PermanentError),
        (-0x2000, PermanentError),
        (-0x2001, PermanentError),
        (-0x2002, TemporaryError),
        (-0x2003, TemporaryError),
        (-0x2100, PermanentError),
        (-0x3000, PermanentError),
        (-0x3001, PermanentError),
        (-1, TemporaryError),
        (-0x7FFF, TemporaryError),
    ],
)
async def test_a_code_below_zero_is_a_failure_in_the_words_of_the_platform(
    server: Server, client: PlatformClient, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[AdapterError]
) -> None:
    def refuse(_job_id: str) -> None:
        raise Refused(code, "no such thing,\n\x1b[1m  truly")

    monkeypatch.setattr(server.platform, "job", refuse)
    with pytest.raises(kind) as caught:
        await client.call(wire.JOBS_STATUS, UNKNOWN_JOB)
    assert str(caught.value) == (
        f"the Clara Platform at {server.endpoint} refuses Jobs/Status: no such thing, [1m truly (code {code:#x})"
    )


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_a_status_of_grpc(
    server: Server, client: PlatformClient, monkeypatch: pytest.MonkeyPatch, code: grpc.StatusCode
) -> None:
    """What is wrong with the request is permanent; all else may pass, a wrong endpoint too."""
    monkeypatch.setattr(server, "leave", lambda _method, context: context.abort(code, "because"))
    permanent = code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    with pytest.raises(PermanentError if permanent else TemporaryError, match=str(server.endpoint)):
        await client.call(wire.JOBS_CREATE, JobsCreateRequest(pipeline_id=wire.identifier(COPY), name="lung-b1"))


async def test_a_platform_that_is_away_and_comes_back(server: Server, client: PlatformClient) -> None:
    server.stop()
    with pytest.raises(TemporaryError, match="is away: "):
        await client.call(wire.JOBS_STATUS, UNKNOWN_JOB)
    server.start()
    for _ in range(400):  # the channel connects again by itself, some 5 s later at most
        try:
            _ = [answer async for answer in client.listen(wire.JOBS_LIST, JobsListRequest())]
            break
        except TemporaryError:
            await asyncio.sleep(0.05)
    with pytest.raises(PermanentError, match="not found"):
        await client.call(wire.JOBS_STATUS, UNKNOWN_JOB)


async def test_an_answer_that_does_not_come_in_time(
    server: Server, client: PlatformClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "DEADLINE", 0.1)
    server.faults.delay = 0.5
    with pytest.raises(TemporaryError, match="did not answer Jobs/Status in time"):
        await client.call(wire.JOBS_STATUS, UNKNOWN_JOB)


async def test_a_stream_that_falls_silent(
    server: Server, client: PlatformClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "SILENCE", 0.1)
    server.faults.delay = 0.5
    with pytest.raises(TemporaryError, match=r"silent for 0\.1 s in Jobs/List"):
        _ = [answer async for answer in client.listen(wire.JOBS_LIST, JobsListRequest())]
