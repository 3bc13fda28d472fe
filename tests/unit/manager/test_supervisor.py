"""The supervisor: a step that fails is tried again, triggers coalesce, and a stop stops."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dicom_adapter.manager import supervisor as module
from dicom_adapter.manager.supervisor import Supervisor
from dicom_adapter.manager.trigger import Trigger


class Counter:
    """A worker that counts its steps, and fails as often as it is told."""

    name = "counter"

    def __init__(self, failures: int = 0) -> None:
        self.trigger = Trigger()
        self.steps = 0
        self.stopped = False
        self._failures = failures
        self.stepped = asyncio.Event()

    async def step(self) -> float | None:
        self.steps += 1
        self.stepped.set()
        if self.steps <= self._failures:
            raise RuntimeError("not yet")
        return None

    async def stop(self) -> None:
        self.stopped = True


async def running(worker: Counter) -> tuple[Supervisor, asyncio.Event, asyncio.Task[None]]:
    stopping = asyncio.Event()
    supervisor = Supervisor([worker])
    return supervisor, stopping, asyncio.create_task(supervisor.run(stopping))


async def step_of(worker: Counter) -> None:
    async with asyncio.timeout(10):
        await worker.stepped.wait()
    worker.stepped.clear()


async def test_a_pull_from_another_thread_makes_a_step() -> None:
    worker = Counter()
    _, stopping, task = await running(worker)
    await step_of(worker)
    thread = threading.Thread(target=worker.trigger.pull)
    thread.start()
    await step_of(worker)
    thread.join()
    assert worker.steps == 2
    stopping.set()
    await task
    assert worker.stopped


async def test_a_failing_step_is_tried_again_and_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FAILURE_DELAYS", (0.0, 0.01))
    worker = Counter(failures=3)
    supervisor, stopping, task = await running(worker)
    for _ in range(3):
        await step_of(worker)
        health = supervisor.health["counter"]
        async with asyncio.timeout(10):
            while health.reason is None:  # the supervisor notes it after the step
                await asyncio.sleep(0)
        assert health.reason == "RuntimeError (the log says where)"
    await step_of(worker)
    async with asyncio.timeout(10):
        while health.failures:
            await asyncio.sleep(0)
    assert (worker.steps, health.reason) == (4, None)
    stopping.set()
    await task


async def test_a_lost_trigger_costs_latency_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.01)
    worker = Counter()
    _, stopping, task = await running(worker)
    for _ in range(3):
        await step_of(worker)
    stopping.set()
    await task


async def test_many_pulls_are_one_wake_up() -> None:
    trigger = Trigger()
    trigger.bind(asyncio.get_running_loop())
    for _ in range(5):
        trigger.pull()
    await trigger.wait(10)
    before = asyncio.get_running_loop().time()
    await trigger.wait(0.02)  # nothing left: only the time-out ends it
    assert asyncio.get_running_loop().time() - before >= 0.015


def test_a_pull_after_the_loop_has_ended_does_nothing() -> None:
    trigger = Trigger()

    async def bind() -> None:
        trigger.bind(asyncio.get_running_loop())

    asyncio.run(bind())
    trigger.pull()
