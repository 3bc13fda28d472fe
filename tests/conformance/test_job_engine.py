"""What every JobEngine owes its callers (`core.ports`), above all across a `kill -9` of who started the job."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import EngineState, JobRef, JobSpec, JobStatus, PayloadFile
from tests.conformance.job_engines import ENGINES, EngineUnderTest, LocalEngine

T = TypeVar("T")


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
def under_test(request: pytest.FixtureRequest) -> EngineUnderTest:
    engine: EngineUnderTest = request.param
    return engine


@pytest.fixture
def engine(under_test: EngineUnderTest, tmp_path: Path) -> LocalEngine:
    return under_test.make(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> list[PayloadFile]:
    batch = tmp_path / "batch"
    batch.mkdir()
    for number in range(3):
        (batch / f"{number}").write_bytes(b"instance %d" % number)
    return [PayloadFile(str(batch / f"{number}"), f"{number:08d}.dcm") for number in range(3)]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def spec(pipeline: str, attempt: int = 1) -> JobSpec:
    return JobSpec(f"id-{pipeline}", f"aet-{pipeline}-b1", attempt, pipeline, {"job": f"id-{pipeline}", "series": []})


def until(condition: Callable[[], T], seconds: float = 20.0) -> T:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)
    return result


def stopped(engine: LocalEngine, ref: JobRef) -> JobStatus:
    def status() -> JobStatus | None:
        found = run(engine.get_status(ref))
        return found if found.state in (EngineState.STOPPED, EngineState.UNKNOWN) else None

    found = until(status)
    assert found is not None
    return found


def started(engine: LocalEngine, pipeline: str, files: list[PayloadFile]) -> JobRef:
    async def start() -> JobRef:
        ref = await engine.create_job(spec(pipeline))
        await engine.upload(ref, files)
        await engine.start_job(ref)
        return ref

    return run(start())


def output(engine: LocalEngine, ref: JobRef, name: str) -> str:
    """The content of a result file, once it is there and not empty."""

    def content() -> str:
        return "".join(path.read_text() for path in engine.result_files(ref) if path.name == name)

    return until(content)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_job_runs_and_its_results_can_be_taken(engine: LocalEngine, files: list[PayloadFile]) -> None:
    ref = started(engine, "copy", files)
    status = stopped(engine, ref)
    assert (status.state, status.healthy, status.reason) == (EngineState.STOPPED, True, None)
    assert status.started_at is not None
    assert status.stopped_at is not None
    results = engine.result_files(ref)
    assert [path.name for path in results] == ["00000000.dcm", "00000001.dcm", "00000002.dcm"]
    assert [path.read_bytes() for path in results] == [b"instance 0", b"instance 1", b"instance 2"]


def test_create_is_idempotent_and_find_adopts(under_test: EngineUnderTest, engine: LocalEngine, tmp_path: Path) -> None:
    assert run(engine.find_job(spec("copy"))) is None
    ref = run(engine.create_job(spec("copy")))
    assert run(engine.create_job(spec("copy"))) == ref
    assert run(under_test.make(tmp_path).find_job(spec("copy"))) == ref
    assert run(engine.find_job(spec("copy", attempt=2))) is None
    assert run(engine.create_job(spec("copy", attempt=2))) != ref
    assert run(engine.get_status(ref)).state is EngineState.PENDING


def test_upload_resumes(under_test: EngineUnderTest, tmp_path: Path, files: list[PayloadFile]) -> None:
    first = under_test.make(tmp_path)
    ref = run(first.create_job(spec("copy")))
    run(first.upload(ref, files[:2]))
    second = under_test.make(tmp_path)
    run(second.upload(ref, files))
    run(second.start_job(ref))
    assert stopped(second, ref).healthy
    assert len(second.result_files(ref)) == 3


def test_a_missing_file_is_a_permanent_error(engine: LocalEngine, tmp_path: Path) -> None:
    ref = run(engine.create_job(spec("copy")))
    with pytest.raises(PermanentError):
        run(engine.upload(ref, [PayloadFile(str(tmp_path / "gone"), "00000000.dcm")]))


def test_an_unknown_pipeline_is_a_permanent_error(engine: LocalEngine) -> None:
    with pytest.raises(PermanentError, match="'no-such-pipeline'"):
        run(engine.create_job(spec("no-such-pipeline")))


def test_start_is_idempotent(under_test: EngineUnderTest, engine: LocalEngine, tmp_path: Path) -> None:
    async def start_often() -> JobRef:
        ref = await engine.create_job(spec("count"))
        others = [under_test.make(tmp_path) for _ in range(4)]
        await asyncio.gather(*(each.start_job(ref) for each in [engine, *others]), return_exceptions=True)
        return ref

    ref = run(start_often())
    assert stopped(engine, ref).healthy
    run(engine.start_job(ref))
    assert stopped(engine, ref).healthy
    assert [path.read_text() for path in engine.result_files(ref)] == ["run\n"]


def test_a_failed_job_says_why_and_keeps_its_logs(engine: LocalEngine) -> None:
    ref = started(engine, "fail", [])
    status = stopped(engine, ref)
    assert (status.state, status.healthy) == (EngineState.STOPPED, False)
    assert status.reason == "the command failed: exit status 3"
    assert {name: path.read_text() for name, path in engine.log_files(ref).items()} == {
        "stdout": "to stdout\n",
        "stderr": "to stderr\n",
    }


def test_a_command_that_is_not_there_is_a_permanent_error(engine: LocalEngine) -> None:
    with pytest.raises(PermanentError, match="'/nonexistent/program': not found"):
        started(engine, "missing", [])
    status = run(engine.get_status(JobRef("id-missing/1", "id-missing/1")))
    assert (status.state, status.healthy) == (EngineState.STOPPED, False)
    assert "/nonexistent/program" in str(status.reason)


def test_a_time_out_ends_the_job(engine: LocalEngine) -> None:
    status = stopped(engine, started(engine, "time-out", []))
    assert (status.state, status.healthy) == (EngineState.STOPPED, False)
    assert "longer than 0.3 s" in str(status.reason)


def test_cancel_ends_everything_and_says_why(engine: LocalEngine) -> None:
    ref = started(engine, "long", [])
    pid = int(output(engine, ref, "pid"))
    run(engine.cancel_job(ref, "canceled by a person"))
    assert not is_alive(pid)
    status = run(engine.get_status(ref))
    assert (status.state, status.healthy, status.reason) == (EngineState.STOPPED, False, "canceled by a person")
    run(engine.cancel_job(ref, "again"))
    assert run(engine.get_status(ref)) == status


def test_a_job_canceled_before_its_start_never_runs(engine: LocalEngine) -> None:
    ref = run(engine.create_job(spec("count")))
    run(engine.cancel_job(ref, "canceled by a person"))
    run(engine.start_job(ref))
    status = stopped(engine, ref)
    assert (status.state, status.healthy, status.reason) == (EngineState.STOPPED, False, "canceled by a person")
    assert engine.result_files(ref) == []


def test_remove_forgets_the_job(engine: LocalEngine, files: list[PayloadFile]) -> None:
    ref = started(engine, "copy", files)
    stopped(engine, ref)
    run(engine.remove_job(ref))
    assert run(engine.find_job(spec("copy"))) is None
    assert run(engine.get_status(ref)).state is EngineState.UNKNOWN
    run(engine.remove_job(ref))
    assert all(Path(file.path).exists() for file in files)


ADAPTER = """
import asyncio, json, sys
from pathlib import Path
from tests.conformance.job_engines import ENGINES
from dicom_adapter.core.model import JobSpec

async def main(name, root, pipeline):
    engine = next(e for e in ENGINES if e.name == name).make(Path(root))
    ref = await engine.create_job(JobSpec("id-" + pipeline, "aet-" + pipeline + "-b1", 1, pipeline, {}))
    await engine.start_job(ref)
    print(json.dumps([ref.job_id, ref.payload_id]), flush=True)
    await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


def started_by_an_adapter_that_dies(under_test: EngineUnderTest, root: Path, pipeline: str) -> JobRef:
    with subprocess.Popen(
        [sys.executable, "-c", ADAPTER, under_test.name, str(root), pipeline],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as adapter:
        assert adapter.stdout is not None
        ref = JobRef(*json.loads(adapter.stdout.readline()))
        adapter.kill()
    return ref


def test_a_running_job_is_adopted_after_a_crash(under_test: EngineUnderTest, tmp_path: Path) -> None:
    ref = started_by_an_adapter_that_dies(under_test, tmp_path, "slow")
    engine = under_test.make(tmp_path)
    pid = int(output(engine, ref, "pid"))
    assert run(engine.get_status(ref)).state is EngineState.RUNNING
    run(engine.start_job(ref))  # what an adapter does that did not note that it had
    (engine.result_files(ref)[0].parents[1] / "go").touch()
    status = stopped(engine, ref)
    assert (status.state, status.healthy) == (EngineState.STOPPED, True)
    assert int(output(engine, ref, "pid")) == pid, "there was a second run"


def test_an_adopted_job_can_be_canceled(under_test: EngineUnderTest, tmp_path: Path) -> None:
    ref = started_by_an_adapter_that_dies(under_test, tmp_path, "long")
    engine = under_test.make(tmp_path)
    pid = int(output(engine, ref, "pid"))
    run(engine.cancel_job(ref, "enough"))
    assert not is_alive(pid)
    assert run(engine.get_status(ref)).reason == "enough"


def test_a_run_whose_keeper_died_is_ended_and_counts_as_interrupted(
    under_test: EngineUnderTest, tmp_path: Path
) -> None:
    engine = under_test.make(tmp_path)
    ref = started(engine, "long", [])
    pid = int(output(engine, ref, "pid"))
    keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert keeper != os.getpid()
    os.kill(keeper, signal.SIGKILL)
    status = stopped(engine, ref)
    assert (status.state, status.healthy) == (EngineState.UNKNOWN, False)
    assert "interrupted" in str(status.reason)
    assert not is_alive(pid)
    assert stopped(under_test.make(tmp_path), ref) == status
    run(engine.start_job(ref))
    assert run(engine.get_status(ref)) == status, "it was started twice"
