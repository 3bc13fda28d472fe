"""One file of a payload, from the platform to the disk: streamed, checked at its beginning, durable under our name.

Why here: the manager decides what is downloaded and what a failure means; these are its hands.
SECURITY: the name that the platform knows goes to the platform only. The preamble is not believed: it is written as
zeros, so that a file can never pass for another format (PS3.10 7.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path

from dicom_adapter.core.errors import TemporaryError
from dicom_adapter.crash_points import crash_point
from dicom_adapter.dicom.part10 import PREAMBLE

SILENCE = 60.0  # seconds that a piece may take


class NotDicom(Exception):
    """The file is no DICOM Part 10 file; the message completes "the file ..."."""


class StorageTrouble(TemporaryError):
    """The file may be good, but there is no room for it, or the storage does not work."""


async def download(pieces: AsyncIterator[bytes], part: Path, target: Path, has_room: Callable[[], bool]) -> None:
    """Write what comes to `part`, sync it, and rename it to `target`: durable when this returns.

    Raises NotDicom as soon as that shows, StorageTrouble, TimeoutError after a long silence, and what `pieces` raises.
    What was begun is removed then.
    """
    with _storage_errors():
        await asyncio.to_thread(_make_folders, part, target)
        try:
            await _write(_part10(_not_silent(pieces)), part, has_room)
            await asyncio.to_thread(_move, part, target)
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()  # a stream that is not wanted any more ends now
            with contextlib.suppress(OSError):
                part.unlink()
    crash_point("download.after_rename")


def set_aside(path: Path, target: Path) -> None:
    """Move a file that is on the disk, durably. Raises StorageTrouble."""
    with _storage_errors():
        _make_folders(target)
        _move(path, target)


async def _write(pieces: AsyncIterator[bytes], part: Path, has_room: Callable[[], bool]) -> None:
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        async for piece in pieces:
            if not has_room():
                raise StorageTrouble("too little free space (`storage.reserve-space`, `storage.watermark-percent`)")
            await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(file.flush)
        await asyncio.to_thread(os.fsync, file.fileno())


async def _part10(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same file with a preamble of zeros. Raises NotDicom."""
    head = b""
    async for piece in pieces:
        if len(head) == len(PREAMBLE):
            yield piece
            continue
        begun = head + piece
        head, rest = begun[: len(PREAMBLE)], begun[len(PREAMBLE) :]
        if len(head) == len(PREAMBLE):
            if head[128:] != PREAMBLE[128:]:
                raise NotDicom("is not DICOM: it has no DICM prefix at byte 128")
            yield PREAMBLE + rest
    if len(head) < len(PREAMBLE):
        raise NotDicom(f"is not DICOM: it has {len(head)} bytes" if head else "is empty")


async def _not_silent(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(SILENCE):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        yield piece


def _make_folders(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _move(source: Path, target: Path) -> None:
    source.rename(target)
    for folder in (target.parent, target.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except TimeoutError:  # an OSError, and none of the storage's
        raise
    except OSError as error:
        raise StorageTrouble(f"{error.strerror} at {error.filename or 'the storage folder'}") from error
