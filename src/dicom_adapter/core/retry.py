"""When to try again. Delays are seconds; `jitter` is a random number in [0, 1) that the caller draws."""

from __future__ import annotations

from collections.abc import Sequence

JITTER_SHARE = 0.2  # of the delay: so that many tasks that failed together do not come back together
JOB_BASE, JOB_FACTOR, JOB_CAP = 5.0, 4.0, 600.0  # a failed pipeline run: 5 s, 20 s, 80 s ... 10 min
STEP_BASE, STEP_FACTOR, STEP_CAP = 1.0, 2.0, 60.0  # an engine that is away: for as long as it takes


def scheduled_delay(delays: Sequence[float], failures: int, jitter: float) -> float | None:
    """The delay after the `failures`-th failure of a task with these retry delays, or None: give up.

    Each entry of `delays` stands for one further try.
    """
    if failures > len(delays):
        return None
    return delays[failures - 1] * (1 + JITTER_SHARE * jitter)


def job_delay(failures: int, jitter: float, wanted: float | None = None) -> float:
    """The delay before a pipeline runs again after its `failures`-th failed run. `wanted`: what the AE Title says."""
    if wanted is not None:
        return wanted * (1 + JITTER_SHARE * jitter)
    return _exponential(JOB_BASE, JOB_FACTOR, JOB_CAP, failures, jitter)


def step_delay(failures: int, jitter: float, wanted: float | None = None) -> float:
    """The delay before a call to an engine is made again after `failures` temporary errors in a row. No last one.

    `wanted`: what the AE Title says; never less than the shortest, as there is no end to it.
    """
    if wanted is not None:
        return max(STEP_BASE, wanted) * (1 + JITTER_SHARE * jitter)
    return _exponential(STEP_BASE, STEP_FACTOR, STEP_CAP, failures, jitter)


def _exponential(base: float, factor: float, cap: float, failures: int, jitter: float) -> float:
    exponent = min(failures - 1, 32)  # far beyond every cap, far below overflow
    return float(min(cap, base * factor**exponent)) * (1 + JITTER_SHARE * jitter)
