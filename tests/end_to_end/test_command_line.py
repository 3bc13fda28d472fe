"""The two programs over a real adapter process: start, ask, stop, and every way in which a start fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from dicom_adapter import run_file
from tests.peers import write_file
from tests.ports import free_port
from tests.waiting import eventually

PROGRAMS = Path(sys.executable).parent
DEADLINE = 90  # seconds for one command


class House:
    """A configuration of the test's own, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.config = folder / "app.yaml"
        self.port = free_port()
        self.write()

    def write(self, more: str = "") -> None:
        self.config.write_text(
            f"""\
dicom:
  scp:
    port: {self.port}
    bind: 127.0.0.1
    ae-titles: [{{ae-title: COUNT}}]
    reject-unknown-sources: false
    shutdown-grace: 1
pipeline-mappings: [{{name: count, clara-ae-title: COUNT}}]
pipelines:
  - id: count
    command: [{sys.executable}, -c, "import os, sys; print(len(os.listdir(sys.argv[1])), 'files')", "{{input}}"]
storage: {{temporary: ./storage}}
api: {{port: 0}}
{more}
"""
        )

    def run(self, *arguments: str, status: int = 0, program: str = "clara") -> subprocess.CompletedProcess[str]:
        """Run one command; in a folder of its own, as people do."""
        words = ["dicom"] if program == "clara" else []
        done = subprocess.run(
            [PROGRAMS / program, *words, *arguments],
            cwd="/",
            env={**os.environ, "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def command(self, *arguments: str, status: int = 0, program: str = "clara") -> subprocess.CompletedProcess[str]:
        """Run one command on this configuration."""
        return self.run(*arguments, "-f", str(self.config), status=status, program=program)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    running = run_file.running(house.storage)
    if running is not None:
        house.command("stop", "-y")


def test_a_day_of_an_adapter(house: House) -> None:
    assert f"{house.config} is not running" in house.command("stop", "-y", status=3).stderr
    house.command("status", status=3)

    started = house.command("start")
    assert "ready" in started.stdout
    assert "COUNT" in started.stdout
    assert json.loads(house.command("status", "--json").stdout)["ready"] is True
    first = run_file.running(house.storage)
    assert first is not None
    assert str(first.pid) in house.command("start", status=4).stderr

    files = [str(write_file(house.folder, number)) for number in (1, 2)]
    house.run("echo", f"COUNT@127.0.0.1:{house.port}")
    assert "is not called NOBODY" in house.run("echo", f"NOBODY@127.0.0.1:{house.port}", status=1).stderr
    house.run("send", f"COUNT@127.0.0.1:{house.port}", *files)

    house.command("restart", program="dicom-adapter")
    second = run_file.running(house.storage)
    assert second is not None
    assert second.pid != first.pid
    assert not first.is_alive()
    assert "1.2.3" in house.command("studies", program="dicom-adapter").stdout

    house.command("stop", "-y")
    assert run_file.running(house.storage) is None
    house.command("status", status=3)


def test_resources_and_a_token(house: House) -> None:
    """The words of the original, over the REST API, which asks for a token."""
    (house.folder / "token").write_text("0123456789abcdef\n")
    text = house.config.read_text().replace(
        "    ae-titles: [{ae-title: COUNT}]\n", "    read-aetitles-from-crd: true\n"
    )
    house.config.write_text(text.replace("api: {port: 0}", "api: {port: 0, token-file: token}"))
    house.command("start")

    house.command("create", "aet", "-a", "LUNG", "pipeline-lung=count")
    house.command("create", "src", "-a", "CT1", "-i", "192.0.2.7")
    house.command("create", "dest", "-n", "PACS", "-a", "ARCHIVE", "-i", "192.0.2.8", "-p", "104")
    assert "already exists" in house.command("create", "aetitle", "-a", "LUNG", "--pipeline", "count", status=1).stderr
    assert "port" in house.command("create", "dst", "-a", "A", "-i", "192.0.2.8", "-p", "70000", status=2).stderr
    listed = json.loads(house.command("list", "aet", "--json").stdout)
    assert [one["spec"]["processorSettings"] for one in listed["items"]] == [{"pipeline-lung": "count"}]
    assert "in force" in house.command("get", "aet", "LUNG").stdout
    [file] = [str(write_file(house.folder, 1))]
    eventually(lambda: "LUNG" in house.command("status").stdout)
    house.run("send", f"LUNG@127.0.0.1:{house.port}", file)

    api = run_file.running(house.storage)
    assert api is not None
    assert "asks for a token" in house.run("list", "aet", "--api", api.api, status=1).stderr
    house.run("list", "aet", "--api", api.api, "--token-file", str(house.folder / "token"))
    for noun, name in (("aet", "lung"), ("src", "ct1"), ("dest", "PACS")):
        house.command("delete", noun, "-n", name)
        assert "has this name" in house.command("delete", noun, "-n", name, status=1).stderr


def test_a_wrong_file_leaves_a_running_adapter_alone(house: House) -> None:
    house.command("start")
    before = run_file.running(house.storage)
    house.write("log: {level: loud}")
    assert "log.level" in house.command("restart", status=2).stderr
    assert run_file.running(house.storage) == before
    house.write()


def test_stop_asks_first(house: House) -> None:
    house.command("start")
    house.command("stop", status=1)  # nobody is there to answer
    assert run_file.running(house.storage) is not None


@pytest.mark.parametrize("taken", ["SCP", "API"])
def test_a_start_that_fails_says_why(house: House, taken: str) -> None:
    with ExitStack() as stack:
        sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = int(sock.getsockname()[1])
        if taken == "SCP":
            house.port = port
            house.write()
        else:
            house.config.write_text(house.config.read_text().replace("api: {port: 0}", f"api: {{port: {port}}}"))
        failed = house.command("start", status=1)
    assert "ended with status 1" in failed.stderr
    assert str(port) in failed.stderr
    assert run_file.running(house.storage) is None


def test_the_first_start_writes_a_default_that_works(house: House) -> None:
    """The specified ports may be forbidden or taken here: held by the test, they are surely so; then others are set."""
    file = house.folder / ".clara/charts/dicom-adapter/files/dicom-server-config.yaml"
    with ExitStack() as stack:
        for port in (104, 5000):
            with suppress(OSError):
                stack.enter_context(socket.create_server(("0.0.0.0", port)))
        first = house.run("start", status=1)
    assert str(file) in first.stdout
    assert "cannot listen" in first.stderr

    text = file.read_text()
    assert "port: 104" in text
    file.write_text(text.replace("port: 104 ", f"port: {house.port} ") + "api: {port: 0}\n")
    house.run("start")
    house.run("echo", f"ClaraSCP@127.0.0.1:{house.port}")
    house.run("stop", "-y")
