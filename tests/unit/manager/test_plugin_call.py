"""A plug-in's call: what it hands back, and that it can be left behind."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest

from dicom_adapter.core.errors import PermanentError, TemporaryError
from dicom_adapter.manager import plugin_call
from dicom_adapter.manager.plugin_call import PluginCall
from tests.waiting import eventually


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Ends what hangs, at the latest at the end of the test."""
    monkeypatch.setattr(plugin_call, "CANCEL_GRACE", 0.05)
    event = threading.Event()
    yield event
    event.set()


async def test_it_runs_in_a_loop_and_threads_of_its_own() -> None:
    ours = asyncio.get_running_loop(), threading.current_thread()
    theirs: list[object] = []

    async def work() -> None:
        theirs.extend([asyncio.get_running_loop(), threading.current_thread()])
        await asyncio.to_thread(lambda: theirs.append(threading.current_thread()))

    call = PluginCall("a test", work)
    await call.wait(10)
    assert len({*ours, *theirs}) == 5
    assert call.ended


async def _exit() -> None:
    sys.exit("a plug-in")


async def _cancel_itself() -> None:
    raise asyncio.CancelledError


async def _refuse() -> None:
    raise PermanentError("no")


@pytest.mark.parametrize(
    ("work", "kind", "words"),
    [
        (_refuse, PermanentError, "no"),
        (_exit, TemporaryError, "it raised SystemExit"),
        (_cancel_itself, TemporaryError, "it canceled itself"),
    ],
)
async def test_what_it_raises(work: Callable[[], Awaitable[None]], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        await PluginCall("a test", work).wait(10)


async def test_one_that_takes_too_long_is_canceled() -> None:
    tidied = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            tidied.set()

    call = PluginCall("a test", work)
    with pytest.raises(TemporaryError, match=r"did not end within 0\.05 s$"):
        await call.wait(0.05)
    assert (tidied.is_set(), call.ended) == (True, True)


@pytest.mark.parametrize("in_a_thread", [True, False])
async def test_one_that_blocks_is_left_behind(release: threading.Event, *, in_a_thread: bool) -> None:
    async def work() -> None:
        if in_a_thread:
            await asyncio.to_thread(release.wait)
        else:
            release.wait()

    call = PluginCall("a test", work)
    with pytest.raises(TemporaryError, match=r"did not end within 0\.05 s and still runs"):
        await call.wait(0.05)
    release.set()
    await asyncio.to_thread(eventually, lambda: call.ended)


async def test_one_whose_caller_is_canceled_is_canceled() -> None:
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    call = PluginCall("a test", work)
    waiting = asyncio.create_task(call.wait(10))
    await asyncio.to_thread(begun.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert call.ended
