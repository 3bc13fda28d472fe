"""Starting and stopping an adapter in the background, and knowing whether it became ready.

Why a new session and not a double fork: the adapter is a fresh interpreter, so nothing of this process (threads,
sockets, terminal) is in it, and its first parent can tell why it ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dicom_adapter import run_file
from dicom_adapter.cli.client import Client
from dicom_adapter.cli.outcome import CliError, ExitCode
from dicom_adapter.run_file import RunFile

_POLL = 0.1  # seconds
_LAST_LINES = 20
_LOG_LIMIT = 16 << 20  # bytes; at a start a longer log is put aside once


def log_path(storage: Path) -> Path:
    """Where an adapter in the background writes its log."""
    return run_file.folder(storage) / "adapter.log"


def start(config: Path, storage: Path, timeout: float, tell: Callable[[str], None]) -> RunFile:
    """Start an adapter in the background and wait until it is ready. Raises CliError with why it is not."""
    log = _open_log(storage)
    with log.open("ab") as output:
        offset = output.tell()
        process = subprocess.Popen(
            # -P: the folder that somebody happens to be in has no modules of ours.
            [sys.executable, "-P", "-m", __package__.partition(".")[0], "start", "--foreground", "--file", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout
    reasons = ["it has not answered yet"]
    while time.monotonic() < deadline:
        status = process.poll()
        if status is not None:
            raise CliError(ExitCode.FAILED, f"the adapter ended with status {status}:\n{_last_lines(log, offset)}")
        found = run_file.running(storage)
        if found is not None and found.pid == process.pid:
            answer = _ask(found.api)
            if answer == []:
                return found
            reasons = answer or reasons
        tell("; ".join(reasons))
        time.sleep(_POLL)
    raise CliError(
        ExitCode.FAILED,
        f"the adapter runs (process {process.pid}) but is not ready after {timeout:g} seconds: "
        f"{'; '.join(reasons)}. Its log: {log}",
    )


def stop(running: RunFile, timeout: float) -> None:
    """Ask an adapter to stop and wait until it has. Raises CliError when it does not in time."""
    try:
        os.kill(running.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        raise CliError(
            ExitCode.FAILED, f"process {running.pid} belongs to another user: stop it as that user"
        ) from None
    deadline = time.monotonic() + timeout
    while running.is_alive():
        if time.monotonic() > deadline:
            raise CliError(ExitCode.FAILED, f"process {running.pid} has not ended after {timeout:g} seconds")
        time.sleep(_POLL)


def _ask(api: str) -> list[str] | None:
    client = Client(api)
    try:
        return client.not_ready()
    finally:
        client.close()


def _open_log(storage: Path) -> Path:
    log = log_path(storage)
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if log.stat().st_size > _LOG_LIMIT:
                log.replace(log.with_suffix(".log.1"))
        log.touch(mode=0o600)
    except OSError as error:
        message = f"cannot write {log}: {error.strerror}. Correct storage.temporary, or who owns that folder."
        raise CliError(ExitCode.FAILED, message) from None
    return log


def _last_lines(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read(_LOG_LIMIT).decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-_LAST_LINES:]) or "it wrote nothing"
