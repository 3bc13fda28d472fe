"""Waiting for what a job does, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dicom_adapter.core.model import EngineState, JobRef, JobStatus
from dicom_adapter.core.ports import JobEngine

T = TypeVar("T")
PATIENCE = 20.0  # seconds


async def until(condition: Callable[[], T]) -> T:
    """The first true answer of `condition`."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.01)
    return answer


async def stopped(engine: JobEngine, ref: JobRef) -> JobStatus:
    """The job's status, once it has stopped or is not known."""
    deadline = time.monotonic() + PATIENCE
    while (status := await engine.get_status(ref)).state not in (EngineState.STOPPED, EngineState.UNKNOWN):
        assert time.monotonic() < deadline, f"it did not stop: {status}"
        await asyncio.sleep(0.01)
    return status


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
