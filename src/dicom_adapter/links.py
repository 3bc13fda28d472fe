"""A file in a second place: as a hard link, which costs no time and no space, or else as a copy.

SECURITY: links are not followed, neither to the file nor at its new place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

# Another file system, another owner (fs.protected_hardlinks) or an immutable file, none at all here, too many of them.
_NO_HARD_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}

_copying = threading.Lock()  # a thread that outlived its task may be at the same file


def link_or_copy(source: Path, name: str, directory: int) -> None:
    """Give the open `directory` the file `source` as `name`. A copy is synced; the directory is left to the caller.

    Raises FileExistsError where `directory` has that name, and OSError.
    """
    try:
        os.link(source, name, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINK:
            raise
        copy(source, name, directory)


def copy(source: Path, name: str, directory: int) -> None:
    """The same as a copy. What `directory` has by that name is replaced, in one instant."""
    part = f".{name}.part"
    with _copying, _absent(part, directory):
        with (
            open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as original,
            open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400, dir_fd=directory), "wb") as written,
        ):
            shutil.copyfileobj(original, written, 1 << 20)
            written.flush()
            os.fsync(written.fileno())
        os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)


@contextlib.contextmanager
def _absent(name: str, directory: int) -> Iterator[None]:
    """It is not there before, whatever a crash left, nor afterwards."""
    try:
        _unlink(name, directory)
        yield
    finally:
        _unlink(name, directory)


def _unlink(name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
