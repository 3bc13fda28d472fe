"""The system calls of the spool, one method each, and nothing else: the seam where tests fail or end the process.

Why here: what a crash or a full disk leaves behind depends on the order of these calls alone, so they stand in one
place, and a test's double can count them, fail the k-th, or forget what was never synced.
Every method raises OSError as the system gives it. Names are single components, relative to an open directory: nobody
can put a symbolic link in the way of a path that is never walked.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_FILE_MODE: Final = 0o600  # patient data: for the adapter's own account and what it starts
_DIRECTORY_MODE: Final = 0o700
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FEWEST_FILES: Final = 64  # inodes; an association with one instance takes seven
_SYNC_FILE_RANGE_WRITE: Final = 2  # linux/fs.h: start writing, wait for nothing


class FileSystem:
    """The real one."""

    def __init__(self) -> None:
        # Not in the os module. Only a head start for `sync`, so where libc lacks it (not Linux), it is left out.
        self._sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
        if self._sync_file_range is not None:
            self._sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)

    # Directories

    def make_root(self, path: Path) -> None:
        path.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)

    def make_directory(self, name: str, parent: int) -> None:
        os.mkdir(name, _DIRECTORY_MODE, dir_fd=parent)

    def open_root(self, path: Path) -> int:
        """The storage folder itself, which an administrator may well reach through a symbolic link."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open_directory(self, name: str, parent: int) -> int:
        return os.open(name, _DIRECTORY, dir_fd=parent)

    def remove_directory(self, name: str, parent: int) -> None:
        os.rmdir(name, dir_fd=parent)

    def names(self, directory: int) -> list[str]:
        return os.listdir(directory)

    def sizes(self, directory: int) -> Iterator[tuple[str, int, float]]:
        """(name, bytes, time of last change) of each regular file."""
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    yield entry.name, status.st_size, status.st_mtime

    # Files

    def create(self, name: str, directory: int) -> int:
        """A new file, open for writing. FileExistsError when there is one."""
        return os.open(name, _CREATE, _FILE_MODE, dir_fd=directory)

    def open_to_append(self, name: str, directory: int) -> int:
        return os.open(name, _APPEND, _FILE_MODE, dir_fd=directory)

    def open_to_read(self, name: str, directory: int) -> int:
        return os.open(name, _READ, dir_fd=directory)

    def write(self, file: int, data: bytes | memoryview, before: bytes = b"") -> None:
        """All of `before` and `data`. A file on a full disk takes a part first, then says so."""
        if before:
            written = os.writev(file, (before, data))
            if written == len(before) + len(data):
                return
            data = (before + data)[written:]
        written = os.write(file, data)
        while written < len(data):
            written += os.write(file, memoryview(data)[written:])

    def read(self, file: int, count: int, offset: int) -> bytes:
        return os.pread(file, count, offset)

    def size(self, file: int) -> int:
        return os.fstat(file).st_size

    def status(self, file: int) -> tuple[int, float]:
        """(bytes, time of last change)."""
        status = os.fstat(file)
        return status.st_size, status.st_mtime

    def start_writeback(self, file: int) -> None:
        """Let the kernel begin to write what is dirty, so that a later `sync` finds little left. Promises nothing."""
        if self._sync_file_range is not None:
            self._sync_file_range(file, 0, 0, _SYNC_FILE_RANGE_WRITE)

    def sync(self, file: int) -> None:
        """fsync of a file or directory. After an error its pages count as clean though they are lost: never retry."""
        os.fsync(file)

    def rename(self, source: str, source_directory: int, target: str, target_directory: int) -> None:
        os.rename(source, target, src_dir_fd=source_directory, dst_dir_fd=target_directory)

    def unlink(self, name: str, directory: int) -> None:
        os.unlink(name, dir_fd=directory)

    def close(self, file: int) -> None:
        os.close(file)

    def remove_tree(self, path: Path) -> None:
        """A directory with all below it, links themselves and not what they name; nothing when there is none."""
        with suppress(FileNotFoundError):
            shutil.rmtree(path)

    # The volume and its owner

    def space(self, directory: int) -> tuple[int, int]:
        """(bytes of the volume, bytes of it that we may still use): none where hardly another file can be made."""
        volume = os.fstatvfs(directory)
        crowded = volume.f_files > 0 and volume.f_favail < _FEWEST_FILES  # 0 of 0: their number has no limit
        return volume.f_blocks * volume.f_frsize, 0 if crowded else volume.f_bavail * volume.f_frsize

    def device(self, directory: int) -> int:
        return os.fstat(directory).st_dev

    def lock(self, file: int) -> bool:
        """Take the file's lock for as long as this process lives; False when another process has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def open_lock(self, name: str, directory: int) -> int:
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE, dir_fd=directory)

    def rewrite(self, file: int, data: bytes) -> None:
        os.ftruncate(file, 0)
        os.pwrite(file, data, 0)
