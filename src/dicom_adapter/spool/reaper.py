"""Removes what retention allows from `spool/new/`; `hold/` and `corrupt/` it does not know.

Why here: *whether* something may go is the business of `core/retention`; this is *in which order*, so that a crash in
between leaves something that the next call finishes: instances first, the outcome marker last. A folder that has its
marker is never mistaken for an interrupted association.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from dicom_adapter.core.model import AssociationOutcome
from dicom_adapter.spool.layout import checked_id, instance_name
from dicom_adapter.spool.state import Durability, SpoolState

_MARKERS = frozenset(AssociationOutcome)


def remove_association(state: SpoolState, association_id: str) -> None:
    """Remove an association that ended, with all its instances (S7). Does nothing when it is gone.

    ValueError: it has not ended. OSError: the system cannot; call again.
    """
    _check_ended(state, association_id)
    fs = state.fs
    try:
        folder = fs.open_directory(association_id, state.new)
    except FileNotFoundError:
        return
    try:
        for name in sorted(fs.names(folder), key=_MARKERS.__contains__):
            fs.unlink(name, folder)
    finally:
        fs.close(folder)
    fs.remove_directory(association_id, state.new)
    if state.durability is not Durability.NONE:
        state.sync(state.new)  # rows say "removed" next: a power cut must not bring the folder back


def remove_instances(state: SpoolState, association_id: str, numbers: Iterable[int]) -> None:
    """Remove single instances of an association that ended. Those that are gone do not matter.

    ValueError: it has not ended. OSError: the system cannot; call again.
    """
    _check_ended(state, association_id)
    try:
        folder = state.fs.open_directory(association_id, state.new)
    except FileNotFoundError:
        return
    try:
        for number in numbers:
            with suppress(FileNotFoundError):
                state.fs.unlink(instance_name(number), folder)
    finally:
        state.fs.close(folder)


def _check_ended(state: SpoolState, association_id: str) -> None:
    if checked_id(association_id) in state.live:
        raise ValueError("the association has not ended: its files are in use")
