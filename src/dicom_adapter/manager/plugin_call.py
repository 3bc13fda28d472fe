"""One call of a plug-in, in an event loop and threads of its own: what hangs there holds none of the adapter's.

No thread can be ended from outside. So a call that ends neither in time nor when it is canceled is left behind, in a
thread that keeps no process alive; the caller counts those.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor

from dicom_adapter.core.errors import TemporaryError

CANCEL_GRACE = 1.0  # seconds for a call that is canceled to end


class PluginCall:
    """Begins when it is made, and has ended when its coroutine and all that it gave to `asyncio.to_thread` have."""

    def __init__(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._outcome: Future[None] = Future()
        self._outcome.set_running_or_notify_cancel()  # nobody cancels it but `_cancel`
        self._task: asyncio.Task[None] | None = None
        self._canceled: str | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def ended(self) -> bool:
        return self._outcome.done()

    async def wait(self, seconds: float) -> None:
        """Wait until it ends, at most so long; then, or when the caller is canceled, it is canceled.

        Raises what it raised; TemporaryError: it did not end in time, and may still run (`ended`).
        """
        outcome = asyncio.wrap_future(self._outcome)
        try:
            await asyncio.wait({outcome}, timeout=seconds)
        finally:
            if not outcome.done():
                late = f"it did not end within {seconds:g} s"
                self._cancel(late)
                await asyncio.wait({outcome}, timeout=CANCEL_GRACE)
                if not outcome.cancel():
                    outcome.exception()  # a caller that is canceled never asks, and asyncio would complain
        if outcome.cancelled():
            raise TemporaryError(f"{late} and still runs")
        outcome.result()

    def _run(self) -> None:
        try:
            # Both wait for their threads at their end, the runner from Python 3.12 on for a while only.
            with ThreadPoolExecutor() as threads, asyncio.Runner() as runner:
                runner.get_loop().set_default_executor(threads)
                runner.run(self._main())
        except asyncio.CancelledError:
            self._outcome.set_exception(TemporaryError(self._canceled or "it canceled itself"))
        except Exception as error:
            self._outcome.set_exception(error)
        except BaseException as error:  # SystemExit: it would end the adapter
            self._outcome.set_exception(TemporaryError(f"it raised {type(error).__name__}"))
        else:
            self._outcome.set_result(None)

    async def _main(self) -> None:
        self._task = asyncio.current_task()
        if self._canceled is None:
            await self._work()
        else:  # before there was a task
            raise asyncio.CancelledError

    def _cancel(self, why: str) -> None:
        self._canceled = why
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: threads are waited for
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
