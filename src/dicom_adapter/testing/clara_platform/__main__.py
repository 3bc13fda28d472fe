"""python -m dicom_adapter.testing.clara_platform: a test platform and its Results Service, until they are interrupted.

What a pipeline leaves in the output folder is registered for the agent when its job has stopped well, as the
register-results operator does at the end of a real pipeline.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from dicom_adapter.testing.clara_platform.server import Server
from dicom_adapter.testing.clara_platform.state import Job, Platform, Run, command, copy
from dicom_adapter.testing.results_service import ResultsService, serving

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
    parser.add_argument("--results-port", type=int, default=50080, help="of the Results Service; 0: a free one")
    parser.add_argument("--agent", default="ClaraSCU", help="whom results are registered for (default: %(default)s)")
    parser.add_argument("--data", default='["PACS"]', help="their parameters: destinations (default: %(default)s)")
    options = parser.parse_args()
    service = ResultsService()

    def stopped(job: Job) -> None:
        print(
            f"job {job.name} of pipeline {job.pipeline_id} stopped: {'; '.join(job.messages) or 'healthy'}", flush=True
        )
        results = platform.results(job)
        if results:
            service.add(options.agent, job.payload_id, results, options.data, job.id)
            print(f"{len(results)} results registered for {options.agent}: {options.data}", flush=True)

    with tempfile.TemporaryDirectory(prefix="clara-platform-") as temporary:
        platform = Platform(options.folder or Path(temporary), _pipelines(options.pipeline), stopped)
        with (
            Server(platform, options.host, options.port) as server,
            serving(service, options.host, options.results_port) as url,
        ):
            print(f"Jobs and Payloads: {server.endpoint}", flush=True)
            print(f"Results Service: {url}", flush=True)
            _wait()
        platform.close()


def _pipelines(given: Sequence[Sequence[str]]) -> Mapping[str, Run]:
    return {pipeline_id: command(*words) if words else copy for pipeline_id, *words in given} or {COPY: copy}


def _wait() -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    stopping.wait()


if __name__ == "__main__":
    main()
