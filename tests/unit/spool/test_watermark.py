"""The watermark: looked at now and then, and right again soon after space was made."""

from __future__ import annotations

import errno
import time

import pytest
from structlog.testing import capture_logs

from dicom_adapter.spool.watermark import LOOK_INTERVAL, Watermark


def test_it_follows_the_volume_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    now, free, looks = 100.0, 50, 0

    def space() -> tuple[int, int]:
        nonlocal looks
        looks += 1
        return 1000, free

    monkeypatch.setattr(time, "monotonic", lambda: now)
    is_below = Watermark(space, watermark_percent=100, reserve=40)
    assert [is_below() for _ in range(1000)] == [False] * 1000
    assert looks == 1
    free = 40
    now += LOOK_INTERVAL
    assert is_below()
    free = 41
    assert is_below()
    now += LOOK_INTERVAL
    assert not is_below()


def test_a_volume_that_does_not_answer_has_no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """So instances are answered A700H and associations 2/3/1, as the peer may try again; not as a fault of ours."""
    now = 100.0

    def gone() -> tuple[int, int]:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(time, "monotonic", lambda: now)
    is_below = Watermark(gone, watermark_percent=95, reserve=0)
    with capture_logs() as lines:
        for _ in range(3):
            assert is_below()
            now += LOOK_INTERVAL
    assert [line["why"] for line in lines] == ["Stale file handle"]
