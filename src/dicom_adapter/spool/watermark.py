"""Whether the volume is too full to take more, asked for each association and instance, and while one comes.

Why here: the answer is a rule of `core.storage_policy`; this is the look at the volume, and how often it is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from dicom_adapter.core.storage_policy import below_watermark

log = structlog.get_logger("spool")

LOOK_INTERVAL = 0.25  # seconds; what arrives in between is what `storage.reserve-space` is for


class Watermark:
    """Callable from any thread: two that look at once do no harm.

    `space`: (bytes of the volume, bytes of it that are free). `watermark_percent`, `reserve`: see `below_watermark`.
    """

    def __init__(self, space: Callable[[], tuple[int, int]], *, watermark_percent: float, reserve: int) -> None:
        self._space = space
        self._watermark_percent = watermark_percent
        self._reserve = reserve
        self._look_again_at = 0.0
        self._is_below = False
        self._answers = True

    def __call__(self) -> bool:
        """True: refuse. A volume that does not answer has no space."""
        now = time.monotonic()
        if now >= self._look_again_at:
            self._is_below = self._look()
            self._look_again_at = now + LOOK_INTERVAL
        return self._is_below

    def _look(self) -> bool:
        try:
            total, free = self._space()
        except OSError as error:
            if self._answers:
                log.error("the volume of the storage folder does not answer: nothing is taken", why=error.strerror)
            self._answers = False
            return True
        self._answers = True
        return below_watermark(total, free, watermark_percent=self._watermark_percent, reserve=self._reserve)
