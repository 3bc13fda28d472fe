"""What may be removed, row by row: everything else stays."""

from __future__ import annotations

import pytest

from dicom_adapter.core.model import BatchState, ExportState, JobState
from dicom_adapter.core.retention import WorkFacts, removable_at, set_aside_until

RETENTION = 60.0
B, J, E = BatchState, JobState, ExportState


@pytest.mark.parametrize(
    ("batch", "jobs", "exports", "at"),
    [
        (B.COLLECTING, set(), set(), None),
        (B.CLOSED, set(), set(), None),
        (B.HELD, set(), set(), None),
        (B.DROPPED, set(), set(), 160.0),
        (B.PROCESSED, set(), set(), 160.0),
        (B.PROCESSED, {J.SUCCEEDED}, {E.SUCCEEDED}, 160.0),
        (B.PROCESSED, {J.SUCCEEDED, J.CANCELED}, {E.SUCCEEDED, E.CANCELED}, 160.0),
        (B.PROCESSED, {J.SUCCEEDED}, {E.PENDING}, None),
        (B.PROCESSED, {J.SUCCEEDED}, {E.SUCCEEDED, E.FAILED}, None),
        (B.PROCESSED, {J.SUCCEEDED, J.FAILED}, set(), None),
        *((B.PROCESSED, {state}, set(), None) for state in (J.QUEUED, J.CREATED, J.UPLOADED, J.STARTED)),
    ],
)
def test_removable_at(batch: BatchState, jobs: set[JobState], exports: set[ExportState], at: float | None) -> None:
    assert removable_at(WorkFacts(batch, 100.0, frozenset(jobs), frozenset(exports)), RETENTION) == at


def test_set_aside() -> None:
    assert set_aside_until(100.0, 0.0) == 100.0
    assert set_aside_until(100.0, 30.0) == 130.0
