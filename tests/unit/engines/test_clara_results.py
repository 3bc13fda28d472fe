"""The client over a real HTTP server: the calls of the contract, and every way an answer can be wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from dicom_adapter.core.errors import TemporaryError
from dicom_adapter.engines import clara_results
from dicom_adapter.engines.clara_results import ClaraResultsService
from dicom_adapter.testing.results_service import Answer, ResultsService, TaskState, serving


@pytest.fixture
def service() -> ResultsService:
    return ResultsService()


@pytest.fixture
def url(service: ResultsService) -> Iterator[str]:
    with serving(service) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[ClaraResultsService]:
    client = ClaraResultsService(url, timeout=2.0)
    yield client
    await client.close()


async def test_pending_tasks_of_the_agent(service: ResultsService, client: ClaraResultsService) -> None:
    """The URL is the contract's, and the agent compares without case."""
    task = service.add("clarascu", "payload", ["a.dcm"], '"PACS"')
    service.add("other", "payload", ["a.dcm"], '"PACS"')
    [given] = await client.get_pending("ClaraSCU", 10)
    assert (given.task_id, given.destinations, given.uris) == (task.task_id, ("PACS",), ("a.dcm",))
    assert service.calls == ["GET /api/tasks/ClaraSCU/pending?size=10"]
    assert task.state is TaskState.IN_PROGRESS
    assert await client.get_pending("ClaraSCU", 10) == []


async def test_no_more_than_asked_for(service: ResultsService, client: ClaraResultsService) -> None:
    for _ in range(12):
        service.add("ClaraSCU", "payload", [], '"PACS"')
    assert [len(await client.get_pending("ClaraSCU", 10)) for _ in range(3)] == [10, 2, 0]


async def test_an_ae_title_with_spaces_and_slashes(service: ResultsService, client: ClaraResultsService) -> None:
    service.add("A B/C?", "payload", [], '"PACS"')
    assert len(await client.get_pending("A B/C?", 10)) == 1
    assert service.calls == ["GET /api/tasks/A%20B%2FC%3F/pending?size=10"]


async def test_reports(service: ResultsService, client: ClaraResultsService) -> None:
    done, again, over = (service.add("ClaraSCU", "payload", [], '"PACS"') for _ in range(3))
    await client.report_success(done.task_id)
    await client.report_failure(again.task_id, retry_later=True)
    await client.report_failure(over.task_id, retry_later=False)
    assert [(task.state, task.retries) for task in (done, again, over)] == [
        (TaskState.SUCCEEDED, 0),
        (TaskState.PENDING, 1),
        (TaskState.FAILED, 0),
    ]
    assert service.calls == [
        f"PUT /api/tasks/success/{done.task_id}",
        f"PUT /api/tasks/failure/{again.task_id}",
        f"PUT /api/tasks/failure/{over.task_id}",
    ]


async def test_a_report_that_is_not_taken(client: ClaraResultsService) -> None:
    with pytest.raises(TemporaryError, match="answers 404 to PUT"):
        await client.report_success("unknown")


WRONG = {
    "500": (Answer(500), "answers 500 to GET"),
    "404": (Answer(404), "answers 404 to GET"),
    "301": (Answer(301, headers=[(b"location", b"/api/tasks/x/pending")]), "answers 301 .* redirects are not followed"),
    "HTML": (Answer(pieces=[b"<html><body>Login</body></html>"]), "no JSON in UTF-8"),
    "half JSON": (Answer(pieces=[b'[{"taskId": "1"']), "no JSON"),
    "an object": (Answer(pieces=[b'{"items": []}']), "no list of tasks"),
    "10 000 levels": (Answer(pieces=[b"[" * 10_000 + b"]" * 10_000]), "(nested too deeply|no list)"),
    "never ending": (Answer(pieces=[b"[" + b" " * (1 << 20)], forever=True), "answers more than"),
    "1 GB": (Answer(pieces=[b" " * (1 << 20)] * 1024), "answers more than"),
    "slow": (Answer(pieces=[b"[", b"]"], pause=1.5), "did not answer within 2 s"),
    "a drip": (Answer(pieces=[b" "], pause=0.1, forever=True), "did not answer within 2 s"),
    "compressed": (Answer(pieces=[gzip.compress(b"[]")], headers=[(b"content-encoding", b"gzip")]), "no JSON"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_wrong_answers(service: ResultsService, client: ClaraResultsService, case: str) -> None:
    answer, words = WRONG[case]
    service.fault = lambda _method, _path: answer
    with pytest.raises(TemporaryError, match=words):
        await client.get_pending("ClaraSCU", 10)
    service.fault = lambda _method, _path: None
    assert await client.get_pending("ClaraSCU", 10) == []


async def test_levels_beyond_any_recursion_do_no_harm(service: ResultsService, client: ClaraResultsService) -> None:
    nested = json.dumps({"taskId": "1", "parameters": "PACS"})[:-1] + ', "x": ' + "[" * 900 + "]" * 900 + "}"
    service.fault = lambda _method, _path: Answer(pieces=[f"[{nested}]".encode()])
    [task] = await client.get_pending("ClaraSCU", 10)
    assert task.task_id == "1"


async def test_nobody_listens() -> None:
    client = ClaraResultsService("http://127.0.0.1:1")
    with pytest.raises(TemporaryError, match="does not answer"):
        await client.get_pending("ClaraSCU", 10)
    await client.close()


async def test_whoever_answers_no_http(monkeypatch: pytest.MonkeyPatch) -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x02\x00\x00\x00 not HTTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    client = ClaraResultsService(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(TemporaryError, match="does not answer"):
        await client.get_pending("ClaraSCU", 10)
    await client.close()
    server.close()
    await server.wait_closed()


async def test_no_proxy_of_the_environment_is_asked(
    service: ResultsService, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    client = ClaraResultsService(url)
    assert await client.get_pending("ClaraSCU", 10) == []
    await client.close()


async def test_the_largest_answer_is_read(service: ResultsService, client: ClaraResultsService) -> None:
    padding = b" " * (clara_results.MAX_ANSWER - 2)
    service.fault = lambda _method, _path: Answer(pieces=[b"[", padding, b"]"])
    assert await client.get_pending("ClaraSCU", 10) == []
