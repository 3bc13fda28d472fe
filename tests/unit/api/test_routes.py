"""Every route over a real database: shapes, pages, actions and their refusals."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy.exc import OperationalError

from dicom_adapter.api import schemas
from dicom_adapter.api.app import create_app
from dicom_adapter.api.view import View
from dicom_adapter.config.store import Stale
from dicom_adapter.config_stores.database import DatabaseConfigStore
from dicom_adapter.core.errors import TemporaryError
from dicom_adapter.core.model import (
    Batch,
    BatchState,
    DeliveryState,
    ExportFile,
    ExportState,
    ExportTask,
    FileOutcome,
    GivenTask,
    Job,
    JobRef,
    JobState,
)
from dicom_adapter.core.snapshot import ClaraAeTitle
from dicom_adapter.store import associations, batches, export_tasks, jobs, results_tasks
from dicom_adapter.store.database import Database
from tests.databases import fresh
from tests.fakes import AE, CT, EXPLICIT, FakeClock, association

STUDY = "1.2.840.99"
JSON = {"Content-Type": "application/json"}


class FakeLive:
    """The adapter's live parts, as a test sets them."""

    started_at = 900.0

    def __init__(self, folder: Path) -> None:
        self.reasons: list[str] = []
        self.canceled: list[str] = []
        self.trouble: Exception | None = None
        self.folder = folder

    def scp(self) -> schemas.Scp:
        return schemas.Scp(
            port=104, listening=True, open_associations=1, max_associations=2, ae_titles=("LUNG",), counters={}
        )

    def storage(self) -> schemas.Storage:
        return schemas.Storage(path="/s", free_bytes=2, reserved_bytes=1, accepting=True, healthy=True)

    def workers(self) -> Sequence[schemas.Worker]:
        return [schemas.Worker(name="intake", failures=0, reason=None)]

    def results_service(self) -> schemas.ResultsService | None:
        return schemas.ResultsService(
            endpoint="http://results", agent="ClaraSCU", state="away", since=990.0, reason="it is down", unreported=2
        )

    def open_associations(self) -> Sequence[schemas.Association]:
        return [
            schemas.Association(
                id="zz-open",
                calling_ae_title="CT1",
                called_ae_title="LUNG",
                peer_host="192.0.2.7",
                peer_port=1,
                started_at=999.0,
                instances=3,
                bytes=10,
                refused=0,
            )
        ]

    def rejections(self) -> Sequence[schemas.Rejection]:
        return [
            schemas.Rejection(
                calling_ae_title=calling,
                called_ae_title="LUNG",
                peer_host="192.0.2.7",
                answer="rejected-permanent, service-user, calling-ae-title-not-recognized",
                why="it is not among the sources",
                first_at=990.0,
                last_at=999.0,
                times=3,
            )
            for calling in ("CT9", "CT8")
        ]

    def not_ready(self) -> Sequence[str]:
        return self.reasons

    def logs_elsewhere(self, job_id: str) -> str | None:
        return None

    def log_files(self, job_id: str) -> Mapping[str, Path]:
        return {"stdout": self.folder / "stdout.log", "stderr": self.folder / "stderr.log"}

    async def cancel_job(self, job_id: str) -> bool:
        if self.trouble is not None:
            raise self.trouble
        self.canceled.append(job_id)
        return len(self.canceled) == 1

    def ae_title(self, called: str) -> ClaraAeTitle | None:
        return AE if called == AE.ae_title else None

    def destinations(self) -> Sequence[str]:
        return ["PACS", "Archive"]

    def tries_of(self, pipeline_id: str) -> int:
        return 3


class House:
    """An API over a database with one study on its way: batch b1, job j1 (failed), export e1 (of job j0)."""

    def __init__(self, folder: Path) -> None:
        self.database = fresh(folder)
        self.live = FakeLive(folder)
        self.woken = 0
        self.client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=create_app(self.view(), ["adapter.example"])),
            base_url="http://localhost:5000",
        )
        _fill(self.database)

    def view(self) -> View:
        def wake() -> None:
            self.woken += 1

        return View(
            self.database, FakeClock(), self.live, wake, lambda _kind: DatabaseConfigStore(self.database.engine)
        )

    async def get(self, path: str, status: int = 200, **options: Any) -> Any:
        answer = await self.client.get(path, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def post(self, path: str, status: int = 200, **body: Any) -> Any:
        answer = await self.client.post(path, headers=JSON, content=json.dumps(body).encode() if body else None)
        assert answer.status_code == status, answer.text
        return answer.json()


def _fill(database: Database) -> None:
    record, instances = association(study=STUDY)
    with database.write() as connection:
        associations.add(connection, record, instances, set_aside_until=None)
        batches.open_batch(connection, Batch("b1", "LUNG", BatchState.COLLECTING, 1000, AE))
        batches.add_instances(connection, "b1", instances, overwrite=False)
        batches.close(connection, "b1", 1001)
        batches.processor_done(connection, "b1", 0, 1002)
        for job_id in ("j0", "j1"):
            jobs.add(
                connection,
                Job(job_id, f"n-{job_id}", "b1", "p1", "lung_ai", "LUNG", JobState.QUEUED, 1, 1, 0, 1002),
                None,
            )
        jobs.created(connection, "j0", JobRef("j0/1", "j0/1"))
        jobs.uploaded(connection, "j0")
        jobs.started(connection, "j0", 1003)
        jobs.succeeded(connection, "j0", 1, 1010, None)
        jobs.add_quarantined(connection, "j0", {2: ("quarantine/j0/2", "the file is not DICOM")})
        jobs.failed(connection, "j1", 1011, "attempt 1 failed: exit status 3")
        task = ExportTask("e1", "j0", "PACS", ExportState.PENDING, 0, 0, 1010)
        file = ExportFile("e1", 1, "r/1.dcm", CT, "1.2.3", STUDY, EXPLICIT, 5)
        export_tasks.add(connection, task, [file])
        outcome = FileOutcome(1, DeliveryState.FAILED, 0xA700, "A700H refused: out of resources")
        export_tasks.record_outcomes(connection, "e1", [outcome])
        batches.open_batch(connection, Batch("b2", "LUNG", BatchState.HELD, 1000, AE, held_reason="why"))


def _fill_results(database: Database) -> None:
    """Two tasks of the Results Service: r1 about job j0, for two destinations, and r2, which names none."""
    with database.write() as connection:
        given = GivenTask("t1", "j0/1", "p1", ("PACS", "OTHER"), ("a.dcm", "b.dcm"))
        results_tasks.add(connection, given, "r1", ["x1", "x2"], "results/new/r1", 1020)
        broken = GivenTask("t2", problem="its parameters name no destination")
        results_tasks.add(connection, broken, "r2", [], "results/new/r2", 1021)


def _fill_study(database: Database, study: str, at: float) -> None:
    record, instances = association(study=study, at=at)
    with database.write() as connection:
        associations.add(connection, record, instances, set_aside_until=None)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.client.aclose()
    made.database.close()


async def test_health(house: House) -> None:
    assert await house.get("/health/live") == "Healthy"
    assert (await house.get("/health/ready"))["status"] == "Healthy"
    house.live.reasons = ["the SCP does not listen"]
    answer = await house.get("/health/ready", 503)
    assert answer == {"status": "Unhealthy", "reasons": ["the SCP does not listen"]}


async def test_health_of_each_service(house: House) -> None:
    assert await house.get("/health/status") == {
        "status": "Healthy",
        "reasons": [],
        "activeDimseConnections": 1,
        "services": {"scp": "Running", "results service": "Unknown", "intake": "Running", "resources": "Running"},
        "resources": [
            {
                "kind": kind,
                "store": "database",
                "place": "the adapter's own database",
                "staleSince": None,
                "reason": None,
            }
            for kind in ("ClaraAeTitle", "Source", "Destination")
        ],
    }


async def test_resources_that_may_be_old_are_told_and_no_reason_not_to_serve(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = Stale(since=1_700_000_000.0, reason="the API server cannot be reached")
    monkeypatch.setattr(DatabaseConfigStore, "stale", lambda _store: stale)
    health, status = await house.get("/health/status"), await house.get("/api/v1/status")
    assert (health["status"], health["services"]["resources"]) == ("Healthy", "Unknown")
    for answer in (health, status):
        assert [(one["staleSince"], one["reason"]) for one in answer["resources"]] == [(stale.since, stale.reason)] * 3
    assert status["ready"] is True


async def test_status(house: House) -> None:
    answer = await house.get("/api/v1/status")
    assert answer["ready"] is True
    assert answer["jobs"] == {"failed": 1, "succeeded": 1}
    assert answer["batches"] == {"held": 1, "processed": 1}
    assert answer["exports"] == {"pending": 1}


async def test_status_of_results_tasks(house: House) -> None:
    _fill_results(house.database)
    answer = await house.get("/api/v1/status")
    assert answer["resultsTasks"] == {"failed": 1, "received": 1}
    assert answer["resultsService"] == {
        "endpoint": "http://results",
        "agent": "ClaraSCU",
        "state": "away",
        "since": 990.0,
        "reason": "it is down",
        "unreported": 2,
    }


async def test_results_tasks_with_their_exports(house: House) -> None:
    _fill_results(house.database)
    listed = (await house.get("/api/v1/results-tasks"))["items"]
    assert [(one["id"], one["taskId"], one["destinations"], one["files"]) for one in listed] == [
        ("r2", "t2", [], 0),
        ("r1", "t1", ["PACS", "OTHER"], 2),
    ]
    assert (listed[0]["state"], listed[0]["reason"]) == ("failed", "its parameters name no destination")
    assert [one["id"] for one in (await house.get("/api/v1/results-tasks?state=received"))["items"]] == ["r1"]
    assert [one["id"] for one in (await house.get("/api/v1/results-tasks?taskId=t2"))["items"]] == ["r2"]
    answer = await house.get("/api/v1/results-tasks/r1")
    assert [(one["id"], one["resultsTaskId"], one["jobId"]) for one in answer["exports"]] == [
        ("x2", "r1", None),
        ("x1", "r1", None),
    ]
    assert (await house.get("/api/v1/exports?resultsTaskId=r1"))["items"] == answer["exports"]
    [first, _] = (await house.get("/api/v1/exports/x1"))["outcomes"]
    assert (first["sopInstanceUid"], first["state"]) == (None, "pending")
    assert (await house.get("/api/v1/results-tasks/zz", 404))["title"] == "No such results task"


async def test_a_results_task_in_the_timeline_of_its_study(house: House) -> None:
    _fill_results(house.database)
    entries = (await house.get(f"/api/v1/studies/{STUDY}"))["timeline"]
    assert [(one["kind"], one["state"]) for one in entries[-3:]] == [
        ("results task", "received"),
        ("export", "downloading"),
        ("export", "downloading"),
    ]
    assert entries[-3]["text"] == "2 files for PACS, OTHER"


async def test_what_a_person_does_about_results_tasks(house: House) -> None:
    _fill_results(house.database)

    async def post(path: str, status: int) -> Any:
        answer = await house.client.post(f"/api/v1/{path}", headers=JSON)
        assert answer.status_code == status, answer.text
        return answer.json()

    assert "it is under way" in (await post("results-tasks/r1/retry", 409))["detail"]
    await post("exports/x1/cancel", 200)
    await post("results-tasks/r1/cancel", 200)
    assert (await house.get("/api/v1/results-tasks/r1"))["state"] == "canceled"
    await post("results-tasks/r1/cancel", 409)
    assert (await post("exports/x2/retry", 200))["action"] == "retry"
    assert (await house.get("/api/v1/results-tasks/r1"))["state"] == "received"
    assert "it names no destination" in (await post("results-tasks/r2/retry", 409))["detail"]
    await post("results-tasks/r2/cancel", 200)
    await post("results-tasks/zz/retry", 404)
    await post("results-tasks/zz/cancel", 404)
    assert house.woken == 4


async def test_associations_open_ones_first(house: House) -> None:
    answer = await house.get("/api/v1/associations")
    assert [(one["outcome"], one["instances"]) for one in answer["items"]] == [(None, 3), ("released", 2)]


async def test_who_was_turned_away(house: House) -> None:
    answer = await house.get("/api/v1/rejections")
    assert [(one["callingAeTitle"], one["times"]) for one in answer["items"]] == [("CT9", 3), ("CT8", 3)]
    assert [one["callingAeTitle"] for one in (await house.get("/api/v1/rejections?limit=1"))["items"]] == ["CT9"]
    await house.get("/api/v1/rejections?state=x", 400)


async def test_study_with_its_timeline(house: House) -> None:
    [listed] = (await house.get("/api/v1/studies"))["items"]
    answer = await house.get(f"/api/v1/studies/{STUDY}")
    assert listed == {key: value for key, value in answer.items() if key != "timeline"}
    assert (answer["stage"], answer["calledAeTitles"], answer["instances"]) == ("failed", ["LUNG"], 2)
    assert answer["waits"] == (
        "job j1: attempt 1 failed: exit status 3 (`clara dicom job logs j1`, then `clara dicom retry j1`)"
    )
    assert [(one["kind"], one["duration"]) for one in answer["timeline"]] == [
        ("association", 1.0),
        ("batch", 1.0),
        ("job", 9.0),
        ("job", 7.0),
        ("export", None),
    ]


async def test_unknown_study(house: House) -> None:
    answer = await house.get("/api/v1/studies/1.2", 404)
    assert answer["title"] == "No such study"


async def test_pages(house: House) -> None:
    first = await house.get("/api/v1/jobs?limit=1")
    assert [job["id"] for job in first["items"]] == ["j1"]
    second = await house.get(f"/api/v1/jobs?limit=1&before={first['next']}")
    assert [job["id"] for job in second["items"]] == ["j0"]
    third = await house.get(f"/api/v1/jobs?limit=1&before={second['next']}")
    assert third == {"items": [], "next": None}


async def test_pages_of_studies(house: House) -> None:
    _fill_study(house.database, "1.2.840.100", at=2000.0)
    first = await house.get("/api/v1/studies?limit=1")
    second = await house.get(f"/api/v1/studies?limit=1&before={first['next']}")
    assert [one["studyInstanceUid"] for one in (*first["items"], *second["items"])] == ["1.2.840.100", STUDY]
    assert await house.get(f"/api/v1/studies?limit=1&before={second['next']}") == {"items": [], "next": None}
    for place in ("j1", "", "nan_1.2", "1e9_1.2", "1.5_"):
        assert "query.before" in (await house.get(f"/api/v1/studies?before={place}", 400))["detail"]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("batches?state=held", ["b2"]),
        ("batches?calledAeTitle=LUNG&state=held", ["b2"]),
        ("batches?calledAeTitle=HEART", []),
        ("jobs?batchId=b1&state=failed", ["j1"]),
        ("jobs?batchId=b2", []),
        ("jobs?pipelineId=p1", ["j1", "j0"]),
        ("exports?destination=pacs", ["e1"]),
        ("exports?jobId=j1", []),
        ("associations?outcome=aborted", []),
        ("associations?callingAeTitle=CT2", []),
    ],
)
async def test_filters(house: House, query: str, ids: list[str]) -> None:
    assert [one["id"] for one in (await house.get(f"/api/v1/{query}"))["items"]] == ids


@pytest.mark.parametrize("query", ["batches?state=hold", "jobs?stat=failed", "exports?state=queued", "studies?uid=1"])
async def test_a_filter_that_is_none_is_told(house: House, query: str) -> None:
    assert "query" in (await house.get(f"/api/v1/{query}", 400))["detail"]


async def test_one_of_each(house: House) -> None:
    [ended] = (await house.get("/api/v1/associations?outcome=released"))["items"]
    assert await house.get(f"/api/v1/associations/{ended['id']}") == ended
    assert (await house.get("/api/v1/associations/zz-open"))["outcome"] is None
    assert (await house.get("/api/v1/batches/b2"))["heldReason"] == "why"


@pytest.mark.parametrize("path", ["/api/v1/jobs/", "/health/live/", "/api/v1/jobs/j1/"])
async def test_a_slash_at_the_end_changes_nothing(house: House, path: str) -> None:
    assert await house.get(path) == await house.get(path.rstrip("/"))


async def test_a_method_that_is_not_allowed_says_which_are(house: House) -> None:
    for path, methods in (("jobs", "GET"), ("sources", "GET, POST"), ("sources/a", "DELETE, GET, PUT")):
        answer = await house.client.patch(f"/api/v1/{path}")
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_job_with_what_is_in_quarantine(house: House) -> None:
    answer = await house.get("/api/v1/jobs/j0")
    assert (answer["quarantined"], answer["exports"]) == (1, 1)
    assert answer["quarantinedFiles"] == [{"number": 2, "path": "quarantine/j0/2", "reason": "the file is not DICOM"}]


async def test_job_logs_show_the_end_of_long_output(house: House, tmp_path: Path) -> None:
    (tmp_path / "stdout.log").write_bytes(b"x" * 300_000 + b"end \xff")
    answer = await house.get("/api/v1/jobs/j0/logs")
    assert answer["stdout"].endswith("end \N{REPLACEMENT CHARACTER}")
    assert len(answer["stdout"]) == 256 * 1024
    assert answer["stderr"] == ""


async def test_export_with_the_status_in_words(house: House) -> None:
    answer = await house.get("/api/v1/exports/e1")
    assert [(one["status"], one["reason"]) for one in answer["outcomes"]] == [
        ("A700H", "A700H refused: out of resources")
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/jobs/x",
        "/api/v1/jobs/x/logs",
        "/api/v1/exports/x",
        "/api/v1/nothing",
        "/api/v1/batches/x",
        "/api/v1/associations/x",
    ],
)
async def test_what_is_not_there(house: House, path: str) -> None:
    answer = await house.client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=many"])
async def test_invalid_query(house: House, query: str) -> None:
    answer = await house.get(f"/api/v1/jobs?{query}", 400)
    assert "query.limit" in answer["detail"]


class TestActions:
    async def test_retry_job(self, house: House) -> None:
        assert await house.post("/api/v1/jobs/j1/retry") == {"kind": "job", "id": "j1", "action": "retry"}
        assert house.woken == 1
        job = await house.get("/api/v1/jobs/j1")
        assert (job["state"], job["attempt"], job["attemptsAllowed"]) == ("queued", 2, 4)
        assert "it is succeeded" in (await house.post("/api/v1/jobs/j0/retry", 409))["detail"]

    async def test_cancel_job(self, house: House) -> None:
        await house.post("/api/v1/jobs/j1/cancel")
        await house.post("/api/v1/jobs/j1/cancel", 409)
        assert house.live.canceled == ["j1", "j1"]

    async def test_export(self, house: House) -> None:
        await house.post("/api/v1/exports/e1/retry")
        await house.post("/api/v1/exports/e1/cancel")
        await house.post("/api/v1/exports/e1/cancel", 409)
        assert (await house.get("/api/v1/exports/e1"))["state"] == "canceled"

    async def test_what_cannot_be_done_now_is_told(self, house: House) -> None:
        house.live.trouble = TemporaryError("job j1 was told to end and still runs")
        answer = await house.post("/api/v1/jobs/j1/cancel", 503)
        assert answer["detail"] == "job j1 was told to end and still runs"
        house.live.trouble = OperationalError("UPDATE", {}, Exception("database is locked"))
        answer = await house.post("/api/v1/jobs/j1/cancel", 503)
        assert "try again" in answer["detail"]

    async def test_cancel_a_job_that_is_not_there(self, house: House) -> None:
        await house.post("/api/v1/jobs/x/cancel", 404)
        assert house.live.canceled == []

    async def test_an_action_takes_no_fields(self, house: House) -> None:
        answer = await house.client.post("/api/v1/jobs/j1/retry", headers=JSON, content=b'{"tries": 3}')
        assert answer.status_code == 400
        assert (await house.get("/api/v1/jobs/j1"))["state"] == "failed"
        answer = await house.client.post("/api/v1/jobs/j1/retry", headers=JSON, content=b"{}")
        assert answer.status_code == 200

    async def test_release_batch(self, house: House) -> None:
        await house.post("/api/v1/batches/b2/release")
        assert (await house.get("/api/v1/batches?state=closed"))["items"][0]["id"] == "b2"
        await house.post("/api/v1/batches/b2/release", 409)

    async def test_drop_batch(self, house: House) -> None:
        await house.post("/api/v1/batches/b2/drop")
        await house.post("/api/v1/batches/b1/drop", 409)

    @pytest.mark.parametrize(
        "path", ["jobs/x/retry", "exports/x/retry", "exports/x/cancel", "batches/x/release", "batches/x/drop"]
    )
    async def test_on_what_is_not_there(self, house: House, path: str) -> None:
        await house.post(f"/api/v1/{path}", 404)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_a_form_cannot_act(house: House, kind: str) -> None:
    answer = await house.client.post("/api/v1/jobs/j1/retry", headers={"Content-Type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")
    assert (await house.get("/api/v1/jobs/j1"))["state"] == "failed"
    spec = b'{"spec": {"aeTitle": "A", "hostIp": "1.2.3.4"}}'
    for method, path in (
        ("POST", "/api/v1/sources"),
        ("PUT", "/api/v1/sources/a"),
        ("POST", "/api/config/sourceaetitle"),
    ):
        answer = await house.client.request(method, path, headers={"Content-Type": kind}, content=spec)
        assert answer.status_code == 415
    assert (await house.get("/api/v1/sources"))["items"] == []


class TestResend:
    async def test_an_export_to_another_destination(self, house: House) -> None:
        answer = await house.post("/api/v1/exports/e1/resend", destination="archive")
        [made] = answer["exports"]
        assert (answer["destination"], made != "e1", house.woken) == ("archive", True, 1)
        export = await house.get(f"/api/v1/exports/{made}")
        assert (export["jobId"], export["destination"], export["state"], export["attempts"]) == (
            "j0",
            "archive",
            "pending",
            0,
        )
        assert [(one["number"], one["state"], one["status"]) for one in export["outcomes"]] == [(1, "pending", None)]
        before = await house.get("/api/v1/exports/e1")
        assert [one["state"] for one in before["outcomes"]] == ["failed"]

    async def test_an_export_to_the_same_destination_once_it_is_over(self, house: House) -> None:
        detail = (await house.post("/api/v1/exports/e1/resend", 409, destination="PACS"))["detail"]
        assert "there is nothing to send to PACS" in detail
        with house.database.write() as connection:
            export_tasks.record_outcomes(connection, "e1", [FileOutcome(1, DeliveryState.DELIVERED, 0)])
            export_tasks.cancel(connection, "e1", 1020)
        assert (await house.post("/api/v1/exports/e1/resend", destination="pacs"))["exports"] == ["e1"]
        export = await house.get("/api/v1/exports/e1")
        assert (export["state"], export["delivered"], export["endedAt"]) == ("pending", 0, None)

    async def test_only_the_files_of_the_study(self, house: House) -> None:
        with house.database.write() as connection:
            jobs.add(
                connection,
                Job("j2", "n-j2", "b1", "p1", "lung_ai", "LUNG", JobState.SUCCEEDED, 1, 1, 0, 1002),
                None,
            )
            task = ExportTask("e2", "j2", "PACS", ExportState.PENDING, 0, 0, 1010)
            files = [
                ExportFile("e2", n, f"r/{n}.dcm", CT, f"1.2.{n}", STUDY + ".9" * (n - 1), EXPLICIT, 5) for n in (1, 2)
            ]
            export_tasks.add(connection, task, files)
        made = (await house.post(f"/api/v1/studies/{STUDY}/resend", destination="Archive"))["exports"]
        exports = [await house.get(f"/api/v1/exports/{one}") for one in made]
        assert [(one["jobId"], [out["number"] for out in one["outcomes"]]) for one in exports] == [
            ("j0", [1]),
            ("j2", [1]),
        ]

    async def test_what_retention_has_removed(self, house: House) -> None:
        with house.database.write() as connection:
            jobs.mark_removed(connection, "j0", 2000)
        await house.post("/api/v1/exports/e1/resend", 409, destination="Archive")
        await house.post(f"/api/v1/studies/{STUDY}/resend", 409, destination="Archive")
        assert house.woken == 0

    @pytest.mark.parametrize("path", ["exports/x", "studies/1.2"])
    async def test_what_is_not_there(self, house: House, path: str) -> None:
        await house.post(f"/api/v1/{path}/resend", 404, destination="PACS")

    async def test_a_destination_that_is_not_configured(self, house: House) -> None:
        answer = await house.post("/api/v1/exports/e1/resend", 404, destination="NOBODY")
        assert (
            answer["detail"] == "There is no destination 'NOBODY'. `clara dicom list destinations` lists what there is."
        )

    @pytest.mark.parametrize("body", [b"", b"{}", b'{"destination": 1}', b'{"destination": "PACS", "more": 1}', b"[]"])
    async def test_a_body_that_names_none(self, house: House, body: bytes) -> None:
        answer = await house.client.post("/api/v1/exports/e1/resend", headers=JSON, content=body)
        assert answer.status_code == 400
