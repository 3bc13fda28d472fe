"""The rules of the test platform: what it refuses, and with which code (contract 1, "Conventions")."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicom_adapter.engines.clara_platform import wire
from dicom_adapter.engines.clara_platform.jobs_pb2 import (
    JOB_PRIORITY_NORMAL,
    JOB_STATE_PENDING,
    JOB_STATE_RUNNING,
    JOB_STATE_STOPPED,
    JOB_STATUS_CANCELED,
    JOB_STATUS_FAULTED,
    JOB_STATUS_HEALTHY,
)
from dicom_adapter.testing.clara_platform import state
from dicom_adapter.testing.clara_platform.state import Job, Platform, Refused, Run, command, copy
from tests.clara_platform import COPY, UNKNOWN
from tests.waiting import eventually

WAIT, FAIL, PROGRAM = (digit * 32 for digit in "abc")


def wait(_source: Path, _target: Path, canceled: threading.Event) -> None:
    canceled.wait(20)


def fail(_source: Path, _target: Path, _canceled: threading.Event) -> None:
    raise RuntimeError("no GPU")


PIPELINES: dict[str, Run] = {
    COPY: copy,
    WAIT: wait,
    FAIL: fail,
    PROGRAM: command(sys.executable, "-c", "import sys; sys.exit(sys.argv[1] + ' is empty')", "{input}"),
}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path, PIPELINES)
    yield platform
    platform.close()


def created(platform: Platform, pipeline_id: str = COPY, name: str = "lung-b1") -> Job:
    return platform.create(pipeline_id, name, JOB_PRIORITY_NORMAL, {"Source": "LUNG"})


def refused(action: Callable[[], object]) -> int:
    with pytest.raises(Refused) as caught:
        action()
    return caught.value.code


def stopped(job: Job) -> Job:
    eventually(lambda: job.state == JOB_STATE_STOPPED)
    return job


@pytest.mark.parametrize(
    ("name", "good"),
    [("a", True), ("a-1", True), ("a" * 63, True), ("a" * 64, False), ("", False), ("-a", False), ("A", False)],
)
def test_names_of_jobs(platform: Platform, name: str, good: bool) -> None:
    if good:
        assert created(platform, name=name).name == name
    else:
        assert refused(lambda: created(platform, name=name)) == wire.INVALID_JOB_NAME


def test_ids(platform: Platform) -> None:
    assert refused(lambda: created(platform, "lung")) == wire.MALFORMED_PIPELINE_ID
    assert refused(lambda: created(platform, UNKNOWN)) == wire.PIPELINE_NOT_FOUND
    assert refused(lambda: platform.job("1")) == wire.MALFORMED_JOB_ID
    assert refused(lambda: platform.job(UNKNOWN)) == wire.JOB_NOT_FOUND
    assert refused(lambda: platform.payload("1")) == wire.MALFORMED_PAYLOAD_ID
    assert refused(lambda: platform.files(UNKNOWN)) == wire.PAYLOAD_NOT_FOUND


def test_the_life_of_a_job(tmp_path: Path) -> None:
    told: list[Job] = []
    platform = Platform(tmp_path, PIPELINES, told.append)
    job = created(platform)
    assert job.state == JOB_STATE_PENDING
    platform.place(job.payload_id, "/a/B.dcm").write_bytes(b"1")
    platform.start(job.id)
    assert stopped(job).status == JOB_STATUS_HEALTHY
    assert sorted(platform.files(job.payload_id)) == ["input/a/B.dcm", "output/a/B.dcm"]
    assert told == [job]
    assert refused(lambda: platform.start(job.id)) == state.JOB_IS_NOT_PENDING
    assert refused(lambda: platform.place(job.payload_id, "b")) == state.PAYLOAD_IS_READ_ONLY
    assert refused(lambda: platform.remove(job.payload_id, "input/a/B.dcm")) == state.PAYLOAD_IS_READ_ONLY


@pytest.mark.parametrize(("pipeline", "said"), [(FAIL, "no GPU"), (PROGRAM, "is empty")])
def test_a_job_that_fails(platform: Platform, pipeline: str, said: str) -> None:
    job = stopped(platform.start(created(platform, pipeline).id))
    assert job.status == JOB_STATUS_FAULTED
    assert said in job.messages[0]


def test_cancel(platform: Platform) -> None:
    pending, running = created(platform), platform.start(created(platform, WAIT).id)
    assert running.state == JOB_STATE_RUNNING
    for job in (pending, running):
        platform.cancel(job.id, "enough")
        assert (job.state, job.status, job.messages) == (JOB_STATE_STOPPED, JOB_STATUS_CANCELED, ["enough"])
        platform.cancel(job.id, "again")
        assert job.messages == ["enough"]


def test_names_of_files(platform: Platform) -> None:
    payload = created(platform).payload_id
    for name in ("", "/", "../a", "a/../../b", "a\0"):
        assert refused(lambda name=name: platform.place(payload, name)) == state.INVALID_FILE_NAME  # type: ignore[misc]
    for name in ("a.dcm", "A.dcm", "b.dcm"):
        platform.place(payload, name).write_text(name)
    assert refused(lambda: platform.place(payload, "b.dcm")) == state.FILE_EXISTS
    assert platform.file(payload, "/INPUT/B.DCM").read_text() == "b.dcm"  # without regard to case where it is unique
    assert platform.file(payload, "input/A.dcm").read_text() == "A.dcm"  # else exactly
    assert refused(lambda: platform.file(payload, "input/a.DCM")) == state.FILE_NOT_FOUND
    platform.remove(payload, "input/b.dcm")
    assert refused(lambda: platform.file(payload, "input/b.dcm")) == state.FILE_NOT_FOUND


def test_metadata(platform: Platform) -> None:
    job = created(platform)
    assert platform.add_metadata(job.id, {"Instances": "2"}).metadata == {"Source": "LUNG", "Instances": "2"}
    for bad in ({"New": "1", "SOURCE": "x"}, {"k" * 129: "1"}, {"k": "v" * 257}):
        assert refused(lambda bad=bad: platform.add_metadata(job.id, bad)) == state.INVALID_METADATA  # type: ignore[misc]
    assert job.metadata == {"Source": "LUNG", "Instances": "2"}
