"""A coalescing wake-up from any thread. A hint: losing one costs latency, never data, for every worker also polls."""

from __future__ import annotations

import asyncio
import contextlib


class Trigger:
    """Many pulls before the waiter wakes count as one."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop that waits. Pulls before this are kept."""
        self._loop = loop

    def pull(self) -> None:
        """Wake the waiter. From any thread, at any time, also after the loop has ended."""
        if self._loop is None:
            self._event.set()
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout: float) -> None:
        """Return at the next pull, or after `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()
        self._event.clear()
