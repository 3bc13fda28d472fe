"""When associations become a batch: a pure machine (`docs/architecture.md`, "Batching").

Timeout 0: each released association is a batch of its own. Timeout T: released associations to one Clara AE Title
join one batch, which closes when no instance has arrived for T seconds *and* no association to that AE Title is still
open. The specification is silent about an association that is open at the deadline, and
about an aborted one with a timeout; our two readings (wait for it; never let it join) stand in the conformance
statement. A closed batch never re-opens: whatever comes later starts a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from dicom_adapter.core.model import AssociationOutcome


class Effect(Enum):
    """What intake and batcher do to the store, in one transaction and in this order."""

    OPEN_BATCH = auto()
    ADD_INSTANCES = auto()
    CLOSE_BATCH = auto()
    HOLD_INSTANCES = auto()  # in a held batch of their own: acknowledged, but the association never ended
    SET_ASIDE = auto()  # keep for storage.aborted-retention, then remove


@dataclass(frozen=True, slots=True)
class AssociationEnded:
    """An association is over. `last_instance_at`: seconds, on the clock of the deadlines."""

    outcome: AssociationOutcome
    instances: int
    last_instance_at: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. `association_open`: an association to this AE Title goes on."""

    now: float
    association_open: bool = False


@dataclass(frozen=True, slots=True)
class AeTitleDeleted:
    """The Clara AE Title is no longer configured: what was collected is submitted, not lost."""


Event = AssociationEnded | Tick | AeTitleDeleted


@dataclass(frozen=True, slots=True)
class Transition:
    """`deadline`: of the batch that is collecting afterwards, or None when none is."""

    deadline: float | None
    effects: tuple[Effect, ...] = ()


def transition(deadline: float | None, event: Event, timeout: float, *, submit_interrupted: bool = False) -> Transition:
    """The next state of one Clara AE Title's collecting batch.

    `deadline` is None when no batch collects. `timeout` is that of the AE Title, in seconds.
    `submit_interrupted`: treat associations that our own crash cut as released (`storage.interrupted: submit`).
    """
    match event:
        case AssociationEnded(instances=0):
            return Transition(deadline)
        case AssociationEnded(outcome=AssociationOutcome.ABORTED):
            return Transition(deadline, (Effect.SET_ASIDE,))
        case AssociationEnded(outcome=AssociationOutcome.INTERRUPTED) if not submit_interrupted:
            return Transition(deadline, (Effect.HOLD_INSTANCES,))
        case AssociationEnded(last_instance_at=last):
            return _released(deadline, last, timeout)
        case Tick(now=now, association_open=is_open):
            if deadline is None or now < deadline:
                return Transition(deadline)
            if is_open:
                return Transition(now + timeout)
            return Transition(None, (Effect.CLOSE_BATCH,))
        case AeTitleDeleted():
            return Transition(None, () if deadline is None else (Effect.CLOSE_BATCH,))


def _released(deadline: float | None, last_instance_at: float, timeout: float) -> Transition:
    if deadline is not None:  # also when the timeout was set to 0 meanwhile: the next tick closes it
        return Transition(max(deadline, last_instance_at + timeout), (Effect.ADD_INSTANCES,))
    if timeout <= 0:
        return Transition(None, (Effect.OPEN_BATCH, Effect.ADD_INSTANCES, Effect.CLOSE_BATCH))
    return Transition(last_instance_at + timeout, (Effect.OPEN_BATCH, Effect.ADD_INSTANCES))
