"""Peer programs: found or skipped, started on free loopback ports, and always ended."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

PATIENCE = 30.0  # seconds for a program to start


def require(name: str) -> str:
    """The path of a program, or a skipped test that says what to install."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install dcmtk orthanc libgdcm-tools")
    return found


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a peer program to its end."""
    command = [require(name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, errors="replace")


def _await_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, f"the peer ended with status {process.returncode}"
        assert time.monotonic() < deadline, "the peer does not listen"
        time.sleep(0.02)


@contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _await_listening(process, port)
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """DCMTK's receiver; writes the data sets as they came into `folder`. Gives its port."""
    folder.mkdir()
    port = free_port()
    command = [require("storescp"), "+xa", "+B", "-pm", "-aet", "PACS", *options, "-od", str(folder), str(port)]
    with _running(command, port, folder.parent / "storescp.log"):
        yield port


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc with AE Title ORTHANC; the modality `adapter` is AE BRAIN at `adapter_port`."""

    port: int
    http: str

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.http}{path}", timeout=30) as answer:
            content: bytes = answer.read()
            return content

    def post(self, path: str, content: bytes) -> dict[str, object]:
        request = urllib.request.Request(f"{self.http}{path}", data=content, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            answered: dict[str, object] = json.loads(answer.read())
            return answered

    def put(self, path: str, value: object) -> None:
        request = urllib.request.Request(f"{self.http}{path}", data=json.dumps(value).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=30).close()


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """An empty Orthanc that accepts everything."""
    port, http = free_port(), free_port()
    configuration = folder / "orthanc.json"
    configuration.write_text(
        json.dumps(
            {
                "Name": "test",
                "StorageDirectory": str(folder / "orthanc"),
                "IndexDirectory": str(folder / "orthanc"),
                "SyncStorageArea": False,
                "DicomAet": "ORTHANC",
                "DicomPort": port,
                "HttpPort": http,
                "HttpServerEnabled": True,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomAlwaysAllowStore": True,
                "DicomAlwaysAllowEcho": True,
                "DicomCheckCalledAet": False,
                "UnknownSopClassAccepted": True,
                "Plugins": [],
            }
        )
    )
    with _running([require("Orthanc"), str(configuration)], http, folder / "orthanc.log"):
        yield Orthanc(port, f"http://127.0.0.1:{http}")
