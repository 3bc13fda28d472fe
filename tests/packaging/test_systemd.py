"""deploy/systemd: what systemd itself thinks of the unit, and what the adapter needs of it."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_adapter.cli.outcome import ExitCode
from dicom_adapter.config import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = FOLDER / "dicom-adapter.service"
EXPOSURE = "25"  # tenths; 0 is sealed, 100 is root with everything

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)  # strict: no key twice
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with a program that is there: that of the unit is where an installation puts it."""
    text = UNIT.read_text().replace("/opt/dicom-adapter/bin/clara", str(Path(sys.executable).with_name("clara")))
    path = tmp_path / UNIT.name
    path.write_text(text)
    return path


@needs_systemd
def test_systemd_finds_nothing_wrong_with_it(installed: Path) -> None:
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(installed)], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@needs_systemd
def test_systemd_finds_it_hardened(installed: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(installed)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout.splitlines()[-1:]


def test_it_drains_and_comes_back_when_that_helps() -> None:
    service = unit()["Service"]
    assert service["KillSignal"] == "SIGTERM"
    assert int(service["TimeoutStopSec"]) > Settings().dicom.scp.shutdown_grace
    assert service["Restart"] == "on-failure"
    final = {ExitCode.USAGE, ExitCode.ALREADY_RUNNING}
    assert {int(status) for status in service["RestartPreventExitStatus"].split()} == final


def test_pipelines_that_run_on_are_left_alone() -> None:
    """They are programs in groups of their own, which the next adapter takes up (docs/pipelines.md)."""
    assert unit()["Service"]["KillMode"] == "process"


def test_it_sees_what_the_adapter_reads() -> None:
    """A run is known by the machine's boot: /proc/sys/kernel/random/boot_id."""
    assert unit()["Service"].get("ProcSubset", "all") == "all"


def test_the_account_is_made_by_sysusers() -> None:
    (line,) = [line for line in (FOLDER / "dicom-adapter.sysusers").read_text().splitlines() if line[:1] == "u"]
    assert line.split()[1] == unit()["Service"]["User"]
