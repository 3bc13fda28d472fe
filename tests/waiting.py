"""Waiting for what happens in another thread, task or process, with a deadline that fails the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from inspect import isawaitable
from pathlib import Path
from typing import Any, Final, TypeVar, overload

PATIENCE: Final = 30.0  # seconds for anything to happen: a machine under load is slow, and that is no failure

Found = TypeVar("Found")


def eventually(look: Callable[[], Found], patience: float = PATIENCE) -> Found:
    """The first true answer of `look`, asked again and again; fails when there is none in time."""
    for pause in _pauses(patience):
        if found := look():
            return found
        time.sleep(pause)
    raise AssertionError(f"did not happen within {patience} s; now: {look()!r}")


@overload
async def until(look: Callable[[], Awaitable[Found]], patience: float = PATIENCE) -> Found: ...
@overload
async def until(look: Callable[[], Found], patience: float = PATIENCE) -> Found: ...
async def until(look: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """`eventually` for asynchronous tests: other tasks go on meanwhile."""
    for pause in _pauses(patience):
        found = await answer if isawaitable(answer := look()) else answer
        if found:
            return found
        await asyncio.sleep(pause)
    raise AssertionError(f"did not happen within {patience} s; last: {found!r}")


def _pauses(patience: float) -> Iterator[float]:
    """Short at first, as most of what is waited for is there at once; at least one, and none after the deadline."""
    deadline = time.monotonic() + patience
    pause = 0.005
    yield pause
    while time.monotonic() < deadline:
        yield pause
        pause = min(pause * 1.5, 0.1)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
