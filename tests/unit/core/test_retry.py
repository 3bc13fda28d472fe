"""Delays, as a table: a back-off that does not back off is a bug that no one sees."""

from __future__ import annotations

import pytest

from dicom_adapter.core.retry import job_delay, scheduled_delay, step_delay


@pytest.mark.parametrize(("failures", "delay"), [(1, 60.0), (2, 600.0), (3, 3600.0), (4, None), (9, None)])
def test_scheduled(failures: int, delay: float | None) -> None:
    assert scheduled_delay((60, 600, 3600), failures, 0.0) == delay


def test_no_delays_is_no_retry() -> None:
    assert scheduled_delay((), 1, 0.5) is None


@pytest.mark.parametrize(("failures", "delay"), [(1, 5.0), (2, 20.0), (3, 80.0), (4, 320.0), (5, 600.0), (99, 600.0)])
def test_job(failures: int, delay: float) -> None:
    assert job_delay(failures, 0.0) == delay


@pytest.mark.parametrize(("failures", "delay"), [(1, 1.0), (2, 2.0), (3, 4.0), (7, 60.0), (10_000, 60.0)])
def test_step(failures: int, delay: float) -> None:
    assert step_delay(failures, 0.0) == delay


def test_what_an_ae_title_wants() -> None:
    assert job_delay(3, 0.0, wanted=2.5) == 2.5
    assert job_delay(1, 0.0, wanted=0.0) == 0.0
    assert step_delay(7, 0.0, wanted=5.0) == 5.0
    assert step_delay(7, 0.0, wanted=0.0) == 1.0  # it has no end, so it may not spin


def test_jitter_only_adds() -> None:
    assert scheduled_delay((60,), 1, 0.5) == pytest.approx(66.0)
    assert job_delay(1, 0.5) == pytest.approx(5.5)
