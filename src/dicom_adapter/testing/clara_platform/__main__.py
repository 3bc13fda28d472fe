"""python -m dicom_adapter.testing.clara_platform: run the test platform until it is interrupted."""

from __future__ import annotations

import argparse
import signal
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from dicom_adapter.testing.clara_platform.server import Server
from dicom_adapter.testing.clara_platform.state import Job, Platform, Run, command, copy

COPY = "00000000000000000000000000000001"


def main() -> None:
    """Parse the command line, serve, and say what happens."""
    parser = argparse.ArgumentParser("python -m dicom_adapter.testing.clara_platform", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=50051, help="of Jobs and Payloads; 0: a free one")
    parser.add_argument("--folder", type=Path, help="where payloads are kept (default: a temporary folder)")
    parser.add_argument(
        "--pipeline",
        nargs="+",
        action="append",
        default=[],
        metavar=("ID", "COMMAND"),
        help="a pipeline: its id, then a program and its arguments; {input} and {output} become the job's folders. "
        f"Without one there is {COPY}, which returns what it is given",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clara-platform-") as temporary:
        # What a pipeline's end means beyond that, results for the Results Service, belongs to `_tell`.
        platform = Platform(options.folder or Path(temporary), _pipelines(options.pipeline), _tell)
        with Server(platform, options.host, options.port) as server:
            print(f"Jobs and Payloads: {server.endpoint}", flush=True)
            _wait()
        platform.close()


def _pipelines(given: Sequence[Sequence[str]]) -> Mapping[str, Run]:
    return {pipeline_id: command(*words) if words else copy for pipeline_id, *words in given} or {COPY: copy}


def _tell(job: Job) -> None:
    print(f"job {job.name} of pipeline {job.pipeline_id} stopped: {'; '.join(job.messages) or 'healthy'}", flush=True)


def _wait() -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    stopping.wait()


if __name__ == "__main__":
    main()
