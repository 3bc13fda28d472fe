"""Engine "process": runs a pipeline's command on this machine, with nothing but the operating system.

Each attempt of a job has a folder, `<jobs>/<job id>/<attempt>/`, that is the truth about it: there is no other state,
so a new engine takes up what an old one left. `process_runner` lists the files and does the running, in a process of
its own that does not die with the adapter; this module prepares its folder, starts it, and reads what it wrote.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dicom_adapter.core.errors import PermanentError, TemporaryError
from dicom_adapter.core.model import EngineState, JobRef, JobSpec, JobStatus, PayloadFile
from dicom_adapter.core.snapshot import Pipeline
from dicom_adapter.crash_points import crash_point
from dicom_adapter.engines import process_runner as runner
from dicom_adapter.links import link_or_copy

LOG_LIMIT = 64 << 20  # bytes kept of each of stdout and stderr
GRACE = 10.0  # seconds from SIGTERM to SIGKILL
SETTLE = 5.0  # seconds that processes may take to vanish after SIGKILL

INHERITED_VARIABLES = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE"),
    *("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
)
"""What a command sees of the adapter's environment; its pipeline's `environment` is added, and wins."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class LocalProcessEngine:
    """A JobEngine with LocalResults (`core.ports`). Linux 5.3 or newer.

    `jobs`: the folder for the runs, on the file system of the spool, so that a payload is hard links.
    `pipeline`: finds the pipeline of an id, or None; asked once per attempt, when its job is made.
    `grace`: seconds that a command has between SIGTERM and SIGKILL.
    """

    def __init__(self, jobs: Path, pipeline: Callable[[str], Pipeline | None], *, grace: float = GRACE) -> None:
        self._jobs = jobs.resolve()
        self._pipeline = pipeline
        self._grace = grace

    async def create_job(self, spec: JobSpec) -> JobRef:
        pipeline = self._pipeline(spec.pipeline_id)
        if pipeline is None:
            raise PermanentError(
                f"pipeline {spec.pipeline_id!r} is not defined: add it under pipelines, or map the AE Title to another"
            )
        if not pipeline.command:
            raise PermanentError(f"pipeline {pipeline.name!r} has no command: nothing can be run for it")
        return await asyncio.to_thread(self._create, spec, pipeline)

    async def find_job(self, spec: JobSpec) -> JobRef | None:
        ref = _ref(spec)
        return ref if (self._folder(ref) / runner.RUN).exists() else None

    async def upload(self, ref: JobRef, files: Sequence[PayloadFile]) -> None:
        await asyncio.to_thread(self._upload, self._existing(ref), files)

    async def start_job(self, ref: JobRef) -> None:
        """Raises PermanentError when the command cannot be started; the job has then stopped, unhealthy."""
        await asyncio.to_thread(self._start, ref)

    async def get_status(self, ref: JobRef) -> JobStatus:
        return await asyncio.to_thread(self._status, ref)

    async def cancel_job(self, ref: JobRef, reason: str) -> None:
        """Returns once nothing of the job runs any more. Raises TemporaryError when it does not end in time."""
        await asyncio.to_thread(self._cancel, ref, reason)

    async def remove_job(self, ref: JobRef) -> None:
        await asyncio.to_thread(self._remove, ref)

    def result_files(self, ref: JobRef) -> list[Path]:
        return sorted(path for path, mode in self._outputs(ref) if stat.S_ISREG(mode))

    def irregular_results(self, ref: JobRef) -> list[Path]:
        """What else lies in the output folder: symbolic links, pipes, sockets. Never to be opened."""
        return sorted(path for path, mode in self._outputs(ref) if not stat.S_ISREG(mode))

    def output_folder(self, ref: JobRef) -> Path:
        return self._folder(ref) / runner.OUTPUT

    def log_files(self, ref: JobRef) -> Mapping[str, Path]:
        folder = self._folder(ref)
        return {"stdout": folder / runner.STDOUT, "stderr": folder / runner.STDERR}

    def _folder(self, ref: JobRef) -> Path:
        job, _, attempt = ref.job_id.partition("/")
        if not (_SAFE_NAME.fullmatch(job) and attempt.isascii() and attempt.isdigit()):
            raise PermanentError(f"job {ref.job_id!r} is none of this engine's")
        return self._jobs / job / attempt

    def _existing(self, ref: JobRef) -> Path:
        folder = self._folder(ref)
        if not (folder / runner.RUN).exists():
            raise PermanentError(f"job {ref.job_id}: its folder {folder} is gone")
        return folder

    def _create(self, spec: JobSpec, pipeline: Pipeline) -> JobRef:
        ref = _ref(spec)
        folder = self._folder(ref)
        with _storage_errors(folder):
            if (folder / runner.RUN).exists():
                return ref
            new = folder.with_name(f"{folder.name}.new")  # a crash may have left half of one
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700, parents=True)
            for name in (runner.INPUT, runner.OUTPUT, runner.WORK):
                (new / name).mkdir(mode=0o700)
            manifest = json.dumps(spec.manifest, indent=1).encode()
            runner.write_durably(str(new / runner.INPUT / runner.MANIFEST), manifest)
            runner.write_facts(str(new / runner.RUN), self._run_facts(spec, pipeline))
            os.rename(new, folder)
            for changed in (folder.parent, self._jobs, self._jobs.parent):
                runner.sync_folder(str(changed))
        return ref

    def _run_facts(self, spec: JobSpec, pipeline: Pipeline) -> runner.Facts:
        """The pipeline as it is now: a job keeps what it began with."""
        return {
            "name": spec.name,
            "pipeline": {"id": pipeline.id, "name": pipeline.name},
            "command": list(pipeline.command),
            "environment": dict(pipeline.environment),
            "timeout": pipeline.timeout,
            "cpu": pipeline.cpu,
            "memory": pipeline.memory,
            "grace": self._grace,
            "log_limit": LOG_LIMIT,
        }

    def _upload(self, folder: Path, files: Sequence[PayloadFile]) -> None:
        payload = folder / runner.INPUT
        with _storage_errors(payload):
            directory = os.open(payload, os.O_RDONLY | os.O_DIRECTORY)
            try:
                for file in files:
                    if not _SAFE_NAME.fullmatch(file.name) or file.name == runner.MANIFEST:
                        raise PermanentError(f"payload file name {file.name!r} is not allowed")
                    _put(file, directory)
                os.fsync(directory)  # once for all: until then, none counts as uploaded
            finally:
                os.close(directory)

    def _start(self, ref: JobRef) -> None:
        folder = self._existing(ref)
        if _has_begun(folder):
            return
        with _storage_errors(folder), open(folder / runner.SUPERVISOR_LOG, "ab") as log:
            supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", runner.__file__, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                env={name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ},
                start_new_session=True,  # neither our terminal's signals nor our end reach it
            )
        crash_point("job.while_starting")
        assert supervisor.stdout is not None
        with supervisor.stdout as stream:
            answer, _, reason = stream.readline().decode().strip().partition(" ")
        if answer == runner.BEGUN:
            threading.Thread(target=supervisor.wait, daemon=True).start()  # else it would stay a zombie
            return
        supervisor.wait()
        if answer == runner.REFUSED:
            raise PermanentError(reason)
        if not _has_begun(folder):  # TAKEN by who did not get further yet, or it died before it began
            raise TemporaryError(f"the run could not begin: see {folder / runner.SUPERVISOR_LOG}")

    def _status(self, ref: JobRef) -> JobStatus:
        folder = self._folder(ref)
        if status := _ended(folder):
            return status
        if not (folder / runner.RUN).exists():
            return JobStatus(EngineState.UNKNOWN, healthy=False, reason=f"its folder {folder} is gone")
        started = runner.read_facts(str(folder / runner.STARTED))
        if started is None:
            return JobStatus(EngineState.PENDING)
        running = JobStatus(EngineState.RUNNING, started_at=started["started_at"])
        with _storage_errors(folder), _run_lock(folder) as is_ours:
            if not is_ours:
                return running
            return _ended(folder) or self._bury(folder, started, "interrupted: its supervisor was killed")

    def _cancel(self, ref: JobRef, reason: str) -> None:
        folder = self._existing(ref)
        deadline = time.monotonic() + self._grace + SETTLE
        while _ended(folder) is None:
            with _storage_errors(folder):
                if not (folder / runner.CANCEL).exists():
                    runner.write_facts(str(folder / runner.CANCEL), {"reason": reason})
                with _run_lock(folder) as is_ours:
                    if is_ours and _ended(folder) is None:  # not begun, or its supervisor was killed
                        self._bury(folder, runner.read_facts(str(folder / runner.STARTED)), reason)
                        break
            if time.monotonic() > deadline:
                raise TemporaryError(f"job {ref.job_id} was told to end and still runs")
            time.sleep(0.02)

    def _bury(self, folder: Path, started: runner.Facts | None, reason: str) -> JobStatus:
        """End what is left of a run that has no supervisor, and write its end. The run's lock is ours."""
        deadline = time.monotonic() + SETTLE
        while started and (left := runner.survivors(str(folder), started)):
            if time.monotonic() > deadline:
                raise TemporaryError(f"processes {[each.pid for each in left]} of {folder} do not end")
            runner.send_signal(left, signal.SIGKILL)
            time.sleep(0.01)
        facts = runner.exit_facts(
            interrupted=started is not None and not (folder / runner.CANCEL).exists(),
            reason=reason,
            started_at=started["started_at"] if started else None,
            stopped_at=time.time(),
        )
        runner.write_facts(str(folder / runner.EXIT), facts)
        return _status_of(facts)

    def _outputs(self, ref: JobRef) -> Iterator[tuple[Path, int]]:
        """Raises TemporaryError: what cannot be read must not look as if it were not there."""
        try:
            for parent, folders, names in os.walk(self.output_folder(ref), onerror=_raise_unless_gone):
                for name in names + folders:
                    path = Path(parent, name)
                    mode = path.lstat().st_mode
                    if not stat.S_ISDIR(mode):
                        yield path, mode
        except OSError as error:  # without the path: a program may have named it after a patient
            raise TemporaryError(f"the output folder or one below it cannot be read: {error.strerror}") from error

    def _remove(self, ref: JobRef) -> None:
        job = self._folder(ref).parent
        with _storage_errors(job):
            for attempt in sorted(job.iterdir()) if job.exists() else ():
                if attempt.suffix == "":
                    self._remove_attempt(attempt)
                else:  # half made, or half removed, when a crash came
                    shutil.rmtree(attempt, onerror=_make_removable)
            with contextlib.suppress(FileNotFoundError):
                job.rmdir()

    @staticmethod
    def _remove_attempt(folder: Path) -> None:
        with _run_lock(folder) as is_ours:
            if not is_ours and _ended(folder) is None:
                raise TemporaryError(f"{folder} still runs: end it first")
            gone = folder.with_name(f"{folder.name}.gone")  # at once: half a job would be taken for one
            os.rename(folder, gone)
        shutil.rmtree(gone, onerror=_make_removable)


def _ref(spec: JobSpec) -> JobRef:
    name = f"{spec.id}/{spec.attempt}"
    return JobRef(job_id=name, payload_id=name)


def _put(file: PayloadFile, directory: int) -> None:
    """Give the payload a file, unless it has it."""
    try:
        link_or_copy(Path(file.path), file.name, directory)
    except FileExistsError:
        return
    except FileNotFoundError as error:
        raise PermanentError(f"file {file.path} of the batch is gone from the spool") from error


def _has_begun(folder: Path) -> bool:
    return (folder / runner.STARTED).exists() or (folder / runner.EXIT).exists()


def _ended(folder: Path) -> JobStatus | None:
    facts = runner.read_facts(str(folder / runner.EXIT))
    return None if facts is None else _status_of(facts)


def _status_of(facts: runner.Facts) -> JobStatus:
    return JobStatus(
        state=EngineState.UNKNOWN if facts["interrupted"] else EngineState.STOPPED,
        healthy=facts["healthy"],
        reason=facts["reason"],
        started_at=facts["started_at"],
        stopped_at=facts["stopped_at"],
    )


@contextlib.contextmanager
def _run_lock(folder: Path) -> Iterator[bool]:
    """Hold the run's lock; False when its supervisor does."""
    fd = os.open(folder / runner.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        try:
            yield True
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a child forked meanwhile has the descriptor until it executes
    finally:
        os.close(fd)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """What the operating system says about the storage may pass: no space, a read-only disk, a busy file."""
    try:
        yield
    except OSError as error:
        raise TemporaryError(f"{error.strerror} at {error.filename or path}") from error


def _make_removable(_function: Callable[..., Any], path: str, error: tuple[type, BaseException, object]) -> None:
    """A folder that a command made unwritable is removed all the same."""
    if isinstance(error[1], FileNotFoundError):
        return
    if not isinstance(error[1], PermissionError):
        raise error[1]
    os.chmod(os.path.dirname(path), 0o700)
    if os.path.isdir(path) and not os.path.islink(path):
        os.chmod(path, 0o700)
        shutil.rmtree(path)
    else:
        os.unlink(path)
