"""Two clocks. Wall time for people and for the file; steady time for deadlines, which no clock change moves."""

from __future__ import annotations

import time


class Clock:
    """`now` is wall time. `steady` began as wall time when the process did and runs on the monotonic clock since.

    A deadline stored on the steady clock means the same after a restart, give or take what the wall clock was
    corrected by in between; while the process runs, setting the wall clock moves no deadline.
    """

    def __init__(self) -> None:
        self._origin = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def steady(self) -> float:
        """Seconds on the steady clock."""
        return self._origin + time.monotonic()

    def steady_from_wall(self, moment: float) -> float:
        """The steady time of a moment in the recent past that was noted in wall time; never in the future."""
        return self.steady() - max(0.0, self.now() - moment)
