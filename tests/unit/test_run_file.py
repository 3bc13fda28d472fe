"""The run file tells a running adapter from a dead one, and from another process with its old pid."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_adapter import run_file


def test_what_is_written_is_read(tmp_path: Path) -> None:
    run_file.write(tmp_path, "http://127.0.0.1:5000")
    found = run_file.running(tmp_path)
    assert found is not None
    assert (found.pid, found.api) == (os.getpid(), "http://127.0.0.1:5000")
    run_file.remove(tmp_path)
    assert run_file.read(tmp_path) is None


def test_another_process_with_the_same_pid_is_not_it(tmp_path: Path) -> None:
    run_file.write(tmp_path, "http://h:1")
    found = run_file.read(tmp_path)
    assert found is not None
    assert found.process_started is not None
    assert found.is_alive()
    assert not replace(found, process_started=found.process_started - 1).is_alive()


def test_a_dead_process_is_not_running_even_before_it_is_waited_for(tmp_path: Path) -> None:
    code = f"from dicom_adapter import run_file; import pathlib; run_file.write(pathlib.Path({str(tmp_path)!r}), 'x')"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # returns when the process ends; it stays a zombie until it is waited for
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    found = run_file.read(tmp_path)
    assert found is not None
    assert found.pid == process.pid
    assert run_file.running(tmp_path) is None
    process.stdout.close()
    process.wait()
    assert run_file.running(tmp_path) is None


def test_the_file_of_another_process_is_not_removed(tmp_path: Path) -> None:
    run_file.folder(tmp_path).mkdir()
    (run_file.folder(tmp_path) / "adapter.json").write_text(json.dumps({"pid": 1, "api": "http://h:1"}))
    run_file.remove(tmp_path)
    assert run_file.read(tmp_path) == run_file.RunFile(1, "http://h:1")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"pid": "x", "api": ""}', '{"pid": 1}'])
def test_a_broken_file_is_none(tmp_path: Path, text: str) -> None:
    run_file.folder(tmp_path).mkdir()
    (run_file.folder(tmp_path) / "adapter.json").write_text(text)
    assert run_file.running(tmp_path) is None
