"""The table of crash points is the code's, and a process dies at the point and pass it was told to."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_adapter import crash_points

SOURCES = Path(crash_points.__file__).parent


def run(value: str, passes: int) -> subprocess.CompletedProcess[str]:
    program = (
        "from dicom_adapter.crash_points import crash_point\n"
        f"for number in range({passes}): crash_point('spool.after_write'); print(number, flush=True)"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"DICOM_ADAPTER_CRASH_POINT": value} if value else {},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_point_in_the_code_is_in_the_table_and_the_reverse() -> None:
    passed = {
        name for file in SOURCES.rglob("*.py") for name in re.findall(r'crash_point\("(.+?)"\)', file.read_text())
    }
    assert passed == set(crash_points.CRASH_POINTS)


@pytest.mark.parametrize(
    ("value", "printed"), [("spool.after_write", ""), ("spool.after_write:1", ""), ("spool.after_write:3", "0\n1\n")]
)
def test_dies_at_the_pass_it_was_told(value: str, printed: str) -> None:
    died = run(value, 5)
    assert (died.returncode, died.stdout) == (-signal.SIGKILL, printed)


@pytest.mark.parametrize("value", ["", "spool.after_write:3", "spool.after_fsync"])
def test_does_nothing_otherwise(value: str) -> None:
    assert run(value, 2).returncode == 0


def test_an_unknown_name_is_refused() -> None:
    assert "names no crash point; known are spool.after_write" in run("spool.after_lunch", 1).stderr
