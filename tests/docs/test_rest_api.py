"""Every example of docs/rest-api.md, against a real adapter; and every call has one."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.routing import compile_path

from dicom_adapter.testing.results_service import ResultsService, serving
from tests.adapter_process import AdapterProcess
from tests.end_to_end.test_trip import COPY, ct_series, house, process, send
from tests.ports import free_port
from tests.waiting import eventually

DOCS = Path(__file__).parents[2] / "docs" / "rest-api.md"
# Each block's lines, those that end with a backslash joined to the next.
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.replace("\\\n", "").splitlines()
    if line
]
WAITS = "import time; time.sleep(3600)"
FAILS = "import sys; sys.exit(3)"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    """One with a finished job whose export failed, a job that runs, two held batches, and a failed results task."""
    service = ResultsService()
    service.add("ClaraSCU", "payload", ["1.dcm"], "NOWHERE")
    with serving(service) as url:
        yield from _adapter(tmp_path_factory.mktemp("docs"), url)


def _adapter(folder: Path, results_service: str) -> Iterator[AdapterProcess]:
    switches = {"read-aetitles-from-crd": True, "read-sources-from-crd": True}
    made = house(
        folder,
        104,
        process(COPY, destinations=["MAIN"]),
        pipelines=[process(COPY, destinations=["MAIN"]), {**process(WAITS), "id": "p2", "name": "waits"}],
        services={"results-service-endpoint": results_service},
        dicom={"scp": switches, "scu": {"read-destinations-from-crd": True, "retry-delays": []}},
    )
    made.start()
    try:
        nobody = free_port()
        for name in ("MAIN", "ARCHIVE", "RESEARCH"):
            spec = {"name": name, "aeTitle": name, "hostIp": "127.0.0.1", "port": nobody}
            assert made.post("/api/v1/destinations", {"spec": spec}) == 201
        for title, more in (
            ("LUNG", {"pipelineId": "p1"}),
            ("WAITS", {"pipelineId": "p2"}),
            ("HELD", {"processors": ["nobody.has:This"]}),
        ):
            assert made.post("/api/v1/claraaetitles", {"spec": {"aeTitle": title, **more}}) == 201
        eventually(lambda: len(made.get("/api/v1/status")["scp"]["aeTitles"]) == 3)
        for title in ("LUNG", "WAITS", "HELD", "HELD"):
            send(made.port, ct_series(1), title)
        made.wait_for("exports", "failed", count=2)
        made.wait_for("jobs", "started")
        made.wait_for("batches", "held", count=2)
        made.wait_for("results-tasks", "failed")
        yield made
        for job in made.items(
            "jobs"
        ):  # a run outlives its adapter, and the examples have begun the one that waits again
            made.post(f"/api/v1/jobs/{job['id']}/cancel")
    finally:
        made.close()


@pytest.fixture(scope="module")
def variables(adapter: AdapterProcess) -> dict[str, str]:
    [export] = [one for one in adapter.items("exports") if one["jobId"]]
    held = adapter.wait_for("batches", "held", count=2)
    [finished] = [one for one in adapter.items("studies") if one["calledAeTitles"] == ["LUNG"]]
    return {
        "JOB": adapter.wait_for("jobs", "started")[0]["id"],
        "EXPORT": export["id"],
        "RESULTS_TASK": adapter.items("results-tasks")[0]["id"],
        "BATCH": held[0]["id"],
        "OTHER_BATCH": held[1]["id"],
        "STUDY": finished["studyInstanceUid"],
        "ASSOCIATION": adapter.items("associations")[0]["id"],
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_examples_work_one_after_the_other(
    adapter: AdapterProcess, variables: dict[str, str], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    for command in COMMANDS:
        here = command.replace("http://localhost:5000", adapter.api).replace("/etc/dicom-adapter/token", str(token))
        done = subprocess.run(
            ["sh", "-c", f'curl() {{ command curl -sS --fail "$@"; }}; {here}'],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (here, done.stdout, done.stderr)
        assert done.stdout, here


def test_every_call_has_an_example(adapter: AdapterProcess) -> None:
    shown = {call_of(command) for command in COMMANDS}
    paths = adapter.get("/openapi.json")["paths"]
    missing = [
        (method, path)
        for path, operations in paths.items()
        for method in operations
        if not any(method == verb and compile_path(path)[0].fullmatch(at) for verb, at in shown)
    ]
    assert missing == []


def call_of(command: str) -> tuple[str, str]:
    """Method and path of a curl command."""
    words = shlex.split(command)
    named = next((words[at + 1] for at, word in enumerate(words) if word in ("-X", "--request")), None)
    method = named or ("POST" if "-d" in words else "GET")
    [url] = [word for word in words if word.startswith("http://")]
    return method.lower(), urlsplit(url).path
