"""What the test platform knows: jobs and their payloads, and the rules of the real one about them (contract 1)."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from dicom_adapter.engines.clara_platform import wire
from dicom_adapter.engines.clara_platform.jobs_pb2 import (
    JOB_STATE_PENDING,
    JOB_STATE_RUNNING,
    JOB_STATE_STOPPED,
    JOB_STATUS_CANCELED,
    JOB_STATUS_FAULTED,
    JOB_STATUS_HEALTHY,
    JobPriority,
    JobState,
    JobStatus,
)

# Not in the part of the published table that was to be had.
FILE_NOT_FOUND = -0x3100
INVALID_FILE_NAME = -0x3101
FILE_EXISTS = -0x3103
PAYLOAD_IS_READ_ONLY = -0x3102
JOB_IS_NOT_PENDING = -0x2101
INVALID_METADATA = -0x2102

INPUT, OUTPUT = "input", "output"
POLL = 0.02  # seconds between looks at a program
MAX_KEY, MAX_VALUE = 128, 256  # bytes of metadata
_JOB_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

Run: TypeAlias = Callable[[Path, Path, threading.Event], None]
"""A pipeline: what is done with a job's input folder and output folder. Raising makes the job faulted; the event is set
when the job is canceled."""


class Refused(Exception):
    """The platform's answer is a header with this code, below zero, and these words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass
class Job:
    """A job, and the payload that was made with it. Times are seconds since 1970."""

    id: str
    payload_id: str
    pipeline_id: str
    name: str
    priority: JobPriority
    metadata: dict[str, str]
    created: float
    state: JobState = JOB_STATE_PENDING
    status: JobStatus = JOB_STATUS_HEALTHY
    messages: list[str] = field(default_factory=list)
    started: float = 0.0
    stopped: float = 0.0
    canceled: threading.Event = field(default_factory=threading.Event)


class Platform:
    """See the module; from any thread.

    `folder`: where payloads are kept. `pipelines`: by id, 32 hexadecimal digits. `on_stopped`: called with each job
    that has stopped, once its output is complete: the place of an operator that registers results.
    """

    def __init__(
        self, folder: Path, pipelines: Mapping[str, Run], on_stopped: Callable[[Job], None] = lambda _job: None
    ) -> None:
        self._folder = folder
        self._pipelines = dict(pipelines)
        self._on_stopped = on_stopped
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    @property
    def jobs(self) -> Sequence[Job]:
        """All of them, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def create(self, pipeline_id: str, name: str, priority: JobPriority, metadata: Mapping[str, str]) -> Job:
        _check_id(pipeline_id, wire.MALFORMED_PIPELINE_ID, "pipeline")
        if pipeline_id not in self._pipelines:
            raise Refused(wire.PIPELINE_NOT_FOUND, f"pipeline {pipeline_id} not found")
        if not _JOB_NAME.fullmatch(name):
            raise Refused(wire.INVALID_JOB_NAME, "a job name has 1 to 63 letters, digits and dashes, no dash outside")
        _check_metadata(metadata)
        job = Job(uuid.uuid4().hex, uuid.uuid4().hex, pipeline_id, name, priority, dict(metadata), time.time())
        for name_of_folder in (INPUT, OUTPUT):
            (self._folder / job.payload_id / name_of_folder).mkdir(parents=True)
        with self._lock:
            self._jobs[job.id] = job
        return job

    def job(self, job_id: str) -> Job:
        _check_id(job_id, wire.MALFORMED_JOB_ID, "job")
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise Refused(wire.JOB_NOT_FOUND, f"job {job_id} not found")
        return job

    def start(self, job_id: str) -> Job:
        job = self.job(job_id)
        with self._lock:
            if job.state != JOB_STATE_PENDING:
                raise Refused(JOB_IS_NOT_PENDING, f"job {job_id} was started")
            job.state, job.started = JOB_STATE_RUNNING, time.time()
        threading.Thread(target=self._run, args=(job,), daemon=True, name=f"job {job.name}").start()
        return job

    def cancel(self, job_id: str, reason: str) -> Job:
        """A pipeline that runs on all the same is not heard any more."""
        job = self.job(job_id)
        self._stop(job, JOB_STATUS_CANCELED, [reason] if reason else [])
        job.canceled.set()
        return job

    def close(self) -> None:
        """Let nothing of it run on."""
        for job in self.jobs:
            job.canceled.set()

    def add_metadata(self, job_id: str, metadata: Mapping[str, str]) -> Job:
        """All or nothing."""
        job = self.job(job_id)
        _check_metadata(metadata)
        with self._lock:
            known = {key.lower() for key in job.metadata}
            if again := sorted(key for key in metadata if key.lower() in known):
                raise Refused(INVALID_METADATA, f"metadata is there already: {', '.join(again)}")
            job.metadata.update(metadata)
        return job

    def payload(self, payload_id: str) -> Job:
        """The job whose payload it is."""
        _check_id(payload_id, wire.MALFORMED_PAYLOAD_ID, "payload")
        for job in self.jobs:
            if job.payload_id == payload_id:
                return job
        raise Refused(wire.PAYLOAD_NOT_FOUND, f"payload {payload_id} not found")

    def files(self, payload_id: str) -> Mapping[str, Path]:
        """The files of a payload, by name relative to its root."""
        root = self._folder / self.payload(payload_id).payload_id
        return {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}

    def results(self, job: Job) -> list[str]:
        """What a job that stopped well left in its output folder, by name; of any other none."""
        if job.state != JOB_STATE_STOPPED or job.status != JOB_STATUS_HEALTHY:
            return []
        return [name for name in self.files(job.payload_id) if name.startswith(f"{OUTPUT}/")]

    def file(self, payload_id: str, name: str) -> Path:
        """By name: without regard to case where that is unique, else exactly."""
        files = self.files(payload_id)
        wanted = name.lstrip("/")
        alike = [path for known, path in files.items() if known.lower() == wanted.lower()]
        found = alike[0] if len(alike) == 1 else files.get(wanted)
        if found is None:
            raise Refused(FILE_NOT_FOUND, f"payload {payload_id} has no file {wanted}")
        return found

    def remove(self, payload_id: str, name: str) -> None:
        self._check_writable(payload_id)
        self.file(payload_id, name).unlink()

    def place(self, payload_id: str, name: str) -> Path:
        """Where an uploaded file goes: names of uploads are relative to the input folder."""
        self._check_writable(payload_id)
        parts = PurePosixPath(name.lstrip("/")).parts
        if not parts or ".." in parts or "\0" in name:
            raise Refused(INVALID_FILE_NAME, "a file name is relative, and stays in the payload")
        path = self._folder.joinpath(payload_id, INPUT, *parts)
        if path.exists():
            raise Refused(FILE_EXISTS, f"payload {payload_id} has a file {name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _check_writable(self, payload_id: str) -> None:
        if self.payload(payload_id).state != JOB_STATE_PENDING:
            raise Refused(PAYLOAD_IS_READ_ONLY, f"payload {payload_id} is read-only: its job was started")

    def _run(self, job: Job) -> None:
        root = self._folder / job.payload_id
        try:
            self._pipelines[job.pipeline_id](root / INPUT, root / OUTPUT, job.canceled)
        except Exception as error:
            self._stop(job, JOB_STATUS_FAULTED, [str(error) or type(error).__name__])
        else:
            self._stop(job, JOB_STATUS_HEALTHY, [])

    def _stop(self, job: Job, status: JobStatus, messages: Sequence[str]) -> None:
        with self._lock:
            if job.state == JOB_STATE_STOPPED:
                return
            job.state, job.status, job.stopped = JOB_STATE_STOPPED, status, time.time()
            job.messages += messages
        self._on_stopped(job)


def command(*words: str) -> Run:
    """A pipeline that is a program; `{input}` and `{output}` stand for the folders."""

    def run(source: Path, target: Path, canceled: threading.Event) -> None:
        folders = {"{input}": str(source), "{output}": str(target)}
        arguments = [folders.get(word, word) for word in words]
        with tempfile.TemporaryFile() as said, subprocess.Popen(arguments, stdout=said, stderr=said) as process:
            while process.poll() is None:
                if canceled.wait(POLL):
                    process.kill()
            if process.returncode:
                said.seek(0)
                raise RuntimeError(f"exit status {process.returncode}: {said.read().decode(errors='replace')[-500:]}")

    return run


def copy(source: Path, target: Path, _canceled: threading.Event) -> None:
    """A pipeline that returns what it was given."""
    shutil.copytree(source, target, dirs_exist_ok=True)


def pieces(path: Path) -> Iterator[bytes]:
    """A file in chunks, at least one."""
    with path.open("rb") as file:
        yield file.read(wire.CHUNK)
        while data := file.read(wire.CHUNK):
            yield data


def _check_id(value: str, code: int, kind: str) -> None:
    with contextlib.suppress(ValueError):
        uuid.UUID(value)
        return
    raise Refused(code, f"{value!r} is no id of a {kind}: 32 hexadecimal digits")


def _check_metadata(metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        if len(key.encode()) > MAX_KEY or len(value.encode()) > MAX_VALUE:
            raise Refused(INVALID_METADATA, f"metadata has {MAX_KEY} bytes of key and {MAX_VALUE} of value at most")
