"""Where the bench lets its receivers store: on the build's own file system, and in nobody's way.

Why here: after files were deleted, ext4 looks at each of their inodes before it makes a new file near them, for minutes
(`recently_deleted`): up to a millisecond a file, at random for whoever is measured. So nothing is deleted before the
end, and the receivers' folders are spread over the volume, away from what others deleted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# linux/fs.h; `chattr +T` does the same
_GET_FLAGS, _SET_FLAGS, _TOP_OF_HIERARCHIES = 0x80086601, 0x40086602, 0x00020000


@contextmanager
def session(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, removed with all in it in the end."""
    folder = Path(tempfile.mkdtemp(prefix=".bench-", dir=parent))
    try:
        with suppress(OSError):  # not ext4: it has no such flag, and no need of it
            _spread(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _spread(folder: Path) -> None:
    """Let each folder in this one begin in a block group of its own."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("i", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(4)))
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("i", flags | _TOP_OF_HIERARCHIES))
    finally:
        os.close(descriptor)
