"""Studies through a real adapter to a Clara Platform: there or away, known pipelines or not, and across `kill -9`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pydicom
import pytest

from dicom_adapter.crash_points import VARIABLE
from dicom_adapter.engines.clara_platform.jobs_pb2 import JOB_PRIORITY_HIGHER, JOB_STATE_PENDING, JOB_STATUS_CANCELED
from dicom_adapter.testing.clara_platform.server import Server
from dicom_adapter.testing.clara_platform.state import Run, copy
from tests.adapter_process import AdapterProcess, configuration, merged
from tests.clara_platform import COPY, UNKNOWN, serving
from tests.end_to_end.test_trip import ct_series, send
from tests.waiting import eventually

OTHER = "0" * 31 + "2"  # another pipeline


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


def adapter(folder: Path, server: Server, pipeline_id: str = COPY, **sections: Any) -> AdapterProcess:
    """One that maps LUNG to a pipeline of the platform."""
    base = {
        "services": {"platform-endpoint": server.endpoint},
        "pipeline-mappings": [{"name": "lung_ai", "clara-ae-title": "LUNG", "pipeline-id": pipeline_id}],
    }
    return AdapterProcess(folder / "adapter", merged(configuration(**base), sections))


@pytest.fixture
def house(tmp_path: Path, server: Server) -> Iterator[AdapterProcess]:
    house = adapter(
        tmp_path,
        server,
        dicom={"scp": {"ae-titles": [{"ae-title": "LUNG", "processor-settings": {"priority": "Higher"}}]}},
    )
    yield house
    house.close()


def test_a_study_becomes_a_job_of_the_platform(server: Server, house: AdapterProcess) -> None:
    slices = ct_series(3)
    house.start()
    assert send(house.port, slices) == [0, 0, 0]
    [succeeded] = house.wait_for("jobs", "succeeded")
    [job] = server.platform.jobs
    assert job.name == f"lung-lung-ai-{house.items('batches')[0]['id']}"
    assert (job.priority, job.metadata) == (JOB_PRIORITY_HIGHER, {"Source": "LUNG", "Instances": "3"})
    files = server.platform.files(job.payload_id)
    received = {name: pydicom.dcmread(path).SOPInstanceUID for name, path in files.items() if name.startswith("input/")}
    assert received == {f"input/{number:08d}.dcm": one.SOPInstanceUID for number, one in enumerate(slices, start=1)}
    assert house.items("exports") == []
    logs = house.get(f"/api/v1/jobs/{succeeded['id']}/logs")
    assert f"job {job.id} of the Clara Platform at {server.endpoint}" in logs["elsewhere"]
    assert (logs["stdout"], logs["stderr"]) == ("", "")


def test_a_platform_that_is_away_is_waited_for(server: Server, house: AdapterProcess) -> None:
    server.stop()
    house.start()
    slices = ct_series(1)
    send(house.port, slices)
    [waiting] = eventually(lambda: [one for one in house.items("jobs") if one["reason"]])
    assert (waiting["state"], waiting["attempt"]) == ("queued", 1)
    assert f"the Clara Platform at {server.endpoint} is away" in waiting["reason"]
    eventually(lambda: house.log.read_text().count("job waits") >= 2)  # and it is asked again
    study = house.get(f"/api/v1/studies/{slices[0].StudyInstanceUID}")
    assert study["stage"] == "queued"
    assert "is away" in study["waits"]
    server.start()
    house.wait_for("jobs", "succeeded")
    assert len(server.platform.jobs) == 1


def test_a_platform_that_never_answers_holds_up_nothing_else(tmp_path: Path) -> None:
    """Not the pipelines of this machine, and not a stop."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        house = AdapterProcess(
            tmp_path,
            configuration(
                dicom={"scp": {"ae-titles": [{"ae-title": "LUNG"}, {"ae-title": "HERE"}]}},
                services={"platform-endpoint": f"127.0.0.1:{silent.getsockname()[1]}"},
                pipelines=[{"id": "here", "command": [sys.executable, "-V"]}],
                **{
                    "pipeline-mappings": [
                        {"name": "lung_ai", "clara-ae-title": "LUNG", "pipeline-id": COPY},
                        {"name": "here", "clara-ae-title": "HERE"},
                    ]
                },
            ),
        )
        try:
            house.start()
            send(house.port, ct_series(1))
            send(house.port, ct_series(1), "HERE")
            [here] = house.wait_for("jobs", "succeeded")
            assert here["pipelineName"] == "here"
            assert [one["state"] for one in house.items("jobs") if one["id"] != here["id"]] == ["queued"]
            assert house.stop() == 0
        finally:
            house.close()


def test_an_unknown_pipeline_is_held_with_the_words_of_the_platform(tmp_path: Path, server: Server) -> None:
    house = adapter(tmp_path, server, UNKNOWN)
    try:
        house.start()
        send(house.port, ct_series(1))
        [failed] = house.wait_for("jobs", "failed")
        assert f"pipeline {UNKNOWN} not found (code -0x1001)" in failed["reason"]
        assert server.calls["Jobs/Create"] <= 1
    finally:
        house.close()


def test_a_retry_of_one_pipeline_leaves_the_other_of_the_same_study_alone(tmp_path: Path) -> None:
    """The original submitted the whole group again (contract 5.6)."""
    faults = iter([RuntimeError("no model"), None])

    def faulty_once(_source: Path, _target: Path, _canceled: threading.Event) -> None:
        if (fault := next(faults)) is not None:
            raise fault

    with serving(tmp_path, {COPY: copy, OTHER: faulty_once}) as server:
        mapped = (("lung_ai", COPY), ("liver_ai", OTHER))
        mappings = [{"name": name, "clara-ae-title": "LUNG", "pipeline-id": pipeline} for name, pipeline in mapped]
        sections: dict[str, Any] = {"pipeline-mappings": mappings}
        house = adapter(tmp_path, server, **sections)
        try:
            house.start()
            send(house.port, ct_series(1))
            [failed] = house.wait_for("jobs", "failed")
            assert "no model" in failed["reason"]
            house.wait_for("jobs", "succeeded")
            assert house.post(f"/api/v1/jobs/{failed['id']}/retry") == 200
            house.wait_for("jobs", "succeeded", count=2)
            [batch] = house.items("batches")
            names = [f"lung-lung-ai-{batch['id']}", f"lung-liver-ai-{batch['id']}"]
            assert sorted(job.name for job in server.platform.jobs) == sorted([*names, f"{names[1]}-attempt-2"])
        finally:
            house.close()


def test_an_ae_title_of_the_store_names_a_pipeline_of_the_platform(tmp_path: Path, server: Server) -> None:
    store: dict[str, Any] = {"dicom": {"scp": {"read-aetitles-from-crd": True}}, "pipeline-mappings": []}
    house = adapter(tmp_path, server, **store)
    try:
        house.start()
        spec = {"name": "Liver", "aeTitle": "LIVER", "pipelineId": COPY, "timeout": 0}
        assert httpx2.post(f"{house.api}/api/config/ClaraAeTitle", json=spec).status_code == 200
        eventually(lambda: "LIVER" in house.get("/api/v1/status")["scp"]["aeTitles"])
        assert send(house.port, ct_series(1), "LIVER") == [0]
        house.wait_for("jobs", "succeeded")
        [job] = server.platform.jobs
        assert (job.pipeline_id, job.name[:8]) == (COPY, "liver-00")  # of the AE Title, and of the pipeline's id
    finally:
        house.close()


@pytest.mark.crash
@pytest.mark.parametrize("point", ["job.after_create", "job.after_upload", "job.before_start", "job.after_start"])
def test_kill_9_makes_no_second_job(server: Server, house: AdapterProcess, point: str) -> None:
    house.start({VARIABLE: point})
    send(house.port, ct_series(2))
    assert house.wait() == -signal.SIGKILL
    house.start()
    house.wait_for("jobs", "succeeded")
    [job] = server.platform.jobs
    inputs = [name for name in server.platform.files(job.payload_id) if name.startswith("input/")]
    assert len(inputs) == 2
    assert (server.calls["Jobs/Create"], server.calls["Jobs/Start"], server.calls["Payloads/Upload"]) == (1, 1, 2)


def test_a_batch_whose_files_are_gone_leaves_no_pending_job(server: Server, house: AdapterProcess) -> None:
    house.start({VARIABLE: "job.after_create"})
    send(house.port, ct_series(1))
    house.wait()
    for path in (house.storage / "spool" / "new").rglob("*.dcm"):
        path.unlink()
    house.start()
    [failed] = house.wait_for("jobs", "failed")
    assert "is gone from the spool" in failed["reason"]
    [job] = server.platform.jobs
    assert job.status == JOB_STATUS_CANCELED


def test_a_canceled_job_is_canceled_there(tmp_path: Path) -> None:
    """Even one whose ids were never stored; and by then it may run."""
    with serving(tmp_path, {COPY: until_stopped}) as server:
        house = adapter(tmp_path, server)
        try:
            house.start({VARIABLE: "job.after_create"})
            send(house.port, ct_series(1))
            house.wait()
            server.faults.unavailable = True
            house.start()
            [job] = eventually(lambda: [one for one in house.items("jobs") if one["reason"]])
            assert house.post(f"/api/v1/jobs/{job['id']}/cancel") == 503  # while it is away, nobody can know
            assert server.platform.jobs[0].state == JOB_STATE_PENDING
            server.faults.unavailable = False
            assert house.post(f"/api/v1/jobs/{job['id']}/cancel") == 200
            assert [one.status for one in server.platform.jobs] == [JOB_STATUS_CANCELED]
        finally:
            house.close()


def until_stopped(_source: Path, _target: Path, stopped: threading.Event) -> None:
    """A pipeline that goes on until it is canceled."""
    stopped.wait()


def test_the_spool_keeps_a_batch_until_the_platform_has_it(tmp_path: Path) -> None:
    go = threading.Event()

    def gated(_source: Path, _target: Path, stopped: threading.Event) -> None:
        while not go.wait(0.05) and not stopped.is_set():
            pass

    gate: Run = gated
    with serving(tmp_path, {COPY: gate}) as server:
        house = adapter(tmp_path, server, storage={"retention": 0})
        try:
            house.start()
            spool = house.storage / "spool" / "new"
            send(house.port, ct_series(1))
            eventually(lambda: [one for one in house.items("jobs") if one["state"] == "started"])
            assert list(spool.rglob("*.dcm"))
            go.set()
            house.wait_for("jobs", "succeeded")
            eventually(lambda: not list(spool.rglob("*.dcm")))
            assert server.platform.file(server.platform.jobs[0].payload_id, "input/00000001.dcm").exists()
        finally:
            house.close()


def test_without_the_extra_a_start_says_what_to_install(tmp_path: Path, server: Server) -> None:
    house = adapter(tmp_path, server)
    (tmp_path / "without" / "grpc").mkdir(parents=True)
    (tmp_path / "without" / "grpc" / "__init__.py").write_text("raise ImportError('not installed')")
    start = [sys.executable, "-m", "dicom_adapter", "dicom", "start", "--foreground", "-f", str(house.file)]
    path = f"{tmp_path / 'without'}:{os.environ.get('PYTHONPATH', '')}"
    ended = subprocess.run(start, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    log = ended.stdout + ended.stderr
    assert "pip install 'dicom-adapter[clara]'" in log
    assert "Traceback" not in log


def test_the_platform_as_a_program(tmp_path: Path) -> None:
    """python -m dicom_adapter.testing.clara_platform, as others use it."""
    ports = ["--port", "0", "--results-port", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "dicom_adapter.testing.clara_platform", *ports, "--pipeline", COPY],
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            assert program.stdout is not None
            endpoint, _ = (program.stdout.readline().split()[-1] for _ in range(2))
            house = AdapterProcess(
                tmp_path,
                configuration(
                    services={"platform-endpoint": endpoint},
                    **{"pipeline-mappings": [{"name": "p", "clara-ae-title": "LUNG", "pipeline-id": COPY}]},
                ),
            )
            try:
                house.start()
                send(house.port, ct_series(1))
                house.wait_for("jobs", "succeeded")
            finally:
                house.close()
            assert "stopped: healthy" in program.stdout.readline()
        finally:
            program.terminate()
    assert program.returncode == 0
