"""The platform's own public Python client drives our test platform: both ends of the wire are as the original has them.

It does not load beside a protobuf of today, so it gets an environment of its own (`docs/clara-platform.md`).
"""

from __future__ import annotations

import json
import subprocess
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.clara_platform import COPY, UNKNOWN, connected, serving

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

PACKAGES = ("nvidia-clara-client==0.8.1.7", "protobuf==3.20.3")

PROGRAM = """
import io, json, sys, time
from nvidia_clara.jobs_client import JobsClient
from nvidia_clara.payloads_client import PayloadsClient
import nvidia_clara.job_types as jobs
import nvidia_clara.pipeline_types as pipelines

target, pipeline, unknown = sys.argv[1:]
told = {}
with JobsClient(target=target) as client, PayloadsClient(target=target) as payloads:
    try:
        client.create_job(job_name="lung-b1", pipeline_id=pipelines.PipelineId(unknown))
    except Exception as error:
        told["unknown"] = str(error)
    job = client.create_job(
        job_name="lung-b1",
        pipeline_id=pipelines.PipelineId(pipeline),
        job_priority=jobs.JobPriority.Higher,
        metadata={"Source": "LUNG"},
    )
    told["job"], told["payload"] = job.job_id.value, job.payload_id.value
    told["metadata"] = dict(client.add_metadata(job.job_id, {"Instances": "2"}))
    for name, content in (("a.dcm", b"one"), ("b/C.dcm", bytes(200_000))):
        payloads.upload(payload_id=job.payload_id, blob_name=name, file_object=io.BytesIO(content))
    told["state"] = jobs.JobState(client.get_status(job.job_id).job_state).name
    client.start_job(job.job_id)
    deadline = time.monotonic() + 30
    while jobs.JobState((status := client.get_status(job.job_id)).job_state) != jobs.JobState.Stopped:
        assert time.monotonic() < deadline, "it did not stop"
        time.sleep(0.01)
    told["status"] = jobs.JobStatus(status.job_status).name
    told["priority"] = jobs.JobPriority(status.job_priority).name
    told["name"] = status.name
    told["listed"] = [[one.job_id.value, one.name] for one in client.list_jobs()]
    details = payloads.get_details(job.payload_id)
    told["files"] = {one.name: one.size for one in details.file_details}
    content = io.BytesIO()
    payloads.download_from(payload_id=job.payload_id, blob_name="OUTPUT/b/c.dcm", dest_obj=content)
    told["download"] = len(content.getvalue())
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the client."""
    folder = tmp_path_factory.mktemp("client")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "1",
        *PACKAGES,
    ]
    installed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if installed.returncode:
        last = (installed.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"pip cannot have {' '.join(PACKAGES)}: {last}")
    return python


async def test_the_public_client_and_ours_mean_the_same(client: Path, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        command = [str(client), "-c", PROGRAM, server.endpoint, COPY, UNKNOWN]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode == 0, ran.stderr
        told: Mapping[str, Any] = json.loads(ran.stdout)
        assert told == {
            "unknown": f"pipeline {UNKNOWN} not found",
            "job": server.platform.jobs[0].id,
            "payload": server.platform.jobs[0].payload_id,
            "metadata": {"Source": "LUNG", "Instances": "2"},
            "state": "Pending",
            "status": "Healthy",
            "priority": "Higher",
            "name": "lung-b1",
            "listed": [[server.platform.jobs[0].id, "lung-b1"]],
            "files": {"input/a.dcm": 3, "input/b/C.dcm": 200_000, "output/a.dcm": 3, "output/b/C.dcm": 200_000},
            "download": 200_000,
        }
        async with connected(server.endpoint) as platform:
            pieces = [piece async for piece in platform.payloads.download(told["payload"], "output/a.dcm")]
        assert b"".join(pieces) == b"one"
