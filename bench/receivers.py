"""The receivers that are measured: each a real process on 127.0.0.1, in a folder of its own, started for each figure.

A fresh start for each figure, so that none is slower or faster for what it stored before.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import wire

AE_TITLE = "BENCH"  # what every receiver is called
_START_TIMEOUT = 60.0  # seconds
_STOP_TIMEOUT = 30.0


class BenchError(Exception):
    """A figure could not be taken; the message says why."""


@dataclass(frozen=True)
class Receiver:
    """`launch`: (own folder, port) -> command. `program`: what has to be on PATH; None: it came with the bench."""

    name: str
    launch: Callable[[Path, int], Sequence[str]]
    program: str | None = None

    @property
    def absent(self) -> bool:
        return self.program is not None and shutil.which(self.program) is None


@dataclass(frozen=True)
class Running:
    """A receiver that accepts associations."""

    port: int
    process: subprocess.Popen[bytes]
    folder: Path
    log: Path = field(repr=False)

    def status(self, key: str) -> int:
        """A line of /proc/PID/status, in KiB, added up over the process and all that it started."""
        return sum(_status(pid, key) for pid in _with_descendants(self.process.pid))

    def reset_peak(self) -> None:
        """Make VmHWM the memory of this moment."""
        for pid in _with_descendants(self.process.pid):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise BenchError(f"the kernel tells no {key}")


def _with_descendants(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():  # a child belongs to the thread that started it
        for child in (task / "children").read_text().split():
            yield from _with_descendants(int(child))


@contextmanager
def running(receiver: Receiver, folder: Path) -> Iterator[Running]:
    """Start it in the new folder `folder`, stop it and empty its files in the end. Raises BenchError."""
    folder.mkdir(parents=True)
    port = free_port()
    log = folder.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            receiver.launch(folder, port),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
    try:
        _wait_until_ready(receiver, process, port, log)
        yield Running(port, process, folder, log)
    finally:
        _stop(process)
        _empty(folder)


def _empty(folder: Path) -> None:
    """Free the space, keep the names: `folders.session` removes them all in the end, and says why so late."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_until_ready(receiver: Receiver, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            sock, _ = wire.establish(
                port, AE_TITLE, AE_TITLE, [(wire.CT_IMAGE_STORAGE, wire.EXPLICIT_VR_LITTLE_ENDIAN)]
            )
            wire.release(sock)
        except ConnectionRefusedError:
            time.sleep(0.02)
        except (OSError, wire.Refused) as error:
            raise BenchError(f"{receiver.name} does not accept associations: {error}") from error
        else:
            return
    last_words = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise BenchError(f"{receiver.name} did not start: {' '.join(last_words)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: itself and what it forked
        process.wait()


# --- who they are ---------------------------------------------------------------------------------------------------


def adapter(
    durability: str,
    *,
    timeout: int = 3600,
    max_associations: int = 5,
    command: Sequence[str] = ("true",),
    name: str | None = None,
) -> Receiver:
    """The adapter as it is installed. `timeout`: of the AE Title, long enough that no job starts while we measure."""

    def launch(folder: Path, port: int) -> Sequence[str]:
        configuration = folder / "adapter.yaml"  # JSON is YAML
        configuration.write_text(
            json.dumps(_configuration(folder, port, durability, timeout, max_associations, list(command)))
        )
        start = ["dicom", "start", "--foreground", "-f", str(configuration)]
        return [sys.executable, "-c", "from dicom_adapter.cli import clara; clara()", *start]

    return Receiver(name or f"adapter, durability {durability}", launch)


def _configuration(
    folder: Path, port: int, durability: str, timeout: int, max_associations: int, command: Sequence[str]
) -> Mapping[str, object]:
    return {
        "dicom": {
            "scp": {
                "port": port,
                "bind": "127.0.0.1",
                "ae-titles": [{"ae-title": AE_TITLE, "timeout": timeout}],
                "max-associations": max_associations,
                "reject-unknown-sources": False,
                "read-sources-from-crd": False,
            }
        },
        "pipeline-mappings": [{"name": "bench", "clara-ae-title": AE_TITLE, "pipeline-id": "bench"}],
        "pipelines": [{"id": "bench", "command": list(command)}],
        "storage": {
            "temporary": str(folder / "storage"),
            "durability": durability,
            "reserve-space": 0,
            "watermark-percent": 100,
        },
        "api": {"port": 0},
    }


def sink(sync: str) -> Receiver:
    names = {"none": "bare sink", "full": "bare sink that syncs each file", "data": "bare sink, fdatasync only"}
    return Receiver(
        names[sync],
        lambda folder, port: [sys.executable, "-m", "bench.sink", str(port), str(folder), "--sync", sync],
    )


def storescp() -> Receiver:
    """With its defaults, but for --fork, without which it serves one association at a time."""
    return Receiver(
        "DCMTK storescp",
        lambda folder, port: ["storescp", "--fork", "--output-directory", str(folder), str(port)],
        "storescp",
    )


def orthanc(*, sync: bool) -> Receiver:
    """With its defaults (SQLite index). `sync`: its default is to sync each file it stores."""

    def launch(folder: Path, port: int) -> Sequence[str]:
        configuration = folder / "orthanc.json"
        settings = {
            "Name": AE_TITLE,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "TemporaryDirectory": str(folder / "temporary"),
            "SyncStorageArea": sync,
            "DicomAet": AE_TITLE,
            "DicomPort": port,
            "HttpPort": free_port(),
        }
        configuration.write_text(json.dumps(settings))
        return ["Orthanc", str(configuration)]

    return Receiver("Orthanc, default sync" if sync else "Orthanc, no sync", launch, "Orthanc")


def pynetdicom() -> Receiver:
    return Receiver(
        "pynetdicom SCP",
        lambda folder, port: [sys.executable, "-m", "bench.pynetdicom_peer", "scp", str(port), str(folder)],
    )
