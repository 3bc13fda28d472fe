"""The engines that `test_job_engine` runs over, each with what the suite needs to know of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dicom_adapter.core.ports import JobEngine, LocalResults
from dicom_adapter.core.snapshot import Pipeline
from dicom_adapter.engines.local_process import LocalProcessEngine


class LocalEngine(JobEngine, LocalResults, Protocol):
    """What the suite is about."""


def python(program: str) -> tuple[str, ...]:
    """The command of a pipeline that is a few lines of Python, with `input`, `output` and `job` as paths."""
    prologue = "import sys, os, time; from pathlib import Path; input, output, job = map(Path, sys.argv[1:]);\n"
    return (sys.executable, "-I", "-c", prologue + program, "{input}", "{output}", "{job}")


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
    """`make`: an engine object over the state below a folder; a second call is what a restarted adapter has."""

    name: str
    make: Callable[[Path], LocalEngine]


def _local_process(root: Path) -> LocalEngine:
    return LocalProcessEngine(root / "jobs", PIPELINES.get, grace=2.0)


ENGINES = (EngineUnderTest("local_process", _local_process),)
