"""What an engine that runs jobs on this machine owes beyond `test_job_engine`: results and logs as files, processes
that end, and folders that go."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import EngineState, JobRef, JobSpec, PayloadFile
from tests.conformance.job_engines import LocalEngine, local_process, stopped
from tests.waiting import is_alive, until


@pytest.fixture
def engine(tmp_path: Path) -> LocalEngine:
    return local_process(tmp_path)


def spec(pipeline: str) -> JobSpec:
    return JobSpec(f"id-{pipeline}", f"aet-{pipeline}-b1", 1, pipeline, {"job": f"id-{pipeline}", "series": []})


async def started(engine: LocalEngine, pipeline: str, *files: PayloadFile) -> JobRef:
    ref = await engine.create_job(spec(pipeline))
    await engine.upload(ref, files)
    await engine.start_job(ref)
    return ref


async def pid_of(engine: LocalEngine, ref: JobRef) -> int:
    def content() -> str:
        return "".join(path.read_text() for path in engine.result_files(ref) if path.name == "pid")

    return int(await until(content))


async def test_results_are_files(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"instance")
    ref = await started(engine, "copy", PayloadFile(str(tmp_path / "one"), "00000001.dcm"))
    assert (await stopped(engine, ref)).healthy
    [result] = engine.result_files(ref)
    assert (result.name, result.read_bytes(), result.parent) == ("00000001.dcm", b"instance", engine.output_folder(ref))


async def test_a_failed_job_keeps_its_logs(engine: LocalEngine) -> None:
    ref = await started(engine, "fail")
    assert (await stopped(engine, ref)).reason == "the command failed: exit status 3"
    assert {name: path.read_text() for name, path in engine.log_files(ref).items()} == {
        "stdout": "to stdout\n",
        "stderr": "to stderr\n",
    }


async def test_a_command_that_is_not_there_is_a_permanent_error(engine: LocalEngine) -> None:
    with pytest.raises(PermanentError, match="'/nonexistent/program': not found"):
        await started(engine, "missing")
    status = await engine.get_status(JobRef("id-missing/1", "id-missing/1"))
    assert (status.state, status.healthy) == (EngineState.STOPPED, False)
    assert "/nonexistent/program" in str(status.reason)


async def test_a_time_out_ends_the_job(engine: LocalEngine) -> None:
    status = await stopped(engine, await started(engine, "time-out"))
    assert (status.state, status.healthy) == (EngineState.STOPPED, False)
    assert "longer than 0.3 s" in str(status.reason)


async def test_cancel_returns_when_nothing_runs_any_more(engine: LocalEngine) -> None:
    ref = await started(engine, "long")
    pid = await pid_of(engine, ref)
    await engine.cancel_job(ref, "canceled by a person")
    assert not is_alive(pid)
    assert (await engine.get_status(ref)).reason == "canceled by a person"


async def test_remove_forgets_the_job(engine: LocalEngine) -> None:
    ref = await started(engine, "copy")
    await stopped(engine, ref)
    await engine.remove_job(ref)
    assert await engine.find_job(spec("copy")) is None
    assert (await engine.get_status(ref)).state is EngineState.UNKNOWN


async def test_a_run_whose_keeper_died_is_ended_and_counts_as_interrupted(engine: LocalEngine, tmp_path: Path) -> None:
    ref = await started(engine, "long")
    pid = await pid_of(engine, ref)
    keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert keeper != os.getpid()
    os.kill(keeper, signal.SIGKILL)
    status = await stopped(engine, ref)
    assert (status.state, status.healthy) == (EngineState.UNKNOWN, False)
    assert "interrupted" in str(status.reason)
    assert not is_alive(pid)
    assert await stopped(local_process(tmp_path), ref) == status
    await engine.start_job(ref)
    assert await engine.get_status(ref) == status, "it was started twice"
