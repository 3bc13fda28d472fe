"""Runs the workers, restarts a step that failed, and knows which of them are well.

A worker is level-based: each step looks at the facts and does what is due, so it does not matter which trigger was
lost or how a step before it failed. No timer re-arms itself: the supervisor alone decides when the next step runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from dicom_adapter.core.errors import in_words
from dicom_adapter.manager.trigger import Trigger

log = structlog.get_logger("manager")

POLL_INTERVAL = 5.0  # seconds: what a lost trigger costs at most
FAILURE_DELAYS = (0.5, 1.0, 2.0, 5.0, 10.0)  # after so many failed steps in a row; then the last for ever


class Worker(Protocol):
    """One duty of the control plane."""

    name: str
    trigger: Trigger

    async def step(self) -> float | None:
        """Do what is due. Answers in how many seconds something more is due, or None: not before a trigger."""
        ...

    async def stop(self) -> None:
        """Let go of what still runs; every fact is stored already."""
        ...


@dataclass(slots=True)
class WorkerHealth:
    """`failures`: failed steps in a row. `reason`: of the last one, in words."""

    failures: int = 0
    reason: str | None = None


class Supervisor:
    """Keeps the workers going until told to stop."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self.health = {worker.name: WorkerHealth() for worker in workers}

    def wake(self) -> None:
        """Pull every worker's trigger: after a person acted, or the configuration changed."""
        for worker in self._workers:
            worker.trigger.pull()

    async def run(self, stopping: asyncio.Event) -> None:
        """Run until `stopping` is set, then stop every worker."""
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            worker.trigger.bind(loop)
        tasks = [asyncio.create_task(self._keep_going(worker), name=worker.name) for worker in self._workers]
        await stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for worker in self._workers:
            await worker.stop()

    async def _keep_going(self, worker: Worker) -> None:
        health = self.health[worker.name]
        while True:
            try:
                due_in = await worker.step()
            except Exception as error:
                health.failures += 1
                health.reason = in_words(error)
                due_in = FAILURE_DELAYS[min(health.failures, len(FAILURE_DELAYS)) - 1]
                log.exception("a step failed and is tried again", worker=worker.name, seconds=due_in)
                await asyncio.sleep(due_in)
                continue
            if health.failures:
                log.info("works again", worker=worker.name, after_failures=health.failures)
            health.failures, health.reason = 0, None
            await worker.trigger.wait(POLL_INTERVAL if due_in is None else min(POLL_INTERVAL, max(0.0, due_in)))
