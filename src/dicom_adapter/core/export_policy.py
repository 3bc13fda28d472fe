"""The verdict on an export task: delivered, again later, or a dead letter (specification 12.1.4.2).

"If more than 50% of the files fails to be exported, the job is marked as failed [...] it will be retried up to three
times at a later time." Exactly half is success, with the failed files listed. The share is that of all files of the
task, those delivered by earlier tries included, and only the failed ones are sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dicom_adapter.core.model import DeliveryState, ExportState
from dicom_adapter.core.retry import scheduled_delay

FAILURE_THRESHOLD = 0.5  # strictly more than this share failed: the task failed


class WarningPolicy(StrEnum):
    """How C-STORE-RSP Bxxx counts (`scu.warnings`)."""

    SUCCESS = "success"  # the peer has stored it: PS3.4 B.2.3
    FAILURE = "failure"  # as the original counted


@dataclass(frozen=True, slots=True)
class ExportVerdict:
    """`state` PENDING with `delay`: try again after so many seconds."""

    state: ExportState
    reason: str | None
    delay: float | None = None


def is_delivered(state: DeliveryState, warnings: WarningPolicy) -> bool:
    """Whether a file in this state needs not be sent again."""
    return state is DeliveryState.DELIVERED or (state is DeliveryState.WARNING and warnings is WarningPolicy.SUCCESS)


def verdict(
    states: Iterable[DeliveryState],
    failures: int,
    delays: Sequence[float],
    warnings: WarningPolicy,
    jitter: float,
    last_reason: str | None = None,
) -> ExportVerdict:
    """The verdict after a try.

    `states`: one for each file of the task. `failures`: tries that failed before this one. `delays`: seconds before
    each further try. `last_reason`: why the last failed file failed, in words.
    """
    counted = list(states)
    failed = sum(not is_delivered(state, warnings) for state in counted)
    warned = sum(state is DeliveryState.WARNING for state in counted) if warnings is WarningPolicy.SUCCESS else 0
    if not counted:
        return ExportVerdict(ExportState.SUCCEEDED, "there was nothing to send")
    if failed <= FAILURE_THRESHOLD * len(counted):
        return ExportVerdict(ExportState.SUCCEEDED, _success_words(len(counted), failed, warned, last_reason))
    words = f"{failed} of {len(counted)} files failed" + (f": {last_reason}" if last_reason else "")
    delay = scheduled_delay(delays, failures + 1, jitter)
    if delay is None:
        return ExportVerdict(ExportState.FAILED, words)
    return ExportVerdict(ExportState.PENDING, words, delay)


def _success_words(total: int, failed: int, warned: int, last_reason: str | None) -> str | None:
    parts = []
    if failed:
        parts.append(f"{failed} of {total} files failed" + (f": {last_reason}" if last_reason else ""))
    if warned:
        parts.append(f"{warned} of {total} files were stored with a warning")
    return "; ".join(parts) or None
