"""`<storage>/run/adapter.json`: which process runs on a storage folder, and where its REST API answers.

Why here: the running adapter writes it and the command line reads it. It is a hint for people's commands; who may use
the folder is decided by the lock of the spool alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

_NAME = "adapter.json"


@dataclass(frozen=True, slots=True)
class RunFile:
    """A running adapter. `process_started`: in clock ticks since boot, so that a pid used again is not mistaken."""

    pid: int
    api: str  # http://127.0.0.1:5000
    process_started: int | None = None

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        started = _process_started(self.pid)
        return started is not None and self.process_started in (None, started)


def folder(storage: Path) -> Path:
    """Where the file is, and the log of an adapter in the background."""
    return storage / "run"


def write(storage: Path, api: str) -> None:
    """Say that this process runs on the folder. Raises OSError."""
    pid = os.getpid()
    run_file = RunFile(pid=pid, api=api, process_started=_process_started(pid))
    folder(storage).mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder(storage) / f".{_NAME}.{pid}"
    temporary.write_text(json.dumps(asdict(run_file)), encoding="utf-8")
    temporary.replace(folder(storage) / _NAME)


def remove(storage: Path) -> None:
    """Say that it no longer does. Another process's file is left alone."""
    found = read(storage)
    if found is not None and found.pid == os.getpid():
        (folder(storage) / _NAME).unlink(missing_ok=True)


def read(storage: Path) -> RunFile | None:
    """What the file says, or None where there is none that can be read."""
    try:
        found = json.loads((folder(storage) / _NAME).read_text(encoding="utf-8"))
        started = found.get("process_started")
        return RunFile(int(found["pid"]), str(found["api"]), None if started is None else int(started))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def running(storage: Path) -> RunFile | None:
    """The adapter that runs on the folder now, or None."""
    found = read(storage)
    return found if found is not None and found.is_alive() else None


def _process_started(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None for a process that is gone, or dead and not yet waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()  # the name before may hold spaces and parentheses
    return None if state in "ZX" else int(fields[18])
