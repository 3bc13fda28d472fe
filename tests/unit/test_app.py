"""How the adapter ends: the order of it. That it works at all is shown in tests/end_to_end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
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


_HANGS = """
import asyncio, sys, threading
from dicom_adapter import app
from dicom_adapter.config.schema import Settings

class Stub:
    def __init__(self, settings):
        pass

    async def serve(self, stopping):
        if sys.argv[1] == "ours":
            asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
        else:
            threading.Thread(target=threading.Event().wait).start()
        print("ready", flush=True)
        await stopping.wait()

    def close(self):
        pass

app.Adapter, app.STOP_MARGIN = Stub, 0.2
sys.exit(app.run(Settings(dicom={'scp': {'shutdown-grace': 0}})))
"""


@pytest.mark.parametrize(("whose", "status"), [("ours", app.EXIT_FAILED), ("a plug-in's", app.EXIT_OK)])
def test_a_thread_that_hangs_does_not_keep_it_from_ending(whose: str, status: int) -> None:
    command = [sys.executable, "-c", _HANGS, whose]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as adapter:
        try:
            assert adapter.stdout is not None
            assert adapter.stdout.readline() == "ready\n"
            adapter.terminate()
            _, log = adapter.communicate(timeout=20)
        finally:
            adapter.kill()
    assert (adapter.returncode, "did not stop in time" in log) == (status, status == app.EXIT_FAILED)
