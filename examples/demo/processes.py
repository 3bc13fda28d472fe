"""The two programs that the demo starts, each ended when its `with` block is left: the PACS and the adapter."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from . import pacs

CALLED, CALLING = "BoneCT", "SCANNER"
CLARA = Path(sys.executable).with_name("clara")
_PIPELINES = Path(__file__).parents[1] / "pipelines"
_READY_WITHIN = 60.0  # seconds
_STOPPED_WITHIN = 45.0

# Paths stand in single quotes, where YAML takes every character but the quote itself as it is.
_CONFIGURATION = """\
# Written by `make demo`: one AE Title, one pipeline, one destination.
dicom:
  scp:
    port: {scp_port}
    bind: 127.0.0.1
    read-aetitles-from-crd: false
    read-sources-from-crd: false
    ae-titles:
      - ae-title: {called}
    sources:
      - {{ae-title: {calling}, host-ip: 127.0.0.1}}
  scu:
    ae-title: {called}
    read-destinations-from-crd: false
    destinations:
      - {{name: PACS, ae-title: {pacs}, host-ip: 127.0.0.1, port: {pacs_port}}}
pipeline-mappings:
  - {{name: bone_segmentation, clara-ae-title: {called}, pipeline-id: bone}}
pipelines:
  - id: bone
    name: bone_segmentation
    command: ['{python}', -m, bone_segmentation, '{{input}}', '{{output}}']
    environment: {{PYTHONPATH: '{pipelines}'}}
    timeout: 300
    destinations: [PACS]
storage:
  temporary: storage
  watermark-percent: 100              # a demo may run on a nearly full disk
  reserve-space: 64MiB
api:
  port: {api_port}
"""


class DemoError(Exception):
    """The demo cannot go on; in words."""


@contextmanager
def running_pacs(folder: Path) -> Iterator[int]:
    """The PACS, keeping what it gets in `folder`. Yields its port."""
    command = [sys.executable, "-m", pacs.__name__, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.strip().isdigit():
                raise DemoError("the PACS did not start; its error stands above")
            yield int(line)
        finally:
            process.stdin.close()
            _end(process)


@dataclass(frozen=True)
class Adapter:
    """A running adapter: where it listens, and what it can be asked."""

    port: int
    configuration: Path
    log: Path
    process: subprocess.Popen[bytes]
    api: httpx2.Client

    def get(self, path: str) -> dict[str, Any] | None:
        """JSON of the REST API; None while the adapter does not know it, or is not up yet."""
        try:
            answer = self.api.get(path)
        except httpx2.TransportError:
            return None
        found: dict[str, Any] | None = answer.json() if answer.is_success else None
        return found

    def check_alive(self) -> None:
        """Raises DemoError when the process has ended."""
        if self.process.poll() is not None:
            raise DemoError(f"the adapter ended with status {self.process.returncode}; its log: {self.log}")

    def clara(self, *arguments: str) -> list[str]:
        """A command of the command line about this adapter."""
        return [str(CLARA), "dicom", *arguments, "--file", str(self.configuration)]


@contextmanager
def running_adapter(folder: Path, pacs_port: int) -> Iterator[Adapter]:
    """The adapter on free ports, ready to receive; its configuration, log and storage lie in `folder`."""
    scp_port, api_port = _free_ports(2)
    configuration, log = folder / "adapter.yaml", folder / "adapter.log"
    configuration.write_text(
        _CONFIGURATION.format(
            scp_port=scp_port,
            api_port=api_port,
            called=CALLED,
            calling=CALLING,
            pacs=pacs.AE_TITLE,
            pacs_port=pacs_port,
            python=_quoted(sys.executable),
            pipelines=_quoted(str(_PIPELINES)),
        ),
        encoding="utf-8",
    )
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [str(CLARA), "dicom", "start", "--foreground", "--file", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as process,
        # trust_env: a proxy for the web is not the way to this machine
        httpx2.Client(base_url=f"http://127.0.0.1:{api_port}", trust_env=False, timeout=10) as api,
    ):
        adapter = Adapter(scp_port, configuration, log, process, api)
        try:
            _wait_until_ready(adapter)
            yield adapter
        finally:
            _end(process)


def _wait_until_ready(adapter: Adapter) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while adapter.get("/health/ready") is None:
        adapter.check_alive()
        if time.monotonic() > deadline:
            raise DemoError(f"the adapter is not ready after {_READY_WITHIN:.0f} seconds; its log: {adapter.log}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _quoted(text: str) -> str:
    return text.replace("'", "''")
