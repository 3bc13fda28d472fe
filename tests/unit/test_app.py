"""How the adapter ends: the order of it. That it works at all is shown in tests/end_to_end."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from dicom_adapter import app
from dicom_adapter.config.schema import Settings


async def test_no_thread_outlives_the_hold_on_the_storage_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    class Stub:
        def __init__(self, _settings: Settings) -> None:
            pass

        async def serve(self, _stopping: asyncio.Event) -> None:
            begun = threading.Event()
            go_on = threading.Event()

            def work() -> None:
                begun.set()
                go_on.wait(10)
                order.append("a thread wrote")

            task = asyncio.create_task(asyncio.to_thread(work))
            await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            threading.Timer(0.1, go_on.set).start()

        def close(self) -> None:
            order.append("closed")

    monkeypatch.setattr(app, "Adapter", Stub)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    await app._run(Settings())
    assert order == ["a thread wrote", "closed"]
