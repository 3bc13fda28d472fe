"""Closes batches whose quiet time is over, or whose Clara AE Title is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from dicom_adapter.clock import Clock
from dicom_adapter.core.batching import AeTitleDeleted, Effect, Event, Tick, transition
from dicom_adapter.core.model import Batch
from dicom_adapter.core.snapshot import ConfigSnapshot
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.store import batches
from dicom_adapter.store.database import Database

log = structlog.get_logger("batcher")


class Batcher:
    """See the module.

    `is_open(ae_title)`: whether an association to it goes on. `take_up`: intake, run once more before any verdict.
    """

    name = "batcher"

    def __init__(
        self,
        database: Database,
        snapshot: Callable[[], ConfigSnapshot],
        clock: Clock,
        trigger: Trigger,
        *,
        is_open: Callable[[str], bool],
        take_up: Callable[[], int],
        on_closed: Callable[[], None],
    ) -> None:
        self.trigger = trigger
        self._database = database
        self._snapshot = snapshot
        self._clock = clock
        self._is_open = is_open
        self._take_up = take_up
        self._on_closed = on_closed

    async def step(self) -> float | None:
        closed, next_deadline = await asyncio.to_thread(self._close_due)
        if closed:
            self._on_closed()
        return None if next_deadline is None else next_deadline - self._clock.steady()

    async def stop(self) -> None:
        pass

    def _close_due(self) -> tuple[int, float | None]:
        with self._database.read() as connection:
            collecting = batches.all_collecting(connection)
        # The order matters: an association that is not open any more by now has its marker in the spool, so intake
        # finds it, and its instances move the deadline before the verdict on it.
        still_open = {batch.called_ae_title for batch in collecting if self._is_open(batch.called_ae_title)}
        if collecting:
            self._take_up()
        closed, deadlines = 0, []
        for batch in collecting:
            deadline = self._advance(batch, batch.called_ae_title in still_open)
            if deadline is None:
                closed += 1
            else:
                deadlines.append(deadline)
        return closed, min(deadlines, default=None)

    def _advance(self, batch: Batch, association_open: bool) -> float | None:
        """Apply what is due; answers with the batch's deadline, or None when it is closed."""
        with self._database.write() as connection:
            current = batches.collecting(connection, batch.called_ae_title)  # intake may have moved its deadline
            if current is None or current.id != batch.id:
                return None
            ticked = transition(current.deadline, self._event(current, association_open), current.policy.timeout)
            if Effect.CLOSE_BATCH in ticked.effects:
                batches.close(connection, current.id, self._clock.now())
                log.info("batch closed", batch=current.id, ae_title=current.called_ae_title)
            elif ticked.deadline is not None and ticked.deadline != current.deadline:
                batches.set_deadline(connection, current.id, ticked.deadline)
        return ticked.deadline

    def _event(self, batch: Batch, association_open: bool) -> Event:
        ae_title = self._snapshot().ae_titles.get(batch.called_ae_title)
        if ae_title is None or batch.policy.uid not in ("", ae_title.uid):  # gone, or made again meanwhile
            return AeTitleDeleted()
        return Tick(self._clock.steady(), association_open)
