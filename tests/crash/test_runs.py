"""A run survives the death of whoever works on it, at every system call that leaves a trace."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicom_adapter.core.model import EngineState, JobRef, JobSpec, JobStatus, PayloadFile
from dicom_adapter.core.snapshot import Pipeline
from dicom_adapter.engines import process_runner as runner
from dicom_adapter.engines.local_process import LocalProcessEngine
from tests.conformance import job_engines
from tests.waiting import eventually

pytestmark = pytest.mark.crash

TRACES = ("mkdir", "rename", "link", "fsync")
SPEC = JobSpec("job", "aet-pipeline-batch", 1, "p", {"job": "job"})
REF = JobRef("job/1", "job/1")
PROGRAM = 'pwd; ls "$1" | tr "\\n" " " >> "$2/runs"'
PIPELINE = Pipeline("p", "pipeline", command=("sh", "-c", PROGRAM, "sh", "{input}", "{output}"))


class Crash(BaseException):
    """The process is gone: no handler may mistake this for an error."""


@contextmanager
def crash_at(call: int) -> Iterator[None]:
    """Crash before the `call`-th system call of TRACES, or for odd numbers, right after it."""
    calls = 0

    def crashing(real: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            before = calls
            calls += 2
            if before == call:
                raise Crash
            try:
                return real(*arguments, **keywords)
            finally:
                if before + 1 == call:
                    raise Crash

        return instead

    with pytest.MonkeyPatch.context() as patch:
        for name in TRACES:
            patch.setattr(os, name, crashing(getattr(os, name)))
        yield


async def work(engine: LocalProcessEngine, files: list[PayloadFile]) -> None:
    """What the job controller does, from whatever it finds."""
    ref = await engine.find_job(SPEC) or await engine.create_job(SPEC)
    await engine.upload(ref, files)
    await engine.start_job(ref)


def stopped(engine: LocalProcessEngine) -> JobStatus:
    return asyncio.run(job_engines.stopped(engine, REF))


def until_gone(folder: str) -> None:
    """The supervisor writes how it went as the last thing but one: to end."""
    started = json.loads(Path(folder, runner.STARTED).read_text())
    eventually(lambda: not runner.survivors(folder, started))


def engine_in(folder: Path) -> LocalProcessEngine:
    return LocalProcessEngine(folder / "jobs", {"p": PIPELINE}.get)


def runs(engine: LocalProcessEngine) -> list[str]:
    return [path.read_text() for path in engine.result_files(REF)]


def test_an_adapter_that_dies_at_any_system_call_runs_the_job_once(tmp_path: Path) -> None:
    batch = tmp_path / "batch"
    batch.mkdir()
    for number in (1, 2):
        (batch / f"{number}").touch()
    files = [PayloadFile(str(batch / f"{number}"), f"{number:08d}.dcm") for number in (1, 2)]
    for call in range(1000):
        folder = tmp_path / f"{call}"
        try:
            with crash_at(call):
                asyncio.run(work(engine_in(folder), files))
        except Crash:
            restarted = engine_in(folder)
            asyncio.run(work(restarted, files))
            assert stopped(restarted).healthy
            assert runs(restarted) == ["00000001.dcm 00000002.dcm job.json "]
        else:
            assert call > 2 * 15, "too few system calls were seen"
            return
    pytest.fail("it never came to its end")


DYING_SUPERVISOR = """
import os, sys
from dicom_adapter.engines import process_runner

calls, last = 0, int(sys.argv[2])

def dying(real):
    def instead(*arguments, **keywords):
        global calls
        before = calls
        calls += 2
        if before == last:
            os._exit(9)
        try:
            return real(*arguments, **keywords)
        finally:
            if before + 1 == last:
                os._exit(9)
    return instead

for name in ("open", "rename", "fsync", "posix_spawnp", "waitpid"):
    setattr(os, name, dying(getattr(os, name)))
process_runner.main(sys.argv[1])
"""


def test_a_supervisor_that_dies_at_any_system_call_leaves_no_second_run(tmp_path: Path) -> None:
    ends = []
    for call in range(1000):
        engine = engine_in(tmp_path / f"{call}")
        asyncio.run(engine.create_job(SPEC))
        folder = str(tmp_path / f"{call}" / "jobs" / "job" / "1")
        supervisor = subprocess.run(
            [sys.executable, "-S", "-c", DYING_SUPERVISOR, folder, str(call)],
            env={"PYTHONPATH": str(Path(runner.__file__).parents[2]), "PATH": os.environ["PATH"]},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        asyncio.run(engine.start_job(REF))
        status = stopped(engine)
        until_gone(folder)
        if status.state is EngineState.STOPPED:
            assert status.healthy
            assert runs(engine) == ["job.json "]
        else:
            assert "interrupted" in str(status.reason)
            assert runs(engine) in ([], ["job.json "], [""])
        ends.append((supervisor.returncode, status.state))
        if supervisor.returncode == 0:
            break
    assert ends[0] == (9, EngineState.STOPPED), "it had not begun, so it was started again"
    assert (9, EngineState.UNKNOWN) in ends
    assert ends[-1] == (0, EngineState.STOPPED)
