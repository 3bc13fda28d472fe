"""The commands that ask a running adapter: what they call, what they print, how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dicom_adapter.cli.app import clara_program, dicom_adapter_program
from tests.unit.cli.api_stub import ApiStub, serving_api

JOB: dict[str, Any] = {
    "id": "1m82mgjfd6knb5r5",
    "name": "n",
    "batchId": "1m82mgjd4q4tem54",
    "pipelineId": "p",
    "pipelineName": "ct_ai",
    "calledAeTitle": "LUNG",
    "state": "failed",
    "attempt": 3,
    "attemptsAllowed": 3,
    "createdAt": 1000.0,
    "startedAt": 1001.0,
    "endedAt": 1076.0,
    "nextAttemptIn": None,
    "reason": "exit status 1",
    "exports": 0,
    "quarantined": 0,
}
OTHER_JOB = {**JOB, "id": "1m82mzzzzzzzzzzz", "state": "queued", "nextAttemptIn": 90.0, "endedAt": None}
EXPORT: dict[str, Any] = {
    "id": "1m82nqqqqqqqqqqq",
    "jobId": JOB["id"],
    "destination": "PACS",
    "state": "failed",
    "attempts": 4,
    "files": 10,
    "delivered": 3,
    "warning": 1,
    "filesFailed": 6,
    "createdAt": 1100.0,
    "reason": "the peer refused",
}
RESULTS_TASK: dict[str, Any] = {
    "id": "1m82prrrrrrrrrrr",
    "taskId": "6c7f1a80-8a54-4b0c-9d3f-0f4b8f0c9d11",
    "jobId": None,
    "platformJobId": "p",
    "payloadId": "q",
    "destinations": ["PACS", "OTHER"],
    "state": "returned",
    "files": 7,
    "retries": 2,
    "createdAt": 1100.0,
    "endedAt": 1200.0,
    "reportedAt": None,
    "reason": "PACS: the peer refused",
}
BATCH: dict[str, Any] = {
    "id": "1m82mgjd4q4tem54",
    "calledAeTitle": "LUNG",
    "state": "held",
    "instances": 12,
    "studies": 1,
    "bytes": 2048,
    "openedAt": 1000.0,
    "heldReason": "the adapter was killed while it was received",
}
STUDY: dict[str, Any] = {
    "studyInstanceUid": "1.2.840.99",
    "calledAeTitles": ["LUNG"],
    "series": 1,
    "instances": 12,
    "bytes": 2048,
    "firstReceivedAt": 1000.0,
    "lastReceivedAt": 1001.0,
    "stage": "failed",
    "waits": "job failed: exit status 1",
}
REJECTION = {
    "callingAeTitle": "CT9",
    "calledAeTitle": "LUNG",
    "peerHost": "192.0.2.7",
    "answer": "rejected-permanent, service-user, calling-ae-title-not-recognized",
    "why": "it is not among the sources; add it",
    "firstAt": 990.0,
    "lastAt": 999.0,
    "times": 3,
}
STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "startedAt": 900.0,
    "ready": True,
    "notReady": [],
    "scp": {
        "port": 11112,
        "listening": True,
        "openAssociations": 1,
        "maxAssociations": 2,
        "aeTitles": ["LUNG", "HEART"],
        "counters": {
            "associations_accepted": 3,
            "associations_rejected_1_1_3": 2,
            "instances": 7,
            "instances_ignored": 0,
            "bytes": 2048,
            "failures_a700": 4,
        },
    },
    "storage": {"path": "/s", "freeBytes": 1 << 30, "reservedBytes": 1, "accepting": False, "healthy": True},
    "resources": [
        {"kind": "ClaraAeTitle", "store": "database", "place": "the adapter's own database"},
        {"kind": "Source", "store": "file", "place": "the configuration file"},
        {"kind": "Destination", "store": "database", "place": "the adapter's own database"},
    ],
    "batches": {"held": 1},
    "jobs": {"failed": 2},
    "exports": {},
    "workers": [{"name": "exporter", "failures": 2, "reason": "disk on fire"}],
}


@pytest.fixture
def api() -> Iterator[ApiStub]:
    stub = ApiStub()
    stub.answers = {
        "GET /api/v1/status": STATUS,
        "GET /api/v1/studies": stub.page(STUDY, {**STUDY, "studyInstanceUid": "1.2.840.100"}),
        "GET /api/v1/jobs": stub.page(JOB, following="j2"),
        "GET /api/v1/jobs?before=j2": stub.page(OTHER_JOB),
        "GET /api/v1/exports": stub.page(EXPORT),
        "GET /api/v1/results-tasks": stub.page(RESULTS_TASK),
        "GET /api/v1/batches": stub.page(BATCH),
        "GET /api/v1/associations": stub.page(),
        "GET /api/v1/rejections": stub.page(REJECTION),
    }
    with serving_api(stub):
        yield stub


def run(api: ApiStub, *arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(clara_program, ["dicom", *arguments, "--api", api.url])
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_results_as_json(api: ApiStub) -> None:
    assert json.loads(run(api, "results-tasks", "--json").stdout) == [RESULTS_TASK]


@pytest.mark.parametrize("command", ["studies", "jobs", "exports", "batches", "associations", "rejections"])
def test_json_is_what_the_api_answers(api: ApiStub, command: str) -> None:
    assert json.loads(run(api, command, "--json").stdout) == api.answers[f"GET /api/v1/{command}"]["items"]


def test_status(api: ApiStub) -> None:
    out = run(api, "status").stdout
    for words in ("ready (version 0.1.0", "port 11112", "1 of 2", "LUNG, HEART", "1.0 GiB free"):
        assert words in out
    assert "new associations are rejected" in out
    assert "1 held" in out
    assert "disk on fire" in out
    assert json.loads(run(api, "status", "--json").stdout) == STATUS


def test_counters_are_words(api: ApiStub) -> None:
    out = run(api, "status").stdout
    since = "associations: 3 accepted, 2 rejected (calling-ae-title-not-recognized); instances: 7 received, 2.0 KiB"
    since += "; failures: 4 A700H Refused: out of resources"
    assert since in out


def test_a_full_disk_says_how_much_must_stay_free(api: ApiStub) -> None:
    storage = {**STATUS["storage"], "accepting": False, "reservedBytes": 2 << 30}
    api.answers["GET /api/v1/status"] = {**STATUS, "storage": storage}
    assert "1.0 GiB free, 2.0 GiB must stay free: new associations are rejected" in run(api, "status").stdout


def test_status_says_where_resources_are_and_that_they_are_old(api: ApiStub) -> None:
    shown = run(api, "status").stdout
    assert "ClaraAeTitle, Destination: the adapter's own database" in shown
    assert "Source: the configuration file" in shown
    old = {"store": "kubernetes", "place": "the cluster", "staleSince": 0.0, "reason": "it cannot be reached"}
    kinds = ("ClaraAeTitle", "Source", "Destination")
    api.answers["GET /api/v1/status"] = {**STATUS, "resources": [{"kind": kind, **old} for kind in kinds]}
    shown = run(api, "status").stdout
    assert "ClaraAeTitle, Source, Destination: the cluster" in shown
    assert shown.count("the last known go on serving: it cannot be reached") == 1


def test_status_of_the_results_service(api: ApiStub) -> None:
    assert "Results Service" not in run(api, "status").stdout
    service = {"endpoint": "http://r", "agent": "ClaraSCU", "state": "away", "since": 900.0, "reason": "it is down"}
    answer = {**STATUS, "resultsTasks": {"returned": 2}, "resultsService": {**service, "unreported": 3}}
    api.answers["GET /api/v1/status"] = answer
    out = " ".join(run(api, "status").stdout.split())
    assert "Results Service http://r away as ClaraSCU since" in out
    assert "it is down; 3 tasks not reported yet" in out
    assert "2 returned" in out


def test_status_of_an_adapter_that_is_not_ready(api: ApiStub) -> None:
    api.answers["GET /api/v1/status"] = {**STATUS, "ready": False, "notReady": ["the database cannot be written"]}
    assert "not ready: the database cannot be written" in run(api, "status", status=1).stdout


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("studies", ["1.2.840.99", "failed", "job failed: exit status 1"]),
        ("jobs", ["1m82mgjfd6knb5r5", "ct_ai", "3 of 3", "1 min 15 s", "exit status 1"]),
        ("exports", ["1m82nqqqqqqqqqqq", "PACS", "10", "the peer refused"]),
        ("results-tasks", ["1m82prrrrrrrrrrr", "6c7f1a80", "PACS, OTHER", "returned", "the peer refused"]),
        ("batches", ["1m82mgjd4q4tem54", "held", "2.0 KiB", "the adapter was killed"]),
        ("associations", ["no associations"]),
        ("rejections", ["CT9", "192.0.2.7", "3", "rejected-permanent", "add it"]),
    ],
)
def test_tables(api: ApiStub, command: str, words: list[str]) -> None:
    out = run(api, command).stdout
    assert [word for word in words if word not in out] == []


def test_lists_can_be_bounded_and_filtered(api: ApiStub) -> None:
    run(api, "jobs", "-n", "5", "--state", "failed")
    assert api.asked[-1][1] == {"limit": ["5"], "state": ["failed"]}


def test_a_job_that_waits_says_until_when(api: ApiStub) -> None:
    api.answers["GET /api/v1/jobs"] = api.page(OTHER_JOB)
    assert "again in 1 min 30 s" in run(api, "jobs").stdout


def test_timeline(api: ApiStub) -> None:
    entry = {"at": 1000.0, "duration": 0.25, "kind": "association", "id": "a1", "state": "released", "text": "CT1 sent"}
    going = {"at": 1002.0, "duration": None, "kind": "job", "id": "j1", "state": "started", "text": "pipeline ct"}
    api.answers["GET /api/v1/studies/1.2.840.99"] = {**STUDY, "timeline": [entry, going]}
    for uid in ("1.2.840.99", ".99"):
        out = run(api, "study", uid).stdout
        assert "It waits: job failed" in out
        assert "250 ms" in out
        assert "CT1 sent" in out
        assert "..." in out


def test_a_study_that_is_done_waits_for_nothing(api: ApiStub) -> None:
    done = {**STUDY, "stage": "done", "waits": "job j1: 2 of 2 result files are in quarantine", "timeline": []}
    api.answers["GET /api/v1/studies/1.2.840.99"] = done
    out = run(api, "study", "1.2.840.99").stdout
    assert "\njob j1: 2 of 2 result files are in quarantine\n" in out
    assert "It waits" not in out


def test_a_study_that_can_be_two_is_asked_for_again(api: ApiStub) -> None:
    result = run(api, "study", "1.2.840", status=2)
    assert "fits 2 ids" in result.stderr


def test_an_old_study_is_asked_of_the_api_itself(api: ApiStub) -> None:
    assert "nothing at GET /api/v1/studies/1.9" in run(api, "study", "1.9", status=1).stderr
    before = len(api.asked)
    run(api, "study", "../jobs", status=1)
    assert [call for call, _, _ in api.asked[before:]] == ["GET /api/v1/studies"]


@pytest.mark.parametrize("reference", ["1m82mgjfd6knb5r5", "1m82mg", "b5r5", "B5R5"])
def test_job_logs_by_any_part_of_the_id(api: ApiStub, reference: str) -> None:
    logs = {"job": JOB["id"], "attempt": 2, "stdout": "line 1\nline \x1b[2J2\n", "stderr": ""}
    api.answers[f"GET /api/v1/jobs/{JOB['id']}/logs"] = logs
    api.answers[f"GET /api/v1/jobs/{JOB['id']}"] = {**JOB, "state": "failed", "reason": "command 'x': not found"}
    out = run(api, "job", "logs", reference).stdout
    assert f"job {JOB['id']}, attempt 2: failed\ncommand 'x': not found" in out
    assert "line 1\nline \\x1b[2J2\n" in out
    assert "--- stderr (empty)" in out


def test_where_logs_are_that_are_not_here(api: ApiStub) -> None:
    logs = {"job": JOB["id"], "attempt": 1, "stdout": "", "stderr": "", "elsewhere": "it is job 0fcd of the platform"}
    api.answers[f"GET /api/v1/jobs/{JOB['id']}/logs"] = logs
    api.answers[f"GET /api/v1/jobs/{JOB['id']}"] = JOB
    out = run(api, "job", "logs", JOB["id"]).stdout
    assert "it is job 0fcd of the platform" in out
    assert "stdout" not in out


def test_one_job_and_one_export(api: ApiStub) -> None:
    quarantined = {"number": 1, "path": "quarantine/j/1", "reason": "it is not DICOM"}
    api.answers[f"GET /api/v1/jobs/{JOB['id']}"] = {**JOB, "quarantinedFiles": [quarantined]}
    out = run(api, "job", "show", "b5r5").stdout
    assert "it is not DICOM" in out
    assert f"below {STATUS['storage']['path']}" in out
    assert f"`clara dicom job logs {JOB['id']}`" in out
    outcome = {
        "number": 1,
        "sopClassUid": "1.2",
        "sopInstanceUid": "1.2.3.4",
        "transferSyntaxUid": "1.2.840.10008.1.2",
        "state": "failed",
        "status": "A700H",
        "reason": "Refused: Out of Resources",
    }
    api.answers[f"GET /api/v1/exports/{EXPORT['id']}"] = {**EXPORT, "outcomes": [outcome]}
    out = run(api, "export", "show", "qqq").stdout
    assert "A700H" in out
    assert "Refused: Out of Resources" in out
    missing = {**outcome, "sopInstanceUid": None, "status": None, "reason": "the platform does not have it"}
    of_task = {**EXPORT, "jobId": None, "resultsTaskId": RESULTS_TASK["id"], "outcomes": [missing]}
    api.answers[f"GET /api/v1/exports/{EXPORT['id']}"] = of_task
    out = run(api, "export", "show", "1m82nq").stdout
    assert f"of results task {RESULTS_TASK['id']} to PACS" in out
    assert "the platform does not have it" in out


@pytest.mark.parametrize(
    ("command", "reference", "call"),
    [
        ("retry", "b5r5", f"POST /api/v1/jobs/{JOB['id']}/retry"),
        ("retry", "1m82mz", f"POST /api/v1/jobs/{OTHER_JOB['id']}/retry"),  # on the second page
        ("retry", "1m82nq", f"POST /api/v1/exports/{EXPORT['id']}/retry"),
        ("retry", "1m82p", f"POST /api/v1/results-tasks/{RESULTS_TASK['id']}/retry"),
        ("release", "m54", f"POST /api/v1/batches/{BATCH['id']}/release"),
        ("drop", "m54", f"POST /api/v1/batches/{BATCH['id']}/drop"),
        ("cancel", "b5r5", f"POST /api/v1/jobs/{JOB['id']}/cancel"),
        ("cancel", "qqq", f"POST /api/v1/exports/{EXPORT['id']}/cancel"),
    ],
)
def test_actions(api: ApiStub, command: str, reference: str, call: str) -> None:
    done = {"kind": "job", "id": "i", "action": command}
    api.answers[call] = done
    words = {"retry": "is tried again", "release": "goes on", "drop": "is dropped", "cancel": "is canceled"}
    assert run(api, command, reference).stdout == f"job i {words[command]}\n"
    assert api.asked[-1][0] == call
    assert api.asked[-1][2] == "application/json"  # the API takes nothing else
    assert json.loads(run(api, command, reference, "--json").stdout) == done


@pytest.mark.parametrize(
    ("reference", "call"),
    [
        ("qqq", f"POST /api/v1/exports/{EXPORT['id']}/resend"),
        ("1.2.840.99", "POST /api/v1/studies/1.2.840.99/resend"),
        (".100", "POST /api/v1/studies/1.2.840.100/resend"),
    ],
)
def test_resend(api: ApiStub, reference: str, call: str) -> None:
    api.answers[call] = {"destination": "Archive", "exports": ["e8", "e9"]}
    assert run(api, "resend", reference, "archive").stdout == (
        "queued for Archive as export e8, e9: `clara dicom export show ID` tells how it goes\n"
    )
    assert (api.asked[-1][0], api.bodies[-1]) == (call, {"destination": "archive"})
    assert json.loads(run(api, "resend", reference, "archive", "--json").stdout)["exports"] == ["e8", "e9"]


def test_an_action_that_the_adapter_refuses(api: ApiStub) -> None:
    problem = {"title": "Cannot retry this job", "status": 409, "detail": "it is started"}
    api.answers[f"POST /api/v1/jobs/{JOB['id']}/retry"] = (409, problem)
    assert run(api, "retry", "b5r5", status=1).stderr == "it is started\n"


def test_ids_that_are_none_or_several(api: ApiStub) -> None:
    assert "no batch" in run(api, "release", "nothing", status=1).stderr
    ambiguous = run(api, "retry", "1m82", status=2).stderr
    assert "fits 4 ids" in ambiguous
    assert EXPORT["id"] in ambiguous


@pytest.mark.parametrize("body", [(200, b"<html>"), (502, b"<html>"), (500, {"detail": None})])
def test_something_else_answers(api: ApiStub, body: tuple[int, Any]) -> None:
    api.answers["GET /api/v1/jobs"] = body
    assert "the API of a DICOM Adapter?" in run(api, "jobs", status=1).stderr


@pytest.mark.parametrize("command", [["status"], ["jobs"], ["retry", "x"], ["study", "1.2"], ["job", "logs", "x"]])
def test_not_running(command: list[str], tmp_path: Path) -> None:
    config = tmp_path / "app.yaml"
    config.write_text("api: {port: 0}\n")
    for program, words in ((clara_program, ["dicom"]), (dicom_adapter_program, []), (dicom_adapter_program, ["dicom"])):
        result = CliRunner().invoke(program, [*words, *command, "-f", str(config)])
        assert result.exit_code == 3
        assert "not running" in result.stderr
        assert result.stdout == ""


def test_nothing_answers_at_the_address() -> None:
    stub = ApiStub()
    with serving_api(stub):
        gone = stub.url
    result = CliRunner().invoke(clara_program, ["dicom", "jobs", "--api", gone])
    assert result.exit_code == 3
    assert gone in result.stderr
