"""The small protocols between layers: one for each thing with two or more implementations.

Upper layers depend on these; `app` injects the real ones; `tests/conformance` runs one suite over all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from dicom_adapter.core.model import (
    Batch,
    ExportFile,
    FileOutcome,
    GivenTask,
    Instance,
    JobRef,
    JobSpec,
    JobStatus,
    PayloadFile,
)
from dicom_adapter.core.snapshot import ClaraAeTitle, Destination


class JobEngine(Protocol):
    """Runs jobs. Clara words: job, payload, pipeline. On purpose it raises TemporaryError or PermanentError only."""

    async def create_job(self, spec: JobSpec) -> JobRef:
        """Make the job. Idempotent: the same spec.name and spec.attempt give the same job."""
        ...

    async def find_job(self, spec: JobSpec) -> JobRef | None:
        """The job of this name and attempt if it was made: adopts what a crash orphaned."""
        ...

    async def upload(self, ref: JobRef, files: Sequence[PayloadFile]) -> None:
        """Put the files into the job's payload. Resumable: what is there already is skipped."""
        ...

    async def start_job(self, ref: JobRef) -> None:
        """Start it. Idempotent: a started or finished job is left as it is."""
        ...

    async def get_status(self, ref: JobRef) -> JobStatus: ...

    async def cancel_job(self, ref: JobRef, reason: str) -> None:
        """End it with everything it started. Idempotent."""
        ...

    async def remove_job(self, ref: JobRef) -> None:
        """Forget the job and its payload, with what earlier attempts left. Idempotent; never called while it runs."""
        ...


class LocalResults(Protocol):
    """An engine whose finished jobs leave files on this machine."""

    def result_files(self, ref: JobRef) -> list[Path]:
        """Every regular file below the job's output folder, sorted; never one reached through a symbolic link."""
        ...

    def irregular_results(self, ref: JobRef) -> list[Path]:
        """What else lies there: symbolic links, pipes, sockets. Never to be opened."""
        ...

    def output_folder(self, ref: JobRef) -> Path:
        """The folder that result files are below."""
        ...

    def log_files(self, ref: JobRef) -> Mapping[str, Path]:
        """stdout and stderr of the job, by those names."""
        ...


class Payloads(Protocol):
    """Files of jobs that run elsewhere."""

    def download(self, payload_id: str, name: str) -> AsyncIterator[bytes]:
        """The content of one file in pieces, as they come. `name`: relative to the payload's root, `/` between folders.

        Raises, also in the middle:
            PermanentError: trying again changes nothing.
            TemporaryError: it may work later; what came so far is worth nothing.
        """
        ...


class ResultsService(Protocol):
    """Gives tasks, and takes note of what became of them. On purpose it raises TemporaryError only."""

    async def get_pending(self, agent: str, count: int) -> Sequence[GivenTask]:
        """At most `count` tasks that wait for this agent. Whoever gets one has to report it; nobody else gets it."""
        ...

    async def report_success(self, task_id: str) -> None:
        """The task is done. Idempotent."""
        ...

    async def report_failure(self, task_id: str, *, retry_later: bool) -> None:
        """It is not. `retry_later`: to be given again, and counted; otherwise it is over."""
        ...


class ExportAgent(Protocol):
    """Sends files to a destination: DICOM C-STORE today."""

    def export(
        self, destination: Destination, files: Sequence[ExportFile], on_outcome: Callable[[FileOutcome], None]
    ) -> None:
        """Try to send every file, in one association; call `on_outcome` once for each, also when nothing could be sent.

        Blocking; the caller gives it a thread. Raises nothing for a peer's fault: that is an outcome.

        Raises:
            Stopping: `stop` was called before every file had an outcome.
        """
        ...

    def stop(self) -> None:
        """From another thread, at shutdown: end every export that runs, soon."""
        ...


class ProcessorContext(Protocol):
    """What a processor may do with a batch."""

    @property
    def ae_title(self) -> ClaraAeTitle: ...

    @property
    def instances(self) -> Sequence[Instance]:
        """The batch's instances, one for each SOP Instance UID, in order of arrival."""
        ...

    def path(self, instance: Instance) -> Path:
        """The instance's Part 10 file. Read only."""
        ...

    def submit_job(self, pipeline_id: str, instances: Sequence[Instance] | None = None, *, key: str = "") -> None:
        """Ask for a job over these instances (default: all). Jobs are made when `process` returns, all or none.

        `key` tells several jobs of one pipeline and batch apart. It, or of a long one a digest, becomes part of the
        job's name, so no patient data.
        """
        ...


class Processor(Protocol):
    """A file processor: what is done with a closed batch. Entry point group `dicom_adapter.processors`.

    Runs at least once for each batch, so it must be idempotent. Each call has an event loop and threads of its own, and
    several AE Titles may be served at once: keep nothing from one call to the next that belongs to a loop.
    """

    async def process(self, batch: Batch, context: ProcessorContext) -> None: ...
