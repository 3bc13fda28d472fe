"""The instants at which the adapter may die, by name: kill -9 at each of them must lose and double nothing.

Why here: every layer above `core` passes some of them, and one table names them all, for the code, the crash tests and
`docs/spool.md`. Nothing happens at a crash point unless DICOM_ADAPTER_CRASH_POINT=NAME[:N] is in the environment: then
the process kills itself, without a word, when it passes the point for the N-th time (default 1).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Final

VARIABLE: Final = "DICOM_ADAPTER_CRASH_POINT"

CRASH_POINTS: Final[Mapping[str, str]] = {
    "spool.after_write": "an instance's last byte is written, nothing is synced",
    "spool.after_fsync": "its file is synced, still under its temporary name",
    "spool.after_rename": "it has its final name, its folder is not synced",
    "spool.after_dir_fsync": "D1: it is durable, nobody was told",
    "scp.before_response": "D1: C-STORE-RSP Success is about to leave",
    "spool.before_marker": "the association ended, its outcome is not written",
    "spool.after_marker": "D2: its outcome is durable, A-RELEASE-RP has not left",
    "intake.before_commit": "an ended association is read, its rows are not written",
    "intake.after_commit": "D3: its rows and batches are durable",
    "processor.before_commit": "a processor has run, its jobs are not written",
    "processor.after_commit": "D4: the jobs of a batch are durable",
    "job.after_create": "the engine knows the job, its ids are not stored",
    "job.after_upload": "the payload is complete, that is not stored",
    "job.before_start": "the payload is complete and stored, the job is not started",
    "job.while_starting": "the run's supervisor is a process, and has not said that it began",
    "job.after_start": "D6: the job runs, that is not stored",
    "results.before_commit": "D8: a job's results are staged, its end and its export tasks are not written",
    "results.after_commit": "the end of the job and its export tasks are durable",
    "results_task.after_commit": "D7: a task of the Results Service is durable, nothing is downloaded",
    "download.after_rename": "a file of its payload is durable, the others are not here",
    "download.before_commit": "D8: every file is here or failed, that is not stored",
    "download.after_commit": "D8: its exports may be sent",
    "export.after_response": "the peer has a file, its outcome is not stored",
    "export.before_commit": "an export ended, its verdict is not stored",
    "export.after_commit": "D9: the verdict on an export is durable",
    "results_task.before_report": "a results task is over, the Results Service is about to be told",
    "results_task.after_report": "it was told, that is not stored (D10)",
}


def _armed() -> tuple[str, int]:
    """The point to die at and how often it is passed by then; ("", 0) where the variable is not set."""
    value = os.environ.get(VARIABLE, "")
    if not value:
        return "", 0
    name, _, count = value.partition(":")
    if name not in CRASH_POINTS:
        raise ValueError(f"{VARIABLE} names no crash point; known are {', '.join(CRASH_POINTS)}")
    return name, int(count or 1)


_name, _passes_left = _armed()


_with: int | None = None


def die_together_with(pid: int) -> None:
    """What dies at a crash point is the adapter: a worker process takes the one that started it with it."""
    global _with  # noqa: PLW0603 - said once, at the start of a worker
    _with = pid


def crash_point(name: str) -> None:
    """Die here if the environment says so (see the module); otherwise nothing, in some 50 ns."""
    if name == _name:
        _die_at_last_pass()


def _die_at_last_pass() -> None:
    global _passes_left  # noqa: PLW0603 - counts passes of this process
    _passes_left -= 1
    if _passes_left <= 0:
        if _with is not None:
            os.kill(_with, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
