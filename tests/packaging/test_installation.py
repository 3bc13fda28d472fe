"""The wheel, installed as people install it, runs the adapter with nothing of the source tree at hand."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

from dicom_adapter.config import default_path, default_text
from tests.peers import write_file
from tests.ports import free_port
from tests.waiting import eventually

DEADLINE = 300  # seconds: pipx downloads what the wheel depends on


class Home:
    """A user's home, empty but for what was installed into it; commands run in a folder that has no source."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder = folder
        self.program = program
        self.work = folder / "work"
        self.work.mkdir(parents=True, exist_ok=True)

    def run(self, *arguments: str | Path, status: int = 0) -> str:
        done = run([self.program, *arguments], self.work, {"HOME": str(self.folder)})
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout


def run(
    command: list[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def a_first_day(home: Home) -> None:
    """`clara dicom start` with the configuration that it would write, on ports that are free: a file becomes a job."""
    file = home.folder / default_path().relative_to(Path.home())
    file.parent.mkdir(parents=True)
    port = free_port()
    file.write_text(default_text().replace("port: 104 ", f"port: {port} ") + "api: {port: 0}\n")
    home.run("dicom", "config", "check", file)
    try:
        assert "The adapter is ready" in home.run("dicom", "start")
        home.run("dicom", "echo", f"ClaraSCP@127.0.0.1:{port}")
        home.run("dicom", "send", f"ClaraSCP@127.0.0.1:{port}", write_file(home.work, 1))
        (job,) = eventually(
            lambda: [job for job in json.loads(home.run("dicom", "jobs", "--json")) if job["state"] == "succeeded"]
        )
        assert "1 DICOM files received" in home.run("dicom", "job", "logs", job["id"])
    finally:
        home.run("dicom", "stop", "-y")


def test_installed_with_pip_from_a_file(wheel: Path, tmp_path: Path) -> None:
    """Into an environment of its own. What the wheel depends on is that of the tests, so nothing is downloaded."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    installed = run([*pip, "install", "--no-index", "--no-deps", wheel], tmp_path)
    assert installed.returncode == 0, installed.stderr
    site = sysconfig.get_path("purelib", vars={"base": str(environment)})
    # A folder named in a .pth is searched, but its own .pth files, the editable install among them, are not read.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    where = run([python, "-c", "import dicom_adapter; print(dicom_adapter.__file__)"], tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(environment), where
    a_first_day(Home(tmp_path / "home", environment / "bin" / "clara"))


@pytest.mark.skipif(importlib.util.find_spec("pipx") is None, reason="pipx is not installed: make deploy-tools")
@pytest.mark.timeout(DEADLINE)
def test_installed_with_pipx_from_a_file(wheel: Path, tmp_path: Path) -> None:
    """As docs/installation.md says, with what the wheel depends on."""
    folders = {"PIPX_HOME": "pipx", "PIPX_BIN_DIR": "bin", "PIPX_MAN_DIR": "man"}
    environment = {name: str(tmp_path / folder) for name, folder in folders.items()}
    installed = run(
        [sys.executable, "-m", "pipx", "install", wheel], tmp_path, {**environment, "HOME": str(tmp_path / "home")}
    )
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert {path.name for path in (tmp_path / "bin").iterdir()} == {"clara", "dicom-adapter"}
    a_first_day(Home(tmp_path / "home", tmp_path / "bin" / "clara"))
