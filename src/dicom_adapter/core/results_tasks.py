"""What becomes of a task of the Results Service: done, given back, or failed for good (specification 12.1.4.2).

"If more than 50% of the files fails to be exported, the job is marked as failed and reported back to the Results
Service - it will be retried up to three times at a later time." A task may name several destinations; each is judged by
itself, as two archives of which one is away are one too few. The retrying is the Results Service's: it gives the task
again, and counts. So an export of such a task is tried once in each turn; beside that, the later time is ours to keep,
as the service gives a task back as soon as it is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from dicom_adapter.core.model import ExportState, ExportTask, ResultsTask, ResultsTaskState
from dicom_adapter.core.retry import scheduled_delay

MAX_RETRIES = 3  # 12.1.4.2
MAX_FILE_NAME = 1024  # characters


@dataclass(frozen=True, slots=True)
class TaskVerdict:
    """What the task comes to, with the reason for people."""

    state: ResultsTaskState
    reason: str | None


class Seen(Enum):
    """What to do with a task that the Results Service gives and that we know."""

    IGNORE = "ignore"  # it is being worked on, or its report is under way
    REPORT = "report"  # it is over: say so, once more
    TAKE_UP = "take up"  # its failure was reported, and here it is again


def seen_again(task: ResultsTask, retries: int) -> Seen:
    """See `Seen`. `retries`: as the service counts them now. A task whose success is recorded is never exported again.

    A greater count says that the service has taken note of a failure, though its answer was lost. One whose report is
    still due gets it in its own time: nobody says that a service gives a task to its agent only once.
    """
    if task.state in (ResultsTaskState.RECEIVED, ResultsTaskState.DOWNLOADED):
        return Seen.IGNORE
    if task.state in (ResultsTaskState.SUCCEEDED, ResultsTaskState.CANCELED):
        return Seen.IGNORE if task.reported_at is None else Seen.REPORT
    return Seen.IGNORE if task.reported_at is None and retries <= task.retries else Seen.TAKE_UP


def retries_so_far(given: int, turns: int) -> int:
    """How often the task was retried, when it is taken up for the `turns`-th time.

    `given`: the service's own count. Ours counts as well: a service that forgets to must not make a task immortal.
    """
    return max(given, turns - 1)


def turn_at(failed_at: float, retries: int, delays: Sequence[float], jitter: float) -> float:
    """When a task that is given again gets its turn (`scu.retry-delays`), in the clock of `failed_at`."""
    delay = scheduled_delay(delays, min(retries, len(delays)), jitter) if retries and delays else None
    return failed_at + (delay or 0.0)


def conclude(exports: Sequence[ExportTask], retries: int) -> TaskVerdict | None:
    """The verdict on a task, by its exports; None while one of them is not over.

    A destination that nobody knew when the task was taken up is no reason to try again: that takes a person.
    """
    if any(one.state in (ExportState.DOWNLOADING, ExportState.PENDING) for one in exports):
        return None
    failed = [one for one in exports if one.state is not ExportState.SUCCEEDED]
    reason = _in_words(failed or exports, several=len(exports) > 1)
    if not failed:
        return TaskVerdict(ResultsTaskState.SUCCEEDED, reason)
    if all(one.state is ExportState.CANCELED for one in failed):
        return TaskVerdict(ResultsTaskState.CANCELED, reason)
    may_work_later = any(one.state is not ExportState.CANCELED and one.peer is not None for one in failed)
    if may_work_later and retries < MAX_RETRIES:
        return TaskVerdict(ResultsTaskState.RETURNED, reason)
    return TaskVerdict(ResultsTaskState.FAILED, reason)


def _in_words(exports: Sequence[ExportTask], *, several: bool) -> str | None:
    """Their reasons, and where there are several destinations, whose each is."""
    reasons = (f"{one.destination}: {one.reason}" if several else one.reason for one in exports if one.reason)
    return "; ".join(filter(None, reasons)) or None


def why_no_file_name(uri: str) -> str | None:
    """Why the platform is not asked for a file of this name; words that complete "its name ...", or None."""
    if not uri.strip("/"):
        return "is empty"
    if len(uri) > MAX_FILE_NAME:
        return f"has more than {MAX_FILE_NAME} characters"
    if not uri.isprintable():
        return "has control characters"
    if ".." in uri.split("/"):
        return "leads out of its payload"
    return None
