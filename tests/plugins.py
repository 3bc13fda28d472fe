"""Processors for tests of the whole adapter, named as `tests.plugins:...`."""

from __future__ import annotations

import asyncio
import threading

from dicom_adapter.core.model import Batch
from dicom_adapter.core.ports import ProcessorContext


class Hanging:
    """Its blocking work never ends."""

    async def process(self, _batch: Batch, _context: ProcessorContext) -> None:
        await asyncio.to_thread(threading.Event().wait)
