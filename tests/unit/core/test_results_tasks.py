"""The rules of results tasks: verdicts, retries, and what a task that comes again means."""

from __future__ import annotations

import pytest

from dicom_adapter.core.model import ExportState, ExportTask, ResultsTask, ResultsTaskState
from dicom_adapter.core.results_tasks import Seen, conclude, retries_so_far, seen_again, turn_at, why_no_file_name
from dicom_adapter.core.snapshot import Destination

PACS = Destination("PACS", "ARCHIVE", "127.0.0.1", 104)
DONE, FAILED, CANCELED = ExportState.SUCCEEDED, ExportState.FAILED, ExportState.CANCELED


def export(state: ExportState, *, known: bool = True, reason: str | None = None, name: str = "PACS") -> ExportTask:
    peer = PACS if known else None
    return ExportTask("e", None, name, state, 1, 0, 1000, reason=reason, results_task_id="r", peer=peer)


def task(state: ResultsTaskState, reported_at: float | None = None) -> ResultsTask:
    return ResultsTask("r", "t", None, "", "p", (), state, 1, 0, 0, 1000, reported_at=reported_at)


@pytest.mark.parametrize(
    ("exports", "retries", "state"),
    [
        ([export(DONE)], 0, "succeeded"),
        ([export(DONE)], 3, "succeeded"),
        ([export(FAILED)], 0, "returned"),
        ([export(FAILED)], 2, "returned"),
        ([export(FAILED)], 3, "failed"),
        ([export(FAILED)], 4, "failed"),
        ([export(FAILED, known=False)], 0, "failed"),
        ([export(DONE), export(FAILED)], 0, "returned"),
        ([export(DONE), export(FAILED)], 3, "failed"),
        ([export(DONE), export(FAILED, known=False)], 0, "failed"),
        ([export(FAILED), export(FAILED, known=False)], 0, "returned"),
        ([export(ExportState.RETURNED)], 0, "returned"),
        ([export(CANCELED)], 0, "canceled"),
        ([export(DONE), export(CANCELED)], 0, "canceled"),
        ([export(FAILED), export(CANCELED)], 0, "returned"),
        ([export(FAILED, known=False), export(CANCELED)], 0, "failed"),
        ([export(DONE), export(ExportState.PENDING)], 0, None),
        ([export(FAILED), export(ExportState.DOWNLOADING)], 0, None),
    ],
)
def test_verdicts(exports: list[ExportTask], retries: int, state: str | None) -> None:
    verdict = conclude(exports, retries)
    assert (verdict and verdict.state) == state


def test_the_reason_names_what_failed() -> None:
    exports = [export(DONE, reason="1 of 3 files failed"), export(FAILED, reason="it is away", name="OTHER")]
    assert conclude(exports, 0) is not None
    assert conclude(exports, 0).reason == "OTHER: it is away"  # type: ignore[union-attr]
    assert conclude(exports[:1], 0).reason == "1 of 3 files failed"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("state", "reported", "seen"),
    [
        (ResultsTaskState.RECEIVED, False, Seen.IGNORE),
        (ResultsTaskState.DOWNLOADED, False, Seen.IGNORE),
        (ResultsTaskState.SUCCEEDED, False, Seen.IGNORE),
        (ResultsTaskState.SUCCEEDED, True, Seen.REPORT),
        (ResultsTaskState.CANCELED, True, Seen.REPORT),
        (ResultsTaskState.RETURNED, False, Seen.IGNORE),
        (ResultsTaskState.RETURNED, True, Seen.TAKE_UP),
        (ResultsTaskState.FAILED, False, Seen.IGNORE),
        (ResultsTaskState.FAILED, True, Seen.TAKE_UP),
    ],
)
def test_a_task_that_comes_again(state: ResultsTaskState, reported: bool, seen: Seen) -> None:
    assert seen_again(task(state, 1001.0 if reported else None), retries=0) is seen


def test_a_greater_count_says_that_a_failure_was_noted() -> None:
    assert seen_again(task(ResultsTaskState.RETURNED), retries=1) is Seen.TAKE_UP
    assert seen_again(task(ResultsTaskState.SUCCEEDED), retries=1) is Seen.IGNORE


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("dicom-op/series1.dcm", None),
        ("/a.dcm", None),
        ("a..dcm", None),
        ("", "is empty"),
        ("/", "is empty"),
        ("../a.dcm", "leads out of its payload"),
        ("a/../../b", "leads out of its payload"),
        ("a\nb", "has control characters"),
        ("\ud800", "has control characters"),
        ("x" * 1025, "has more than 1024 characters"),
    ],
)
def test_names_of_files(uri: str, why: str | None) -> None:
    assert why_no_file_name(uri) == why


def test_a_service_that_does_not_count_makes_no_task_immortal() -> None:
    assert [retries_so_far(0, turns) for turns in (1, 2, 3, 4)] == [0, 1, 2, 3]
    assert retries_so_far(3, 1) == 3


@pytest.mark.parametrize(
    ("retries", "delays", "jitter", "waits"),
    [
        (0, (60, 600), 0.5, 0),
        (1, (60, 600), 0, 60),
        (2, (60, 600), 0, 600),
        (9, (60, 600), 0, 600),
        (1, (), 1.0, 0),
        (1, (60,), 1.0, 72),
    ],
)
def test_a_later_time(retries: int, delays: tuple[float, ...], jitter: float, waits: float) -> None:
    assert turn_at(1000, retries, delays, jitter) == 1000 + waits
