"""create, list, get, delete: which calls they make of which words, and how they tell the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from dicom_adapter.cli.app import clara_program
from tests.unit.cli.api_stub import ApiStub, serving_api

BRAIN: dict[str, Any] = {
    "metadata": {"name": "brain", "creationTimestamp": "2023-11-14T22:13:20Z"},
    "spec": {
        "name": "brain",
        "aeTitle": "BrainTumor",
        "timeout": 5,
        "pipelineId": "7b9c",
        "processorSettings": {"pipeline-lung": "8c0d", "priority": "higher"},
    },
}
DELETED = {"kind": "Status", "status": "Success", "details": {"name": "brain"}}


@pytest.fixture
def api() -> Iterator[ApiStub]:
    with serving_api(ApiStub()) as stub:
        yield stub


def run(api: ApiStub, *arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(clara_program, ["dicom", *arguments, "--api", api.url])
    assert result.exit_code == status, (result.output, result.exception)
    return result


@pytest.mark.parametrize(
    ("command", "plural", "spec"),
    [
        (
            "create aetitle -a BrainTumor pipeline-brain=7b9c",
            "claraaetitles",
            {"aeTitle": "BrainTumor", "overwriteSameInstance": None, "processorSettings": {"pipeline-brain": "7b9c"}},
        ),
        (
            "create aet -a A -n brain pipeline-a=1 pipeline-b=2 groupBy=0020,000D jobRetryDelay=5000",
            "claraaetitles",
            {
                "name": "brain",
                "aeTitle": "A",
                "processorSettings": {
                    "pipeline-a": "1",
                    "pipeline-b": "2",
                    "groupBy": "0020,000D",
                    "jobRetryDelay": "5000",
                },
            },
        ),
        (
            "create ClaraAeTitle -a A --pipeline 7b9c --timeout 5 --overwrite-same-instance --ignored-sop-class 1.2",
            "claraaetitles",
            {
                "aeTitle": "A",
                "pipelineId": "7b9c",
                "timeout": 5,
                "overwriteSameInstance": True,
                "ignoredSopClasses": ["1.2"],
            },
        ),
        ("create src -a ORTHANC -i 1.2.3.4", "sources", {"aeTitle": "ORTHANC", "hostIp": "1.2.3.4"}),
        (
            "create dest -n PACS -a ARCHIVEX -i 10.20.30.40 -p 104",
            "destinations",
            {"name": "PACS", "aeTitle": "ARCHIVEX", "hostIp": "10.20.30.40", "port": 104},
        ),
        (
            "create destinations -a ARCHIVEX -i 10.20.30.40 -p 104",
            "destinations",
            {"name": "ARCHIVEX", "aeTitle": "ARCHIVEX", "hostIp": "10.20.30.40", "port": 104},
        ),
    ],
)
def test_create(api: ApiStub, command: str, plural: str, spec: dict[str, Any]) -> None:
    api.answers[f"POST /api/v1/{plural}"] = (201, BRAIN)
    assert run(api, *command.split()).stdout.endswith(" brain created\n")
    assert api.bodies == [{"spec": {key: value for key, value in spec.items() if value is not None}}]


@pytest.mark.parametrize(
    ("word", "plural"),
    [
        *((word, "claraaetitles") for word in ("aetitle", "aetitles", "aet", "AET", "claraaetitle", "claraaet")),
        *((word, "sources") for word in ("source", "sources", "src")),
        *((word, "destinations") for word in ("destination", "destinations", "dest", "dst")),
    ],
)
def test_every_word_for_a_kind(api: ApiStub, word: str, plural: str) -> None:
    path = f"/api/v1/{plural}"
    api.answers = {f"GET {path}": {"items": []}, f"GET {path}/brain": BRAIN, f"DELETE {path}/brain": DELETED}
    assert run(api, "list", word).stdout.startswith("no ")
    run(api, "get", word, "brain")
    assert run(api, "delete", word, "-n", "brain").stdout.endswith(" brain deleted\n")


def test_the_table_shows_the_pipelines_of_both_generations(api: ApiStub) -> None:
    api.answers["GET /api/v1/claraaetitles"] = {"items": [BRAIN]}
    out = run(api, "list", "aet").stdout
    assert out.splitlines()[-1].split() == ["brain", "BrainTumor", "5", "7b9c,", "lung=8c0d", "in", "force"]


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({"aeTitle": "A", "processorSettings": {"Pipeline-lung": "8c0d"}}, "lung=8c0d"),
        ({"aeTitle": "A", "processorSettings": "pipeline-lung"}, ""),
        ({"aeTitle": "A", "pipelineId": 5, "processorSettings": ["x"]}, "5"),
    ],
)
def test_what_others_put_into_a_cluster_is_shown(api: ApiStub, spec: dict[str, Any], shown: str) -> None:
    """Definitions of before had no schemas."""
    api.answers["GET /api/v1/claraaetitles"] = {"items": [{**BRAIN, "spec": spec}]}
    [*_, row] = run(api, "list", "aet").stdout.splitlines()
    assert row.split() == ["brain", "A", *([shown] if shown else []), "in", "force"]


def test_a_resource_that_is_not_in_force_says_why(api: ApiStub) -> None:
    why = "pipelineId: required"
    condition = {"type": "Accepted", "status": "False", "message": why}
    broken = {**BRAIN, "spec": {"aeTitle": "A"}, "status": {"Enabled": False, "conditions": [condition]}}
    api.answers |= {"GET /api/v1/claraaetitles": {"items": [broken]}, "GET /api/v1/claraaetitles/brain": broken}
    for command in ("list aet", "get aet brain"):
        assert run(api, *command.split()).stdout.rstrip().endswith(why)


def test_one(api: ApiStub) -> None:
    api.answers["GET /api/v1/claraaetitles/brain"] = BRAIN
    out = run(api, "get", "aet", "brain").stdout
    assert out.splitlines()[0].split() == ["Name", "brain"]
    assert "2023-11-14T22:13:20Z" in out


@pytest.mark.parametrize("command", [["list", "aet"], ["get", "aet", "brain"], ["delete", "aet", "brain"]])
def test_what_programs_get_is_the_answer(api: ApiStub, command: list[str]) -> None:
    listed = {"items": [BRAIN]}
    path = "/api/v1/claraaetitles"
    api.answers = {f"GET {path}": listed, f"GET {path}/brain": BRAIN, f"DELETE {path}/brain": DELETED}
    wanted = {"list": listed, "get": BRAIN, "delete": DELETED}[command[0]]
    assert json.loads(run(api, *command, "--json").stdout) == wanted
    assert json.loads(run(api, *command, "-o", "json").stdout) == wanted
    assert YAML(typ="safe").load(run(api, *command, "-o", "yaml").stdout) == wanted


def test_the_name_that_was_given_finds_the_resource(api: ApiStub) -> None:
    """metadata.name is made of it: what Kubernetes allows in no name becomes a dash."""
    api.answers["DELETE /api/v1/destinations/my-pacs"] = DELETED
    run(api, "delete", "dest", "-n", "My_PACS")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("delete aet", "which Clara AE Title?"),
        ("get aet one -n two", "which Clara AE Title?"),
        ("create aet -a A lung", "'lung' is no KEY=VALUE"),
        ("create aet -a A pipeline-lung=", "is no KEY=VALUE"),
        ("create aet", "--ae-title"),
        ("create src -a A", "--host-ip"),
        ("create dest -a A -i b -p many", "--port"),
        ("create scanner", "scanner"),
        ("list aet -o xml", "xml"),
    ],
)
def test_wrong_words_ask_nothing(api: ApiStub, command: str, words: str) -> None:
    assert words in run(api, *command.split(), status=2).stderr
    assert api.asked == []


@pytest.mark.parametrize(("code", "status"), [(400, 2), (403, 1), (404, 1), (409, 1), (503, 1)])
def test_a_refusal_is_told_in_the_words_of_the_api(api: ApiStub, code: int, status: int) -> None:
    api.answers["POST /api/v1/sources"] = (code, {"title": "t", "status": code, "detail": "hostIp: not an address"})
    assert run(api, "create", "src", "-a", "A", "-i", "!", status=status).stderr == "hostIp: not an address\n"
