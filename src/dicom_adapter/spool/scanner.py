"""What is in the spool: associations that ended, for intake; and the order that a restart makes of what a crash left.

Why here: readers believe the directory, not the database (`docs/spool.md`). The index beside the instances is a cache:
a line counts only for a file that exists; a file without a line is read, as far as its UIDs.
Everything here may be killed and run again at any point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import structlog

from dicom_adapter.core.model import AssociationOutcome, AssociationRecord, Instance
from dicom_adapter.dicom.dataset_head import HeadScanner
from dicom_adapter.dicom.part10 import Part10Error, read_file_meta
from dicom_adapter.spool import records
from dicom_adapter.spool.fs import FileSystem
from dicom_adapter.spool.layout import ENVELOPE, INDEX, REASON_SUFFIX, checked_id, instance_name, instance_number
from dicom_adapter.spool.records import Marker
from dicom_adapter.spool.state import Durability, SpoolState, explain

log = structlog.get_logger("spool")

_HEAD: Final = 16 << 10  # bytes; holds the Series Instance UID of nearly every object
_CHUNK: Final = 256 << 10  # bytes; for the others
_SMALL_FILE: Final = 64 << 10  # bytes; envelope and markers are far below
# A folder with several markers: the one that asks for most care counts.
_MARKERS: Final = (AssociationOutcome.INTERRUPTED, AssociationOutcome.ABORTED, AssociationOutcome.RELEASED)


@dataclass(frozen=True, slots=True)
class Adoption:
    """What a start found of an earlier process."""

    parts_removed: int = 0  # files in tmp/, never acknowledged
    associations_interrupted: int = 0  # S2: marked now
    instances_kept: int = 0  # in those associations
    instances_corrupt: int = 0  # moved to corrupt/


class _End(NamedTuple):
    outcome: AssociationOutcome  # the marker's name
    marker: Marker


class _Unreadable(Exception):
    """Why a file cannot be one of ours."""


def closed_associations(state: SpoolState, known: set[str]) -> Iterator[tuple[AssociationRecord, list[Instance]]]:
    """Associations with a durable outcome that are not among `known`, in the order in which they ended (promise 6).

    What is removed by now is dropped from `known`, which would grow for ever.
    Instances come in order of arrival. A file that is torn goes to corrupt/, and its association becomes an
    interrupted one, as does one that lacks a file: what is not whole never goes on by itself.
    A folder that cannot be read is skipped, and tried again next time. OSError: none can be read.
    """
    closed: list[tuple[float, str, _End]] = []
    names = state.fs.names(state.new)
    known.intersection_update(names)
    for name in names:
        if name in known or name in state.live or not _is_id(name):
            continue
        with _skipping_on_error(name):
            end = _look(state, name)
            if end is not None:
                closed.append((end.marker.ended_at, name, end))
    for _, name, end in sorted(closed, key=lambda item: item[:2]):
        found = None
        with _skipping_on_error(name):
            found = _load(state, name, end)
        if found is not None:
            yield found


@contextmanager
def _skipping_on_error(name: str) -> Iterator[None]:
    """One folder that the system cannot read or change holds up no other: it stays, and the next look tries again."""
    try:
        yield
    except FileNotFoundError:  # removed meanwhile
        pass
    except OSError as error:
        log.error("an association is left as it is for now", association=name, reason=explain("work on", error))


def _look(state: SpoolState, name: str) -> _End | None:
    folder = _Folder.open(state, name)
    if folder is None:
        return None
    with folder:
        return folder.end()


def _load(state: SpoolState, name: str, end: _End) -> tuple[AssociationRecord, list[Instance]] | None:
    folder = _Folder.open(state, name)
    if folder is None:
        return None
    with folder:
        instances, corrupt = folder.instances()
        outcome, marker = end
        missing = marker.instances - len(instances)
        if outcome is AssociationOutcome.RELEASED and (corrupt or missing > 0):
            outcome = AssociationOutcome.INTERRUPTED
            folder.mark(outcome, marker._replace(instances=len(instances)))
            log.error("released association is not whole: it is held", association=name, instances_missing=missing)
        record = folder.envelope(instances)
    return replace(record, outcome=outcome, ended_at=marker.ended_at, refused=marker.refused), instances


def adopt_after_crash(state: SpoolState, now: float) -> Adoption:
    """Bring what an earlier process left into a legal state (`docs/spool.md`); for the start, before anything else.

    tmp/ is emptied: nobody was told of what is in it. Folders without an outcome are marked interrupted at `now`,
    or removed when they hold no instance. What the disk does not allow now, `adopt_waiting` tries again.
    """
    parts = _empty_tmp(state)
    state.unadopted.update(name for name in state.fs.names(state.new) if _is_id(name) and name not in state.live)
    found = replace(adopt_waiting(state, now), parts_removed=parts)
    if found != Adoption():
        log.warning(
            "spool of an adapter that did not stop in order taken over",
            parts_removed=parts,
            associations_interrupted=found.associations_interrupted,
            instances_kept=found.instances_kept,
            instances_corrupt=found.instances_corrupt,
        )
    return found


def adopt(state: SpoolState, names: Iterable[str], now: float) -> None:
    """The same for associations of a worker process that died, while others go on."""
    for name in names:
        with _skipping_on_error(name):
            _empty(state, name)
        state.unadopted.add(name)
        state.live.discard(name)
    adopt_waiting(state, now)


def adopt_waiting(state: SpoolState, now: float) -> Adoption:
    """The part of `adopt_after_crash` that is still to do."""
    interrupted = kept = lost = 0
    for name in sorted(state.unadopted):
        with _skipping_on_error(name):
            instances, corrupt = _adopt(state, name, now)
            interrupted += bool(instances or corrupt)
            kept += instances
            lost += corrupt
            state.unadopted.discard(name)
    return Adoption(0, interrupted, kept, lost)


def _adopt(state: SpoolState, name: str, now: float) -> tuple[int, int]:
    """Give an association without an outcome one; answers how many instances were kept, and moved to corrupt/."""
    folder = _Folder.open(state, name)
    if folder is None:
        return 0, 0
    with folder:
        if folder.end() is not None:
            return 0, 0
        instances, corrupt = folder.instances()
        if instances or corrupt:
            folder.write_index(instances)
            folder.mark(AssociationOutcome.INTERRUPTED, Marker(now, len(instances)))
        else:
            folder.remove()
    return len(instances), corrupt


def _is_id(name: str) -> bool:
    try:
        return bool(checked_id(name))
    except ValueError:
        return False


def _empty_tmp(state: SpoolState) -> int:
    """Remove everything below tmp/; answers how many instances in progress there were."""
    removed = 0
    for name in state.fs.names(state.tmp):
        with _skipping_on_error(name):
            removed += _empty(state, name)
    return removed


def _empty(state: SpoolState, name: str) -> int:
    fs, removed = state.fs, 0
    try:
        folder = fs.open_directory(name, state.tmp)
    except NotADirectoryError:
        fs.unlink(name, state.tmp)
        return 0
    try:
        for leftover in fs.names(folder):
            fs.unlink(leftover, folder)
            removed += leftover != ENVELOPE
    finally:
        fs.close(folder)
    fs.remove_directory(name, state.tmp)
    return removed


class _Folder:
    """new/<assoc>, opened."""

    def __init__(self, state: SpoolState, name: str, directory: int) -> None:
        self.id = name
        self._state = state
        self._fs: FileSystem = state.fs
        self._directory = directory

    @classmethod
    def open(cls, state: SpoolState, name: str) -> _Folder | None:
        """None when it is gone, or is no directory."""
        try:
            return cls(state, name, state.fs.open_directory(name, state.new))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._fs.close(self._directory)

    def end(self) -> _End | None:
        """Where a crash has torn the marker's content: when it was written, and no number of files."""
        for outcome in _MARKERS:
            content = self._read_small(outcome)
            if content is not None:
                data, changed_at = content
                return _End(outcome, records.read_marker(data) or Marker(changed_at, 0))
        return None

    def mark(self, outcome: AssociationOutcome, content: Marker) -> None:
        with suppress(FileNotFoundError):
            self._fs.unlink(outcome, self._directory)
        marker = self._fs.create(outcome, self._directory)
        try:
            self._fs.write(marker, records.marker(content))
        finally:
            self._fs.close(marker)
        if self._state.durability is not Durability.NONE:
            self._state.sync(self._directory)

    def instances(self) -> tuple[list[Instance], int]:
        """(readable instances in order of arrival, how many files were moved to corrupt/)."""
        files = {
            number: (size, changed_at)
            for name, size, changed_at in self._fs.sizes(self._directory)
            if (number := instance_number(name)) is not None
        }
        index, _ = self._read(INDEX) or (b"", 0.0)
        listed = {instance.number: instance for instance in records.read_index(index, self.id)}
        found: list[Instance] = []
        corrupt = 0
        for number in sorted(files):
            size, changed_at = files[number]
            instance = listed.get(number)
            try:
                if instance is None:
                    instance = self._read_head(number, size, changed_at)
                elif instance.size != size:
                    raise _Unreadable(f"it has {size} bytes; {instance.size} were received")
            except _Unreadable as why:
                self._set_corrupt_aside(number, str(why))
                corrupt += 1
            else:
                found.append(instance)
        return found, corrupt

    def write_index(self, instances: list[Instance]) -> None:
        """Replace the index by one that lists all of them; without it, each reader would read the heads again."""
        with suppress(FileNotFoundError):
            self._fs.unlink(INDEX, self._directory)
        index = self._fs.create(INDEX, self._directory)
        try:
            self._fs.write(index, records.index_line(instances))
        finally:
            self._fs.close(index)

    def envelope(self, instances: list[Instance]) -> AssociationRecord:
        """The association's envelope; where a power cut has torn it, the one that the instances' own heads give."""
        content = self._read_small(ENVELOPE)
        record = records.read_envelope(content[0], self.id) if content else None
        if record is not None:
            return record
        for instance in instances:
            file = self._fs.open_to_read(instance_name(instance.number), self._directory)
            try:
                meta = read_file_meta(self._fs.read(file, _HEAD, 0))
            except Part10Error:
                continue
            finally:
                self._fs.close(file)
            return AssociationRecord(
                self.id, meta.sending_ae_title, meta.receiving_ae_title, "", 0, instance.received_at
            )
        return AssociationRecord(self.id, "", "", "", 0, 0.0)

    def remove(self) -> None:
        """For a folder without instances and outcome: an association that crashed before its first commit."""
        for name in self._fs.names(self._directory):
            self._fs.unlink(name, self._directory)
        self._fs.remove_directory(self.id, self._state.new)

    def _read_head(self, number: int, size: int, changed_at: float) -> Instance:
        """The instance as its own file tells it. Raises _Unreadable."""
        file = self._fs.open_to_read(instance_name(number), self._directory)
        try:
            head = self._fs.read(file, _HEAD, 0)
            try:
                meta = read_file_meta(head)
            except Part10Error as error:
                raise _Unreadable(str(error)) from error
            scanner = HeadScanner(meta.transfer_syntax_uid)
            scanner.feed(head[meta.data_set_offset :])
            offset = len(head)
            while not scanner.done and offset < size:
                chunk = self._fs.read(file, _CHUNK, offset)
                offset += len(chunk)
                if not chunk:
                    break
                scanner.feed(chunk)
            scanner.finish()
        finally:
            self._fs.close(file)
        if scanner.error is not None:
            raise _Unreadable(scanner.error)
        if not (scanner.sop_class_uid and scanner.sop_instance_uid):  # no such object was ever accepted
            raise _Unreadable("its data set has no SOP Class UID or no SOP Instance UID")
        return Instance(
            self.id,
            number,
            scanner.sop_class_uid,
            scanner.sop_instance_uid,
            scanner.study_instance_uid or None,
            scanner.series_instance_uid or None,
            meta.transfer_syntax_uid,
            size,
            changed_at,
        )

    def _set_corrupt_aside(self, number: int, why: str) -> None:
        """Move a file to corrupt/<assoc>/, behind a text that says why. A person may make sense of it."""
        with suppress(FileExistsError):
            self._fs.make_directory(self.id, self._state.corrupt)
        corrupt = self._fs.open_directory(self.id, self._state.corrupt)
        try:
            name = instance_name(number)
            with suppress(FileNotFoundError):
                self._fs.unlink(name + REASON_SUFFIX, corrupt)
            reason = self._fs.create(name + REASON_SUFFIX, corrupt)
            try:
                self._fs.write(reason, why.encode() + b"\n")
            finally:
                self._fs.close(reason)
            self._fs.rename(name, self._directory, name, corrupt)
        finally:
            self._fs.close(corrupt)
        log.error("unreadable file moved to corrupt/", association=self.id, number=number, reason=why)

    def _read_small(self, name: str) -> tuple[bytes, float] | None:
        return self._read(name, _SMALL_FILE)

    def _read(self, name: str, limit: int | None = None) -> tuple[bytes, float] | None:
        """(content, time of last change), or None when there is no such file."""
        try:
            file = self._fs.open_to_read(name, self._directory)
        except FileNotFoundError:
            return None
        try:
            size, changed_at = self._fs.status(file)
            return self._fs.read(file, size if limit is None else min(size, limit), 0), changed_at
        finally:
            self._fs.close(file)
