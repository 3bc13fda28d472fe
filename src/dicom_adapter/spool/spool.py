"""The spool as the rest of the adapter sees it: opened once by the one process that owns the storage folder.

Why here: descriptors, the owner's lock and the disk's health belong to the whole spool; how an instance is written,
found and removed has a module each (writer, scanner, reaper).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from dicom_adapter.core.errors import OutOfResources, PermanentError
from dicom_adapter.core.model import AssociationRecord, Instance
from dicom_adapter.spool import reaper, scanner
from dicom_adapter.spool.fs import FileSystem
from dicom_adapter.spool.layout import StorageLayout
from dicom_adapter.spool.scanner import Adoption
from dicom_adapter.spool.state import Durability, SpoolState, out_of_resources
from dicom_adapter.spool.writer import AssociationSpool

LOCK_PATIENCE = 2.0  # seconds
LOCK_INTERVAL = 0.02  # seconds
_PROBE = "probe"


class StorageUnusable(PermanentError):
    """The storage folder cannot be used; the message says why and what to do."""


class SpoolLocked(StorageUnusable):
    """Another process owns the storage folder."""


class Spool:
    """Opens `root` for this process alone, making the folders that are missing.

    `tell_owner`: given by a worker process of the adapter, which opens it once more; the adapter has made the folders,
    and its lock, which the worker has inherited, is that of both. Called with the words when the disk does not keep
    what is written: the adapter judges whether the spool is healthy.

    Raises SpoolLocked or StorageUnusable. Every method may be called from any thread; the AssociationSpool it gives
    belongs to one.
    """

    def __init__(
        self,
        root: Path,
        durability: Durability = Durability.INSTANCE,
        fs: FileSystem | None = None,
        *,
        tell_owner: Callable[[str], None] | None = None,
    ) -> None:
        self.layout = StorageLayout(root)
        self._fs = fs or FileSystem()
        self._open: list[int] = []
        self._lock = -1
        try:
            if tell_owner is None:
                self._take_lock()
                for path in self.layout.directories:
                    self._fs.make_root(path)
            tmp, new, corrupt = map(self._directory, (self.layout.tmp, self.layout.new, self.layout.corrupt))
            if self._fs.device(tmp) != self._fs.device(new):
                raise StorageUnusable(
                    f"{self.layout.tmp} and {self.layout.new} are on different file systems: a file could not move "
                    "from one to the other in one step. Put the whole storage folder on one"
                )
            self._state = SpoolState(self._fs, durability, tmp, new, corrupt, tell_owner=tell_owner)
            if tell_owner is None:
                self.probe()
        except OSError as error:
            self.close()
            raise StorageUnusable(
                f"storage folder {root} cannot be used ({error.strerror}): it must be a directory that the adapter's "
                "account may write to, on a mounted file system with free space"
            ) from error
        except (StorageUnusable, OutOfResources) as error:
            self.close()
            if isinstance(error, OutOfResources):
                raise StorageUnusable(f"storage folder {root} cannot be used: {error}") from error
            raise

    def open_association(self, record: AssociationRecord) -> AssociationSpool:
        """For one accepted association. Touches nothing on disk. `record.id` is ours, and new."""
        return AssociationSpool(self._state, record)

    def closed_associations(self, known: set[str]) -> Iterator[tuple[AssociationRecord, list[Instance]]]:
        """See `scanner.closed_associations`."""
        return scanner.closed_associations(self._state, known)

    def adopt_after_crash(self, now: float | None = None) -> Adoption:
        """See `scanner.adopt_after_crash`. `now`: seconds since the epoch; the clock's when left out."""
        return scanner.adopt_after_crash(self._state, time.time() if now is None else now)

    def remove_association(self, association_id: str) -> None:
        """See `reaper.remove_association`."""
        reaper.remove_association(self._state, association_id)

    def remove_instances(self, association_id: str, numbers: Iterable[int]) -> None:
        """See `reaper.remove_instances`."""
        reaper.remove_instances(self._state, association_id, numbers)

    def remove_results(self, job_id: str) -> None:
        """Remove the results of a job that wait for nothing more; its quarantine stays. OSError: call again."""
        self._fs.remove_tree(self.layout.staged_results(job_id))
        self._fs.remove_tree(self.layout.results(job_id))

    def instance_path(self, instance: Instance) -> Path:
        return self.layout.instance(instance.association_id, instance.number)

    def space(self) -> tuple[int, int]:
        """(bytes of the volume, bytes of it that we may still use). OSError: the volume does not answer."""
        return self._fs.space(self._state.new)

    def free_bytes(self) -> int:
        return self.space()[1]

    @property
    def healthy(self) -> bool:
        """False after the disk failed to keep what was written, until a `probe` succeeds."""
        return self._state.fault is None

    @property
    def fault(self) -> str | None:
        """Why it is not healthy, in words."""
        return self._state.fault

    def probe(self) -> None:
        """Write, sync, rename and remove a small file: proves that the spool works, and makes it healthy again.

        Raises OutOfResources when it does not. For the readiness check and housekeeping, every few seconds.
        """
        state, fs = self._state, self._fs
        try:
            with suppress(FileNotFoundError):
                fs.unlink(_PROBE, state.tmp)
            file = fs.create(_PROBE, state.tmp)
            try:
                fs.write(file, b"ok")
                state.sync(file)
            finally:
                fs.close(file)
            fs.unlink(_PROBE, state.tmp)
        except OSError as error:
            raise out_of_resources("write a test file to", error) from error
        state.fault = None

    def finish_outcomes(self) -> int:
        """Write the outcomes that the disk did not allow before; answers how many are durable now.

        For housekeeping: whoever gets more than 0 wakes intake.
        """
        adopted = scanner.adopt_waiting(self._state, time.time()).associations_interrupted
        return adopted + len(self.finish_own_outcomes())

    # --- associations that a worker process writes ------------------------------------------------------------------

    @property
    def lock_descriptor(self) -> int:
        """Of the owner's lock, for a worker to inherit."""
        return self._lock

    def is_live(self, association_id: str) -> bool:
        """Whether an association of this process has begun to write, and its outcome is not durable."""
        return association_id in self._state.live

    def finish_own_outcomes(self) -> list[str]:
        """As `finish_outcomes`, for the associations of this process alone; answers with their ids."""
        waiting = tuple(self._state.unfinished)
        for association in waiting:
            with suppress(OutOfResources):
                association.finish()
        return [association.id for association in waiting if association not in self._state.unfinished]

    def hold(self, association_id: str) -> None:
        """A worker may write this association: leave it alone."""
        self._state.live.add(association_id)

    def let_go(self, association_id: str) -> None:
        """Its outcome is durable."""
        self._state.live.discard(association_id)

    def adopt(self, association_ids: Iterable[str]) -> None:
        """The worker that wrote these died: what it had acknowledged is kept, as after a crash of the whole adapter."""
        scanner.adopt(self._state, association_ids, time.time())

    def distrust(self, fault: str) -> None:
        """A worker found that the disk does not keep what is written."""
        self._state.fault = fault

    # --- its end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give up the descriptors and, with them, the lock. Associations must have been closed before."""
        while self._open:
            self._fs.close(self._open.pop())

    def _take_lock(self) -> None:
        self._fs.make_root(self.layout.root)
        root = self._directory(self.layout.root)
        lock = self._fs.open_lock(self.layout.lock.name, root)
        self._open.append(lock)
        self._lock = lock
        patience = time.monotonic() + LOCK_PATIENCE  # worker processes of one that was killed need a moment to go
        while not self._fs.lock(lock):
            if time.monotonic() < patience:
                time.sleep(LOCK_INTERVAL)
                continue
            owner = self._fs.read(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise SpoolLocked(
                f"storage folder {self.layout.root} is in use by the adapter with process id {owner}: stop that one, "
                "or give this one a storage folder of its own"
            )
        self._fs.rewrite(lock, f"{os.getpid()}\n".encode())

    def _directory(self, path: Path) -> int:
        directory = self._fs.open_root(path)
        self._open.append(directory)
        return directory
