"""What the SCP is doing at this instant, and what it has done since it started: for status pages, batching and metrics.

Each open association is written by its own thread only; everything else goes through the one lock here.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dicom_adapter.core.model import AssociationRecord


@dataclass(slots=True)
class OpenAssociation:
    """An association that is open now. Times are seconds since the epoch, `bytes` those of its stored files."""

    record: AssociationRecord
    instances: int = 0
    bytes: int = 0
    failures: int = 0
    ignored: int = 0
    last_activity: float = 0.0


class Places:
    """The open associations and the counters. How many places there are is the caller's policy."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._open: dict[str, OpenAssociation] = {}
        self._counters: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def take(self, association: OpenAssociation) -> None:
        """Add an association. The caller holds `lock`, so that its decision and this are one step."""
        self._open[association.record.id] = association
        self._counters["associations_accepted"] += 1

    def leave(self, association: OpenAssociation, outcome: str) -> None:
        """Remove an association that ended so."""
        with self.lock:
            self._open.pop(association.record.id, None)
            self._counters[f"associations_{outcome}"] += 1
            _add(self._counters, association)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter. Names are ours, never received text."""
        with self.lock:
            self._counters[name] += amount

    def counters(self) -> Mapping[str, int]:
        """A copy of every counter, with what the open associations did so far."""
        with self.lock:
            counters = self._counters.copy()
            for association in self._open.values():
                _add(counters, association)
            return dict(counters)

    def open_associations(self) -> list[OpenAssociation]:
        """A copy of what is open, oldest first."""
        with self.lock:
            return [replace(association) for association in self._open.values()]

    def is_open_to(self, called_ae_title: str) -> bool:
        """Whether an association to this AE Title is open: its batch must wait for it."""
        with self.lock:
            return any(association.record.called_ae_title == called_ae_title for association in self._open.values())


def _add(counters: Counter[str], association: OpenAssociation) -> None:
    counters["instances"] += association.instances
    counters["instances_ignored"] += association.ignored
    counters["bytes"] += association.bytes
