"""A file system for the spool that fails, dies or loses power at a chosen call; and small instances to put into it."""

from __future__ import annotations

import errno
import os
import random
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dicom_adapter.core.model import AssociationRecord
from dicom_adapter.dicom.part10 import file_meta
from dicom_adapter.spool import InstanceFacts
from dicom_adapter.spool.fs import FileSystem

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"

# What a failing system can answer to each of these; reading and closing are left to work.
CHANGES = frozenset(
    {
        *("make_directory", "remove_directory", "open_directory", "create", "open_to_append", "open_to_read"),
        *("write", "sync", "rename", "unlink"),
    }
)


class Died(BaseException):
    """kill -9: nothing of the process runs from here on, no `except OSError`, no `finally` that reaches the disk."""


class FaultyFileSystem(FileSystem):
    """The real one, until told otherwise. `calls`: names of the changing calls so far, in order.

    `fail(k, error, lasting)`: the k-th changing call from now fails (and, if lasting, those after it that need space).
    `die(k, torn)`: the process dies before the k-th changing call from now; torn: a write is done by half.
    fsync is counted, not done: only the power-cut model below needs it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._countdown = 0
        self._fault: OSError | None = None
        self._lasting = False
        self._torn = False
        self.dead = False
        self._open: set[int] = set()

    def fail(self, k: int, error: int, *, lasting: bool = False) -> None:
        self._countdown, self._fault, self._lasting = k, OSError(error, os.strerror(error)), lasting

    def heal(self) -> None:
        self._countdown, self._fault, self._lasting = 0, None, False

    def die(self, k: int, *, torn: bool = False) -> None:
        self._countdown, self._fault, self._torn = k, None, torn

    def bury(self) -> None:
        """The system closes what a dead process had open; its lock goes with it."""
        self.dead = True
        for file in self._open:
            os.close(file)
        self._open.clear()

    def _guard(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        if self.dead:
            raise Died
        if name in CHANGES:
            self.calls.append(name)
            if self._countdown:
                self._countdown -= 1
                if self._countdown == 0:
                    self._strike(name, arguments)
        return call(*arguments)

    def _strike(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self._fault is None:
            if self._torn and name == "write":
                file, data, *before = arguments
                whole = b"".join([*before, data])
                os.write(file, whole[: len(whole) // 2])
            self.bury()
            raise Died
        # A full disk still lets things be removed and opened.
        harmless = self._lasting and name in {"unlink", "remove_directory", "open_directory", "open_to_read"}
        if self._lasting:
            self._countdown = 1
        if not harmless:
            raise OSError(self._fault.errno, self._fault.strerror)


def _guarded(name: str) -> Callable[..., Any]:
    real = getattr(FileSystem, name)

    def method(self: FaultyFileSystem, *arguments: Any) -> Any:
        effect = (lambda *_: None) if name == "sync" else lambda *given: real(self, *given)
        result = self._guard(name, effect, *arguments)
        if name in {"create", "open_to_append", "open_to_read", "open_directory", "open_root", "open_lock"}:
            self._open.add(result)
        elif name == "close":
            self._open.discard(arguments[0])
        return result

    return method


for _name in [name for name in vars(FileSystem) if not name.startswith("_")]:
    setattr(FaultyFileSystem, _name, _guarded(_name))


class PowerCutFileSystem(FileSystem):
    """Remembers what was never synced. `cut` takes it away again, as a power cut may.

    The model is harsher than a journalling file system: a directory entry is durable only when its directory was
    synced, whatever else was; a file keeps any prefix of what was written after its last sync.
    """

    def __init__(self, graveyard: Path) -> None:
        super().__init__()
        self._graveyard = graveyard
        self._paths: dict[int, Path] = {}
        self._open: set[int] = set()
        self._dirty: set[int] = set()  # inodes
        self._entries: list[tuple[frozenset[Path], Callable[[], None]]] = []  # (directories, undo), in order
        self._buried = 0

    def open_root(self, path: Path) -> int:
        return self._note(super().open_root(path), path)

    def open_directory(self, name: str, parent: int) -> int:
        return self._note(super().open_directory(name, parent), self._paths[parent] / name)

    def make_directory(self, name: str, parent: int) -> None:
        super().make_directory(name, parent)
        path = self._paths[parent] / name
        self._entries.append((frozenset({path.parent}), lambda: shutil.rmtree(path)))

    def create(self, name: str, directory: int) -> int:
        file = super().create(name, directory)
        path = self._paths[directory] / name
        self._entries.append((frozenset({path.parent}), path.unlink))
        return self._keep(file)

    def open_to_append(self, name: str, directory: int) -> int:
        path = self._paths[directory] / name
        if not path.exists():
            self._entries.append((frozenset({path.parent}), lambda: path.unlink(missing_ok=True)))
        return self._keep(super().open_to_append(name, directory))

    def open_to_read(self, name: str, directory: int) -> int:
        return self._keep(super().open_to_read(name, directory))

    def open_lock(self, name: str, directory: int) -> int:
        return self._keep(super().open_lock(name, directory))

    def write(self, file: int, data: bytes | memoryview, before: bytes = b"") -> None:
        self._dirty.add(os.fstat(file).st_ino)
        super().write(file, data, before)

    def rename(self, source: str, source_directory: int, target: str, target_directory: int) -> None:
        super().rename(source, source_directory, target, target_directory)
        before, after = self._paths[source_directory] / source, self._paths[target_directory] / target
        # Once: on a journal, both ends of a rename go together.
        self._entries.append((frozenset({before.parent, after.parent}), lambda: os.rename(after, before)))

    def unlink(self, name: str, directory: int) -> None:
        path = self._paths[directory] / name
        if path.exists():
            self._buried += 1
            grave = self._graveyard / str(self._buried)
            grave.hardlink_to(path)
            self._entries.append((frozenset({path.parent}), lambda: path.hardlink_to(grave)))
        super().unlink(name, directory)

    def remove_directory(self, name: str, parent: int) -> None:
        super().remove_directory(name, parent)
        path = self._paths[parent] / name
        self._entries.append((frozenset({path.parent}), path.mkdir))

    def sync(self, file: int) -> None:
        path = self._paths.get(file)
        if path is None:
            self._dirty.discard(os.fstat(file).st_ino)
        else:
            self._entries = [entry for entry in self._entries if path not in entry[0]]

    def close(self, file: int) -> None:
        self._paths.pop(file, None)
        self._open.discard(file)
        super().close(file)

    def cut(self, root: Path, chance: random.Random) -> None:
        """Power fails: take back every entry after some point, and some of each file that was not synced."""
        for file in list(self._open):
            self.close(file)
        lost = self._entries[chance.randint(0, len(self._entries)) :]
        for _, undo in reversed(lost):
            # An entry of a directory that is gone itself needs no undoing.
            with suppress(FileNotFoundError):
                undo()
        for path in root.rglob("*"):
            if path.is_file() and path.stat().st_ino in self._dirty:
                os.truncate(path, chance.randint(0, path.stat().st_size))

    def _note(self, file: int, path: Path) -> int:
        self._paths[file] = path
        return self._keep(file)

    def _keep(self, file: int) -> int:
        self._open.add(file)
        return file


def record(association_id: str) -> AssociationRecord:
    return AssociationRecord(association_id, "MODALITY", "CLARA", "192.0.2.7", 50000, 1000.0)


def head() -> bytes:
    return file_meta(CT_IMAGE_STORAGE, "1.2.3", EXPLICIT_LITTLE, "1.2.9", "TEST", "MODALITY", "MODALITY", "CLARA")


def data_set(sop_instance_uid: str, body: bytes = b"pixels") -> bytes:
    """A small data set, Explicit VR Little Endian."""
    elements = (
        (0x0008, 0x0016, b"UI", CT_IMAGE_STORAGE.encode()),
        (0x0008, 0x0018, b"UI", sop_instance_uid.encode()),
        (0x0020, 0x000D, b"UI", b"1.2.4.1"),
        (0x0020, 0x000E, b"UI", b"1.2.4.1.1"),
    )
    padded = [(group, number, vr, value + b"\0" * (len(value) % 2)) for group, number, vr, value in elements]
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, len(body)) + body
    return b"".join(struct.pack("<HH2sH", g, n, vr, len(value)) + value for g, n, vr, value in padded) + pixels


def facts(sop_instance_uid: str) -> InstanceFacts:
    return InstanceFacts(CT_IMAGE_STORAGE, sop_instance_uid, "1.2.4.1", "1.2.4.1.1", EXPLICIT_LITTLE, 1001.0)


FULL_OR_BROKEN = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE)
