"""The supervisor's words, and what it does when its own facts cannot be written. Its runs: `test_local_process`."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from dicom_adapter.engines import process_runner as runner


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (2 << 30, "2 GiB"),
        (3328599654, "3.1 GiB"),
        (5 << 40, "5120 GiB"),
    ],
)
def test_bytes_in_words(count: int, words: str) -> None:
    assert runner.bytes_in_words(count) == words


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "the command failed: exit status 1"),
        (127, "the command failed: exit status 127"),
        (-11, "the command was ended by signal 11 (SIGSEGV)"),
        (-9, "the command was ended by signal 9 (SIGKILL); the kernel does this when the machine's memory runs out"),
        (-50, "the command was ended by signal 50 (no name)"),
    ],
)
def test_exit_in_words(code: int, words: str) -> None:
    assert runner.exit_in_words(code) == words


@pytest.mark.parametrize(("blocks", "words"), [(0, "; the disk of the storage folder is full"), (1 << 20, "")])
def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, words: str) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=blocks, f_frsize=4096))
    assert runner.disk_in_words(str(tmp_path)) == words


def full(_path: str, _facts: runner.Facts) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_end_is_written_once_there_is_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner.write_facts(str(tmp_path / runner.RUN), {})
    supervisor = runner.Supervisor(str(tmp_path))
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            monkeypatch.undo()

    monkeypatch.setattr(runner, "write_facts", full)
    monkeypatch.setattr(time, "sleep", wait)
    supervisor._write_exit(runner.exit_facts(healthy=True, stopped_at=1.0))
    assert len(waits) == 3
    written = runner.read_facts(str(tmp_path / runner.EXIT))
    assert written is not None
    assert written["healthy"]


def test_a_removed_job_keeps_no_supervisor_waiting(tmp_path: Path) -> None:
    supervisor = runner.Supervisor(str(tmp_path / "gone"))
    supervisor._write_exit(runner.exit_facts(stopped_at=1.0))  # returns
    assert not (tmp_path / "gone").exists()


def test_a_log_that_finds_no_room_drops_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    log = runner.Log(str(tmp_path / "log"), 1000)
    os.write(log.sink, b"first")
    assert log.pump()
    os.write(log.sink, b"second")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "_write_all", full)
        assert log.pump()
    os.write(log.sink, b"third")
    os.close(log.sink)
    assert log.pump()
    assert not log.pump()
    os.close(log.source)
    assert (tmp_path / "log").read_text() == "first"
    assert "No space left on device" in capfd.readouterr().err
