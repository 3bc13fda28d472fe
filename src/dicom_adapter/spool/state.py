"""What the parts of one open spool share: its directories, its promise, its health, and which associations are open.

Why here: writer, scanner and reaper need the same descriptors, and none of them should need the others.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from dicom_adapter.core.errors import OutOfResources
from dicom_adapter.spool.fs import FileSystem

if TYPE_CHECKING:
    from dicom_adapter.spool.writer import AssociationSpool

# A full volume says nothing about its health: with space again, the next attempt works.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_ADVICE: Final = {
    errno.ENOSPC: "the volume of the storage folder is full: free some space",
    errno.EDQUOT: "the disk quota of the storage folder is used up: raise it or free some space",
    errno.EROFS: "the volume of the storage folder is read-only: look at the system's log for why, and mount it again",
    errno.EIO: "the disk of the storage folder reports an error: look at the system's log",
    errno.EMFILE: "too many open files: raise the limit of open files of the adapter's service",
}


class Durability(StrEnum):
    """`storage.durability`: what C-STORE-RSP Success and A-RELEASE-RP promise (`docs/spool.md`)."""

    INSTANCE = "instance"  # Success: the instance survives a power cut
    ASSOCIATION = "association"  # A-RELEASE-RP: all its instances do
    NONE = "none"  # everything survives the death of the adapter; what a power cut spares is up to the system


@dataclass(slots=True)
class SpoolState:
    """Descriptors of `spool/tmp`, `spool/new` and `spool/corrupt`, and what is known of them.

    `live`: ids of associations whose outcome is not durable; set operations on it are atomic, so threads share it.
    `unfinished`: those that have ended, but whose outcome could not be written yet.
    `unadopted`: those of an earlier process that could not be looked at yet.
    `fault`: why the disk is not trusted, or None. `tell_owner`: what a worker process does instead of keeping it.
    """

    fs: FileSystem
    durability: Durability
    tmp: int
    new: int
    corrupt: int
    live: set[str] = field(default_factory=set)
    unfinished: set[AssociationSpool] = field(default_factory=set)
    unadopted: set[str] = field(default_factory=set)
    fault: str | None = None
    tell_owner: Callable[[str], None] | None = None

    def sync(self, file: int) -> None:
        """fsync. Any failure but lack of space makes the spool unhealthy until a probe succeeds."""
        try:
            self.fs.sync(file)
        except OSError as error:
            if error.errno not in _FULL:
                self._distrust(explain("sync a file in", error))
            raise

    def _distrust(self, why: str) -> None:
        if self.tell_owner is None:
            self.fault = why
        else:
            self.tell_owner(why)


def explain(attempt: str, error: OSError) -> str:
    """What failed and what to do, for an administrator."""
    advice = _ADVICE.get(error.errno or 0)
    words = error.strerror or "unknown error"
    return f"cannot {attempt} the spool ({words})" + (f"; {advice}" if advice else "")


def out_of_resources(attempt: str, error: OSError) -> OutOfResources:
    return OutOfResources(explain(attempt, error))
