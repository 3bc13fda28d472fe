"""The engines that `test_job_engine` runs over, each with what the suite needs to know of it."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dicom_adapter.core.model import EngineState, JobRef, JobStatus
from dicom_adapter.core.ports import JobEngine, LocalResults
from dicom_adapter.core.snapshot import Pipeline
from dicom_adapter.engines.local_process import LocalProcessEngine
from dicom_adapter.testing.clara_platform.state import command
from tests.clara_platform import connected, serving
from tests.waiting import until


class LocalEngine(JobEngine, LocalResults, Protocol):
    """What has more to keep: results and logs on this machine."""


async def stopped(engine: JobEngine, ref: JobRef) -> JobStatus:
    """The job's status, once it has stopped or is not known."""

    async def look() -> JobStatus | None:
        status = await engine.get_status(ref)
        return status if status.state in (EngineState.STOPPED, EngineState.UNKNOWN) else None

    status = await until(look)
    assert status
    return status


def python(program: str) -> tuple[str, ...]:
    """The command of a pipeline that is a few lines of Python, with `input` and `output` as paths."""
    prologue = "import sys, os, time; from pathlib import Path; input, output = map(Path, sys.argv[1:]);\n"
    return (sys.executable, "-I", "-c", prologue + program, "{input}", "{output}")


PIPELINES: Mapping[str, Pipeline] = {
    pipeline.id: pipeline
    for pipeline in (
        Pipeline(
            "copy", "copy", command=python("for f in input.glob('*.dcm'): (output/f.name).write_bytes(f.read_bytes())")
        ),
        Pipeline("count", "count", command=python("with open(output/'runs', 'a') as f: f.write('run\\n')")),
        Pipeline(
            "fail", "fail", command=python("print('to stdout'); print('to stderr', file=sys.stderr); sys.exit(3)")
        ),
        Pipeline("long", "long", command=python("(output/'pid').write_text(str(os.getpid())); time.sleep(60)")),
        Pipeline(
            "slow",
            "slow",
            command=python(
                "(output/'pid').write_text(str(os.getpid()))\nwhile not (input.parent/'go').exists(): time.sleep(.01)"
            ),
        ),
        Pipeline("missing", "missing", command=("/nonexistent/program", "{input}")),
        Pipeline("time-out", "time-out", command=python("time.sleep(60)"), timeout=0.3),
    )
}


@dataclass(frozen=True)
class EngineUnderTest:
    """`serve`: keeps what the engine needs beside it, and tells where a job's output folder is.

    `make`: an engine over the state below a folder; a second one is what a restarted adapter has.
    `pipeline_id`: what the engine calls a pipeline of PIPELINES.
    """

    name: str
    serve: Callable[[Path], AbstractContextManager[Callable[[JobRef], Path]]]
    make: Callable[[Path], AbstractAsyncContextManager[JobEngine]]
    pipeline_id: Callable[[str], str]


@contextlib.contextmanager
def _no_server(root: Path) -> Iterator[Callable[[JobRef], Path]]:
    yield lambda ref: local_process(root).output_folder(ref)


def local_process(root: Path) -> LocalEngine:
    return LocalProcessEngine(root / "jobs", PIPELINES.get, grace=2.0)


@contextlib.asynccontextmanager
async def _local_process(root: Path) -> AsyncIterator[JobEngine]:
    yield local_process(root)


@contextlib.contextmanager
def _platform_server(root: Path) -> Iterator[Callable[[JobRef], Path]]:
    pipelines = {_platform_id(name): command(*pipeline.command) for name, pipeline in PIPELINES.items()}
    with serving(root, pipelines) as server:
        (root / "endpoint").write_text(server.endpoint)
        yield lambda ref: root / "payloads" / ref.payload_id / "output"


@contextlib.asynccontextmanager
async def _clara_platform(root: Path) -> AsyncIterator[JobEngine]:
    async with connected((root / "endpoint").read_text()) as platform:
        yield platform.engine


def _platform_id(name: str) -> str:
    return hashlib.md5(name.encode()).hexdigest()


ENGINES = (
    EngineUnderTest("local_process", _no_server, _local_process, lambda name: name),
    EngineUnderTest("clara_platform", _platform_server, _clara_platform, _platform_id),
)
