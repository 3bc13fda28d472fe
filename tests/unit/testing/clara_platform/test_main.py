"""`python -m dicom_adapter.testing.clara_platform`: both halves, from a job to the task with its results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx2

from dicom_adapter.core.model import JobSpec, PayloadFile
from tests.clara_platform import COPY, connected
from tests.waiting import eventually


async def test_results_of_a_job_are_registered_for_the_agent(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dicom_adapter.testing.clara_platform", "--port", "0", "--results-port", "0"]
    process = subprocess.Popen([*command, "--data", '["ARCHIVE"]'], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        platform, service = (process.stdout.readline().partition(": ")[2].strip() for _ in range(2))
        file = tmp_path / "1.dcm"
        file.write_bytes(b"an image")
        async with connected(platform) as clara:
            ref = await clara.engine.create_job(JobSpec("j", "lung-copy-1", 1, COPY))
            await clara.engine.upload(ref, [PayloadFile(str(file), "1.dcm")])
            await clara.engine.start_job(ref)
            [task] = eventually(lambda: httpx2.get(f"{service}/api/tasks/ClaraSCU/pending").json())
            assert (task["jobId"], task["payloadId"]) == (ref.job_id, ref.payload_id)
            assert (task["uris"], task["parameters"]) == (["output/1.dcm"], '["ARCHIVE"]')
            content = [piece async for piece in clara.payloads.download(ref.payload_id, "output/1.dcm")]
            assert content == [b"an image"]
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()
