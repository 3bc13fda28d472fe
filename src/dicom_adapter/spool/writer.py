"""How an instance gets into the spool: write, fsync, rename, fsync the folder; and how an association's outcome does.

Why here: the order of these few system calls *is* the promise of C-STORE-RSP Success (PS3.4 B.2.2), so it is one page.
An AssociationSpool and its writers belong to the one thread that serves the association.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from dicom_adapter.core.errors import OutOfResources
from dicom_adapter.core.model import NOTHING_REFUSED, AssociationOutcome, AssociationRecord, Instance, Refused
from dicom_adapter.crash_points import crash_point
from dicom_adapter.spool import records
from dicom_adapter.spool.layout import ENVELOPE, INDEX, checked_id, instance_name, part_name
from dicom_adapter.spool.state import Durability, SpoolState, explain, out_of_resources

log = structlog.get_logger("spool")

_INDEX_BUFFER: Final = 256  # instances whose lines are kept back: after a crash their heads are read again
_CLOSED: Final = -1  # no descriptor


class InstanceFacts(NamedTuple):
    """What the receiver knows of an instance when its last byte is written. `received_at`: seconds since the epoch."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str | None
    series_instance_uid: str | None
    transfer_syntax_uid: str
    received_at: float


class _End(NamedTuple):
    """How an association ended."""

    outcome: AssociationOutcome
    at: float  # seconds since the epoch
    refused: Refused


class SpoolWriter:
    """One instance in progress (S1). Ends with `commit` or `discard`; both may follow an error, and `discard` both.

    `fd`: the open file, for splice(2); `size`: bytes written so far; who splices adds those.
    """

    __slots__ = ("_association", "_file_meta", "_fs", "_number", "fd", "size")

    def __init__(self, association: AssociationSpool, number: int, fd: int, file_meta: bytes) -> None:
        self._association = association
        self._fs = association.state.fs
        self._number = number
        self._file_meta = file_meta  # goes with what is written first
        self.fd = fd
        self.size = len(file_meta)

    def write(self, fragment: bytes | memoryview) -> None:
        """Append; OutOfResources when the system cannot, and then the instance is gone already."""
        if self.fd == _CLOSED:
            raise _given_up()
        try:
            self._fs.write(self.fd, fragment, self._file_meta)
            self._file_meta = b""
        except OSError as error:
            self.discard()
            raise out_of_resources("write to", error) from error
        self.size += len(fragment)

    def commit(self, facts: InstanceFacts) -> Instance:
        """Make it the association's next instance: durable, under its final name, when this returns (D1).

        OutOfResources: it is not, nothing of it is left, and later attempts start afresh.
        """
        if self.fd == _CLOSED:
            raise _given_up()
        try:
            if self._file_meta:
                self.write(b"")
            if self._fs.size(self.fd) != self.size:
                raise OutOfResources("a file in the spool does not have the bytes that were written to it")
            crash_point("spool.after_write")
            return self._association.take(self, self._number, facts)
        except OSError as error:
            raise out_of_resources("store an instance in", error) from error
        finally:
            self.discard()

    def close_file(self) -> None:
        """Close the file while it can still be dropped: some file systems tell only now that they had no space."""
        fd, self.fd = self.fd, _CLOSED
        self._fs.close(fd)

    def discard(self) -> None:
        """Leave no trace of it. After `commit` there is nothing to discard."""
        if self.fd != _CLOSED:
            with suppress(OSError):
                self.close_file()
        self._association.let_go(self)


def _given_up() -> OutOfResources:
    return OutOfResources("the instance was given up before, for want of space or a write error")


class AssociationSpool:
    """The instances of one association. Nothing is on disk before the first `create`, nothing remains without a commit.

    `committed`, `bytes`: instances that are durable, and their size.
    """

    def __init__(self, state: SpoolState, record: AssociationRecord) -> None:
        self.id = checked_id(record.id)
        self.state = state
        self.committed = 0
        self.bytes = 0
        self._record = record
        self._fs = state.fs
        self._tmp = _CLOSED
        self._new = _CLOSED
        self._anchored = False  # new/<assoc> and its envelope are durable
        self._number = 0  # of the last file begun
        self._prepared = _CLOSED  # the file of the next one, made before its first byte came
        self._writer: SpoolWriter | None = None
        self._uncommitted = ""  # the name in tmp/<assoc> that `let_go` has to remove
        self._numbers: list[int] = []  # committed, not synced (Durability.ASSOCIATION)
        self._index = _CLOSED
        self._unlisted: list[Instance] = []  # committed, not in the index yet
        self._broken: str | None = None
        self._end: _End | None = None
        self._left = False
        self._closing = threading.Lock()
        state.live.add(self.id)

    def create(self, file_meta: bytes) -> SpoolWriter:
        """Begin an instance whose file starts with `file_meta`. OutOfResources when the system cannot."""
        if self._broken is not None:
            raise OutOfResources(self._broken)
        if self._writer is not None:
            self._writer.discard()
        try:
            if self._tmp == _CLOSED:
                self._tmp = self._make_directory(self.state.tmp)
            fd = self._take_prepared()
        except OSError as error:
            raise out_of_resources("create a file in", error) from error
        self._uncommitted = part_name(self._number)
        self._writer = SpoolWriter(self, self._number, fd, file_meta)
        return self._writer

    def prepare(self) -> None:
        """The peer is told of the last instance, and we have time: make the file of the next one."""
        if len(self._unlisted) >= _INDEX_BUFFER:
            self._flush_index()
        if self._prepared == _CLOSED and self._writer is None and self._tmp != _CLOSED and self._broken is None:
            with suppress(OSError):  # `create` tries again, and says why it cannot
                self._prepared = self._fs.create(part_name(self._number + 1), self._tmp)

    def _take_prepared(self) -> int:
        """The next file; the number is used from here on."""
        if self._prepared == _CLOSED:
            fd = self._fs.create(part_name(self._number + 1), self._tmp)
        else:
            fd, self._prepared = self._prepared, _CLOSED
        self._number += 1
        return fd

    def _drop_prepared(self) -> None:
        if self._prepared != _CLOSED:
            fd, self._prepared = self._prepared, _CLOSED
            self._close_file(fd)
            self._remove(part_name(self._number + 1), self._tmp)

    def take(self, writer: SpoolWriter, number: int, facts: InstanceFacts) -> Instance:
        """The commit of `writer`: what is between its last byte and D1. OSError: the system cannot."""
        durability = self.state.durability
        if durability is Durability.INSTANCE:
            self.state.sync(writer.fd)
        elif durability is Durability.ASSOCIATION:
            self._fs.start_writeback(writer.fd)
        crash_point("spool.after_fsync")
        writer.close_file()
        if self._index == _CLOSED:
            self._open_folder()
        name = instance_name(number)
        self._fs.rename(self._uncommitted, self._tmp, name, self._new)
        self._uncommitted = ""
        crash_point("spool.after_rename")
        if durability is Durability.INSTANCE:
            self._sync_folder(name)
        crash_point("spool.after_dir_fsync")
        instance = Instance(
            self.id,
            number,
            facts.sop_class_uid,
            facts.sop_instance_uid,
            facts.study_instance_uid,
            facts.series_instance_uid,
            facts.transfer_syntax_uid,
            writer.size,
            facts.received_at,
        )
        self.committed += 1
        self.bytes += writer.size
        if durability is Durability.ASSOCIATION:
            self._numbers.append(number)
        self._unlisted.append(instance)
        return instance

    def let_go(self, writer: SpoolWriter) -> None:
        """`writer` is closed: remove what it left in tmp/."""
        if self._writer is writer:
            self._writer = None
            if self._uncommitted:
                self._remove(self._uncommitted, self._tmp)
                self._uncommitted = ""

    def close(self, outcome: AssociationOutcome, ended_at: float, refused: Refused = NOTHING_REFUSED) -> bool:
        """The association ended: make its outcome durable (D2). False when it committed nothing: no trace is left.

        OutOfResources: the outcome is not durable, so the peer must not be told. `Spool.finish_outcomes` tries again.
        The first call decides the outcome; another one, from any thread, only helps it along.
        """
        with self._closing:
            if self._end is None:
                self._end = _End(outcome, ended_at, refused)
                if self._writer is not None:
                    self._writer.discard()
                self._drop_prepared()
            if not self._left:
                if self.committed:
                    self._conclude(self._end)
                else:
                    self._remove_traces()
                self._leave()
            return self.committed > 0

    def finish(self) -> None:
        """Try again to write the outcome that `close` could not. OutOfResources: still not."""
        if self._end is not None:
            self.close(*self._end)

    # From the association's first commit on

    def _open_folder(self) -> None:
        """Make new/<assoc> with its envelope and an empty index. May be tried again after a failure half-way."""
        if self._new == _CLOSED:
            self._new = self._make_directory(self.state.new)
        envelope = self._new_file(ENVELOPE, self._tmp)
        try:
            self._fs.write(envelope, records.envelope(self._record))
            if self.state.durability is Durability.INSTANCE:
                self.state.sync(envelope)
        finally:
            self._fs.close(envelope)
        self._fs.rename(ENVELOPE, self._tmp, ENVELOPE, self._new)
        self._index = self._fs.open_to_append(INDEX, self._new)

    def _sync_folder(self, name: str) -> None:
        """Make the name of a committed instance durable, or take it back."""
        try:
            self.state.sync(self._new)
            if not self._anchored:
                self.state.sync(self.state.new)
                self._anchored = True
        except OSError as error:
            # Entries that the system gave up writing may look clean from now on, and a later fsync of this folder
            # would call them good: so there is no later one for an instance of this association.
            self._broken = explain("store more of this association in", error)
            self._remove(name, self._new)
            raise

    def _flush_index(self) -> None:
        """Write the lines kept back. The index is a cache: what it lacks is read from the files themselves."""
        try:
            self._fs.write(self._index, records.index_line(self._unlisted))
        except OSError as error:
            log.warning("index of an association not written", association=self.id, reason=explain("write to", error))
        self._unlisted.clear()

    # At its end

    def _conclude(self, end: _End) -> None:
        self._flush_index()
        crash_point("spool.before_marker")
        try:
            if self.state.durability is Durability.ASSOCIATION and end.outcome is AssociationOutcome.RELEASED:
                self._sync_instances(end)
            self._write_marker(end)
        except OSError as error:
            self.state.unfinished.add(self)
            raise out_of_resources("write the outcome of an association to", error) from error
        self.state.unfinished.discard(self)
        crash_point("spool.after_marker")

    def _write_marker(self, end: _End) -> None:
        marker = self._new_file(end.outcome, self._new)
        try:
            # Not synced by itself: the marker is its name, and a torn content only loses the exact time.
            self._fs.write(marker, records.marker(records.Marker(end.at, self.committed, end.refused)))
        finally:
            self._fs.close(marker)
        if self.state.durability is not Durability.NONE:
            self.state.sync(self._new)
            if not self._anchored:
                self.state.sync(self.state.new)

    def _sync_instances(self, end: _End) -> None:
        """Durability.ASSOCIATION: everything that Success was said for, before the release is answered."""
        try:
            for number in self._numbers:
                self._sync_file(instance_name(number))
            self._sync_file(ENVELOPE)
        except OSError:
            # What a failed fsync was to write may be lost, and the next fsync would not say so. So this association
            # never goes on by itself: it ends as one that we broke, and a person decides.
            self._end = end._replace(outcome=AssociationOutcome.INTERRUPTED)
            raise
        self._numbers.clear()

    def _sync_file(self, name: str) -> None:
        file = self._fs.open_to_read(name, self._new)
        try:
            self.state.sync(file)
        finally:
            self._fs.close(file)

    def _remove_traces(self) -> None:
        """Nothing was committed: whatever a failed first commit left goes."""
        if self._tmp != _CLOSED:
            self._remove(ENVELOPE, self._tmp)
        if self._new != _CLOSED:
            self._remove(ENVELOPE, self._new)
            self._remove(INDEX, self._new)
            with suppress(OSError):  # something could not be removed: the next start does
                self._fs.remove_directory(self.id, self.state.new)

    def _leave(self) -> None:
        for file in (self._index, self._new, self._tmp):
            if file != _CLOSED:
                self._close_file(file)
        if self._tmp != _CLOSED:
            with suppress(OSError):  # something could not be removed: the next start does
                self._fs.remove_directory(self.id, self.state.tmp)
        self._index = self._new = self._tmp = _CLOSED
        self._left = True
        self.state.live.discard(self.id)

    # Small steps

    def _make_directory(self, parent: int) -> int:
        with suppress(FileExistsError):  # ours, from an attempt that failed
            self._fs.make_directory(self.id, parent)
        return self._fs.open_directory(self.id, parent)

    def _new_file(self, name: str, directory: int) -> int:
        try:
            return self._fs.create(name, directory)
        except FileExistsError:  # ours, from an attempt that failed
            self._fs.unlink(name, directory)
            return self._fs.create(name, directory)

    def _close_file(self, file: int) -> None:
        """Close what was promised to nobody. The number is free whatever close(2) says: twice would hit another."""
        with suppress(OSError):
            self._fs.close(file)

    def _remove(self, name: str, directory: int) -> None:
        """Remove what was never acknowledged. What cannot be removed is legal to stay: nobody was told of it."""
        try:
            self._fs.unlink(name, directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("file left in the spool", association=self.id, reason=explain("remove a file from", error))
