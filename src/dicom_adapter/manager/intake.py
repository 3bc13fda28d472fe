"""Takes up associations that ended: from the spool into rows and batches (hand-over 1: in place, no copy).

Crash-safe by order: the spool's marker is durable before we look (D2), the rows and every effect of batching are one
transaction (D3), and an association that has rows is not looked at again. One that cannot be taken up, by our own
fault, holds up no other: its files stay, and each look tries again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from dicom_adapter.clock import Clock
from dicom_adapter.core.batching import AssociationEnded, Effect, transition
from dicom_adapter.core.model import AssociationOutcome, AssociationRecord, Batch, BatchState, Instance
from dicom_adapter.core.retention import set_aside_until
from dicom_adapter.core.snapshot import ClaraAeTitle, ConfigSnapshot
from dicom_adapter.crash_points import crash_point
from dicom_adapter.identifiers import new_id
from dicom_adapter.manager.trigger import Trigger
from dicom_adapter.store import associations, batches
from dicom_adapter.store.database import Database

log = structlog.get_logger("intake")

INTERRUPTED_WORDS = (
    "the adapter stopped while this association was open; what it had acknowledged is safe, but the sender never said "
    "that it was complete. Send the study again, or release the batch as it is"
)
DELETED_WORDS = "Clara AE Title {} is not configured any more: configure it and release the batch, or drop it"


class ClosedAssociations(Protocol):
    """The spool, as far as intake needs it."""

    def closed_associations(self, known: set[str]) -> Iterator[tuple[AssociationRecord, list[Instance]]]:
        """Associations that ended and are not among `known`, oldest first."""
        ...


class Intake:
    """See the module. `on_batch` wakes whoever works on batches."""

    name = "intake"

    def __init__(
        self,
        spool: ClosedAssociations,
        database: Database,
        snapshot: Callable[[], ConfigSnapshot],
        clock: Clock,
        *,
        aborted_retention: float,
        submit_interrupted: bool,
        on_batch: Callable[[], None],
    ) -> None:
        self.trigger = Trigger()
        self._spool = spool
        self._database = database
        self._snapshot = snapshot
        self._clock = clock
        self._aborted_retention = aborted_retention
        self._submit_interrupted = submit_interrupted
        self._on_batch = on_batch
        self._known: set[str] | None = None
        self._refused: set[str] = set()  # ids of associations that could not be taken up
        self._lock = threading.Lock()

    async def step(self) -> float | None:
        if await asyncio.to_thread(self.take_all):
            self._on_batch()
        return None

    async def stop(self) -> None:
        pass

    def take_all(self) -> int:
        """Take up every association that has ended; answers how many. Blocking, from any thread."""
        taken = 0
        with self._lock:
            if self._known is None:
                with self._database.read() as connection:
                    self._known = associations.known_ids(connection)
            for record, instances in self._spool.closed_associations(self._known):
                taken += self._take_one(record, instances)
                if record.id not in self._refused:
                    self._known.add(record.id)
        return taken

    def _take_one(self, record: AssociationRecord, instances: list[Instance]) -> bool:
        """False: it could not be taken up. Raises OperationalError: none can, at this moment."""
        try:
            crash_point("intake.before_commit")
            with self._database.write() as connection:
                self._take(connection, record, instances)
            crash_point("intake.after_commit")
        except OperationalError:
            raise
        except Exception:
            if record.id not in self._refused:
                log.exception("an association could not be taken up; its files are kept", association=record.id)
            self._refused.add(record.id)
            return False
        self._refused.discard(record.id)
        return True

    def _take(self, connection: Connection, record: AssociationRecord, instances: list[Instance]) -> None:
        outcome = record.outcome or AssociationOutcome.INTERRUPTED
        called, snapshot = record.called_ae_title, self._snapshot()
        ae_title = snapshot.ae_titles.get(called) or snapshot.retired.get(called)
        collecting = batches.collecting(connection, record.called_ae_title)
        if collecting is not None:
            policy = collecting.policy  # a batch keeps the rules that it began with
        else:
            policy = ae_title or ClaraAeTitle(record.called_ae_title.lower(), record.called_ae_title)
        last = max((instance.received_at for instance in instances), default=0.0)
        ended = transition(
            collecting.deadline if collecting else None,
            AssociationEnded(outcome, len(instances), self._clock.steady_from_wall(last)),
            policy.timeout,
            submit_interrupted=self._submit_interrupted,
        )
        aside = None
        if Effect.SET_ASIDE in ended.effects:
            aside = set_aside_until(record.ended_at or self._clock.now(), self._aborted_retention)
        associations.add(connection, record, instances, set_aside_until=aside)
        batch_id = collecting.id if collecting else new_id()
        for effect in ended.effects:
            self._apply(connection, effect, batch_id, policy, instances, ended.deadline)
        if ae_title is None and Effect.CLOSE_BATCH in ended.effects:
            batches.hold(connection, batch_id, DELETED_WORDS.format(record.called_ae_title))
        log.info(
            "association taken up",
            association=record.id,
            outcome=outcome.value,
            instances=len(instances),
            batch=batch_id if ended.effects and aside is None else None,
        )

    def _apply(
        self,
        connection: Connection,
        effect: Effect,
        batch_id: str,
        policy: ClaraAeTitle,
        instances: list[Instance],
        deadline: float | None,
    ) -> None:
        now = self._clock.now()
        match effect:
            case Effect.OPEN_BATCH:
                batches.open_batch(
                    connection,
                    Batch(batch_id, policy.ae_title, BatchState.COLLECTING, now, policy, deadline=deadline),
                )
            case Effect.ADD_INSTANCES:
                batches.add_instances(connection, batch_id, instances, overwrite=policy.overwrite_same_instance)
                batches.supersede_held(connection, policy.ae_title, instances[0].association_id, batch_id, now)
                if deadline is not None:
                    batches.set_deadline(connection, batch_id, deadline)
            case Effect.CLOSE_BATCH:
                batches.close(connection, batch_id, now)
            case Effect.HOLD_INSTANCES:
                held = Batch(new_id(), policy.ae_title, BatchState.HELD, now, policy, held_reason=INTERRUPTED_WORDS)
                batches.open_batch(connection, held)
                batches.add_instances(connection, held.id, instances, overwrite=policy.overwrite_same_instance)
            case Effect.SET_ASIDE:
                pass  # the association's own row says until when
