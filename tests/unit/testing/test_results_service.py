"""The stand-in keeps to what is known of the original: else tests against it prove nothing."""

from __future__ import annotations

import httpx2
import pytest

from dicom_adapter.testing.results_service import Answer, ResultsService, TaskState, app


@pytest.fixture
def service() -> ResultsService:
    return ResultsService()


@pytest.fixture
def http(service: ResultsService) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app(service)), base_url="http://results")


async def test_a_task_is_given_once_and_again_when_it_comes_back(
    service: ResultsService, http: httpx2.AsyncClient
) -> None:
    task = service.add("ClaraSCU", "payload", ["dicom-op/1.dcm"], '["PACS"]', "job")
    [given] = (await http.get("/api/tasks/clarascu/pending", params={"size": 10})).json()
    assert given == {
        "taskId": task.task_id,
        "jobId": "job",
        "pipelineId": "",
        "payloadId": "payload",
        "parameters": '["PACS"]',
        "state": "InProgress",
        "agent": "ClaraSCU",
        "retries": 0,
        "uris": ["dicom-op/1.dcm"],
    }
    assert (await http.get("/api/tasks/clarascu/pending")).json() == []
    await http.put(f"/api/tasks/failure/{task.task_id}", json={"RetryLater": True})
    [given] = (await http.get("/api/tasks/clarascu/pending")).json()
    assert given["retries"] == 1


@pytest.mark.parametrize("name", ["RetryLater", "retryLater", "retrylater", "RETRYLATER"])
async def test_any_case_of_the_flag(service: ResultsService, http: httpx2.AsyncClient, name: str) -> None:
    task = service.add("ClaraSCU", "payload", [], None)
    assert (await http.put(f"/api/tasks/failure/{task.task_id}", json={name: False})).status_code == 200
    assert task.state is TaskState.FAILED


@pytest.mark.parametrize(
    "body", [b"", b"true", b"{}", b'{"RetryLater": 1}', b'{"RetryLater": true, "retryLater": true}']
)
async def test_a_report_without_the_flag_is_refused(
    service: ResultsService, http: httpx2.AsyncClient, body: bytes
) -> None:
    task = service.add("ClaraSCU", "payload", [], None)
    assert (await http.put(f"/api/tasks/failure/{task.task_id}", content=body)).status_code == 400
    assert task.state is TaskState.PENDING


@pytest.mark.parametrize("path", ["success/x", "failure/x"])
async def test_an_unknown_task(http: httpx2.AsyncClient, path: str) -> None:
    assert (await http.put(f"/api/tasks/{path}", json={"RetryLater": True})).status_code == 404


async def test_faults_come_before_or_after_the_fact(service: ResultsService, http: httpx2.AsyncClient) -> None:
    task = service.add("ClaraSCU", "payload", [], None)
    service.fault = lambda method, _path: Answer(503) if method == "GET" else None
    service.after = lambda method, _path: Answer(500) if method == "PUT" else None
    assert (await http.get("/api/tasks/ClaraSCU/pending")).status_code == 503
    assert (await http.put(f"/api/tasks/success/{task.task_id}")).status_code == 500
    assert task.state is TaskState.SUCCEEDED
    assert (service.count("GET"), service.count("PUT /api/tasks/success")) == (1, 1)
