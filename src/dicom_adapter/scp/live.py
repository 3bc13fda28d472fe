"""What the SCP is doing at this instant, and what it has done since it started: for status pages, batching and metrics.

Each open association is written by its own thread only; everything else goes through the one lock here.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from dicom_adapter.core.model import NOTHING_REFUSED, AssociationOutcome, AssociationRecord, Refused

MOST_REJECTIONS: Final = 200


@dataclass(slots=True)
class OpenAssociation:
    """An association that is open now. Times are seconds since the epoch, `bytes` those of its stored files."""

    record: AssociationRecord
    instances: int = 0
    bytes: int = 0
    refused: Refused = NOTHING_REFUSED
    ignored: int = 0
    last_activity: float = 0.0


class Rejection(NamedTuple):
    """Who was turned away, and how: `answer` is an A-ASSOCIATE-RJ, or the status of a C-STORE-RSP, in words."""

    calling_ae_title: str
    called_ae_title: str
    peer_host: str
    answer: str
    why: str


@dataclass(slots=True)
class Rejections:
    """How often the same happened. Times are seconds since the epoch."""

    rejection: Rejection
    first_at: float
    last_at: float
    times: int


class Register(Protocol):
    """Where associations come in and go out: the `Places` of this process, or of the one that started us."""

    def take(self, association: OpenAssociation, most: int) -> bool:
        """Add an association; False when `most` are open already."""
        ...

    def leave(self, association: OpenAssociation, outcome: str) -> None:
        """Remove an association that ended so. When it returns its place is free, and batching knows."""
        ...

    def reject(self, rejection: Rejection, at: float) -> None:
        """Remember who was turned away, at that time in seconds since the epoch."""
        ...

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter. Names are ours, never received text."""
        ...


class Places:
    """The open associations and the counters. `on_leave`: told that an association has ended: a hint."""

    def __init__(self, on_leave: Callable[[], None] = lambda: None) -> None:
        self._on_leave = on_leave
        self._lock = threading.Lock()
        self._open: dict[str, OpenAssociation] = {}
        self._counters: Counter[str] = Counter()
        self._rejections: dict[Rejection, Rejections] = {}  # the latest last

    def __len__(self) -> int:
        return len(self._open)

    def take(self, association: OpenAssociation, most: int) -> bool:
        """See `Register`. Looking and taking are one step."""
        with self._lock:
            if len(self._open) >= most:
                return False
            self._open[association.record.id] = association
            self._counters["associations_accepted"] += 1
            return True

    def leave(self, association: OpenAssociation, outcome: str) -> None:
        """See `Register`. `association`: with its last numbers."""
        with self._lock:
            self._open.pop(association.record.id, None)
            self._counters[f"associations_{outcome}"] += 1
            _add(self._counters, association)
        self._on_leave()

    def reject(self, rejection: Rejection, at: float) -> None:
        """See `Register`. However many different ones a peer invents, only the latest are kept."""
        with self._lock:
            known = self._rejections.pop(rejection, None)
            if known is None:
                known = Rejections(rejection, at, at, 0)
            self._rejections[rejection] = replace(known, last_at=at, times=known.times + 1)
            if len(self._rejections) > MOST_REJECTIONS:
                del self._rejections[next(iter(self._rejections))]

    def count(self, name: str, amount: int = 1) -> None:
        """See `Register`."""
        with self._lock:
            self._counters[name] += amount

    def lose(self, association_id: str) -> None:
        """The process that served an association died: it counts as interrupted, with what it last told."""
        with self._lock:
            association = self._open.get(association_id)
        if association is not None:
            self.leave(association, AssociationOutcome.INTERRUPTED.value)

    def changed(self) -> None:
        """An outcome became durable after its association had left."""
        self._on_leave()

    def update(self, association: OpenAssociation) -> None:
        """Take over what an open association did, as another process tells it."""
        with self._lock:
            if association.record.id in self._open:
                self._open[association.record.id] = association

    def counters(self) -> Mapping[str, int]:
        """A copy of every counter, with what the open associations did so far."""
        with self._lock:
            counters = self._counters.copy()
            for association in self._open.values():
                _add(counters, association)
            return dict(counters)

    def rejections(self) -> list[Rejections]:
        """Who was turned away since the start, the latest first."""
        with self._lock:
            return list(reversed(self._rejections.values()))

    def open_associations(self) -> list[OpenAssociation]:
        """A copy of what is open, oldest first."""
        with self._lock:
            return [replace(association) for association in self._open.values()]

    def is_open_to(self, called_ae_title: str) -> bool:
        """Whether an association to this AE Title is open: its batch must wait for it."""
        with self._lock:
            return any(association.record.called_ae_title == called_ae_title for association in self._open.values())


def _add(counters: Counter[str], association: OpenAssociation) -> None:
    counters["instances"] += association.instances
    counters["instances_ignored"] += association.ignored
    counters["bytes"] += association.bytes
