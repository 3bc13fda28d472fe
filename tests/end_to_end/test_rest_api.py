"""The OpenAPI document against a real adapter that has work of every kind: schemathesis tries to prove it wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapter_process import AdapterProcess
from tests.end_to_end.test_trip import COPY, ct_series, house, process, send
from tests.ports import free_port
from tests.waiting import eventually

TOKEN = "0123456789abcdef-of-a-test"
TIME = int(os.environ.get("SCHEMATHESIS_SECONDS", "20"))  # that it goes on trying; by hand, as long as one likes
LONGEST = TIME + 120  # seconds that it may take for them, on a machine that has other things to do

# What schemathesis cannot find out by itself: the ids of the work. And where a schema says less than the adapter's own
# words: 400 is what exists already, as specified (12.1.6.4.2), and rules between fields.
SETTINGS = """
headers = {{ Authorization = "Bearer {token}" }}

[parameters]
{parameters}

[[operations]]
include-name = [
    "POST /api/config/claraaetitle",
    "POST /api/config/sourceaetitle",
    "POST /api/config/destinationaetitle",
    "POST /api/v1/claraaetitles",
    "PUT /api/v1/claraaetitles/{{name}}",
    "PUT /api/v1/sources/{{name}}",
    "PUT /api/v1/destinations/{{name}}",
]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409"]
"""


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[AdapterProcess]:
    """One with a study whose export failed, so that the actions have something to act on; resources in its database."""
    scp = {"read-aetitles-from-crd": True, "read-sources-from-crd": True}
    scu = {"read-destinations-from-crd": True, "retry-delays": []}
    made = house(tmp_path, 104, process(COPY), api={"token": TOKEN}, dicom={"scp": scp, "scu": scu})
    made.headers = {"Authorization": f"Bearer {TOKEN}"}
    made.start()
    try:
        for kind, spec in (
            ("destinations", {"name": "PACS", "aeTitle": "ARCHIVE", "hostIp": "127.0.0.1", "port": free_port()}),
            ("claraaetitles", {"name": "lung", "aeTitle": "LUNG", "pipelineId": "p1"}),
        ):
            assert made.post(f"/api/v1/{kind}", {"spec": spec}) == 201
        eventually(lambda: "LUNG" in made.get("/api/v1/status")["scp"]["aeTitles"])
        send(made.port, ct_series(1))
        made.wait_for("exports", "failed")
        yield made
        assert made.running, made.log.read_text()[-4000:]
    finally:
        made.close()


@pytest.mark.timeout(LONGEST + 60)
def test_the_document_is_true(adapter: AdapterProcess, tmp_path: Path) -> None:
    ids = {
        "job_id": adapter.items("jobs")[0]["id"],
        "task_id": adapter.items("exports")[0]["id"],
        "batch_id": adapter.items("batches")[0]["id"],
        "association_id": adapter.items("associations")[0]["id"],
        "uid": adapter.items("studies")[0]["studyInstanceUid"],
    }
    parameters = "\n".join(f'{name} = "{value}"' for name, value in ids.items())
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS.format(token=TOKEN, parameters=parameters))
    done = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            "--config-file",
            settings,
            "run",
            f"{adapter.api}/openapi.json",
            *("--checks", "all", "--max-time", str(TIME), "--seed", "1", "--continue-on-failure"),
            *("--suppress-health-check", "all", "--warnings", "off", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    log = adapter.log.read_text()
    assert "Traceback" not in log, log[-4000:]
    assert TOKEN not in log
