"""Files into and out of payloads, as streams: never a whole file in memory (contract 1.3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence

from dicom_adapter.core.errors import PermanentError, TemporaryError
from dicom_adapter.core.model import PayloadFile
from dicom_adapter.engines.clara_platform import wire
from dicom_adapter.engines.clara_platform.client import PlatformClient
from dicom_adapter.engines.clara_platform.payloads_pb2 import (
    PayloadFileDetails,
    PayloadsDetailsRequest,
    PayloadsDownloadRequest,
    PayloadsRemoveRequest,
    PayloadsUploadRequest,
)


class PlatformPayloads:
    """`core.ports.Payloads`, and uploads. `parallel_uploads`: files at once, over all jobs."""

    def __init__(self, client: PlatformClient, parallel_uploads: int) -> None:
        self._client = client
        self._parallel_uploads = parallel_uploads
        self._uploads = asyncio.Semaphore(parallel_uploads)

    async def download(self, payload_id: str, name: str) -> AsyncIterator[bytes]:
        request = PayloadsDownloadRequest(payload_id=wire.identifier(payload_id), name=name)
        async for piece in self._client.listen(wire.PAYLOADS_DOWNLOAD, request):
            if piece.data:
                yield piece.data

    async def upload(self, payload_id: str, files: Sequence[PayloadFile]) -> None:
        """Put the files into the payload's input folder, but those that it has in the same size.

        Raises PermanentError for a file that is gone from the spool, and what the client raises.
        """
        there = await self._listed(payload_id)
        missing = await asyncio.to_thread(_without, files, there)
        left = iter([(file, there.get(file.name)) for file in missing])
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._parallel_uploads):
                    group.create_task(self._upload_from(payload_id, left))
        except ExceptionGroup as failed:  # as many as were under way
            raise min(failed.exceptions, key=lambda error: not isinstance(error, PermanentError)) from None

    async def _upload_from(
        self, payload_id: str, files: Iterator[tuple[PayloadFile, PayloadFileDetails | None]]
    ) -> None:
        for file, broken in files:
            async with self._uploads:
                if broken is not None:
                    await self._remove(payload_id, broken.name)
                await self._client.tell(wire.PAYLOADS_UPLOAD, _chunks(payload_id, file))

    async def _remove(self, payload_id: str, name: str) -> None:
        """A name is in a payload once. A platform that does not let us remove it may still let us write over it."""
        request = PayloadsRemoveRequest(payload_id=wire.identifier(payload_id), name=name)
        with contextlib.suppress(TemporaryError, PermanentError):
            await self._client.call(wire.PAYLOADS_REMOVE, request)

    async def _listed(self, payload_id: str) -> dict[str, PayloadFileDetails]:
        """What the payload has, by name in the input folder."""
        request = PayloadsDetailsRequest(payload_id=wire.identifier(payload_id))
        return {
            details.file.name.lstrip("/").removeprefix(wire.INPUT): details.file
            async for details in self._client.listen(wire.PAYLOADS_DETAILS, request)
            if details.HasField("file")
        }


def _without(files: Sequence[PayloadFile], there: Mapping[str, PayloadFileDetails]) -> list[PayloadFile]:
    """Those that are not there, or not whole."""
    return [file for file in files if file.name not in there or there[file.name].size != _size(file)]


def _size(file: PayloadFile) -> int:
    try:
        return os.stat(file.path).st_size
    except OSError as error:
        raise _unreadable(file, error) from error


async def _chunks(payload_id: str, file: PayloadFile) -> AsyncGenerator[PayloadsUploadRequest]:
    """The messages of one file; of an empty one a single empty one, else the platform would not learn its name."""
    try:
        with open(file.path, "rb") as source:  # not in a thread: canceled meanwhile, the file would stay open
            data = await asyncio.to_thread(source.read, wire.CHUNK)
            while True:
                yield PayloadsUploadRequest(
                    payload_id=wire.identifier(payload_id),
                    details=PayloadFileDetails(name=file.name, size=len(data)),
                    data=data,
                )
                data = await asyncio.to_thread(source.read, wire.CHUNK)
                if not data:
                    return
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: PayloadFile, error: OSError) -> PermanentError | TemporaryError:
    if isinstance(error, FileNotFoundError):
        return PermanentError(f"file {file.path} of the batch is gone from the spool")
    return TemporaryError(f"{error.strerror} at {file.path}")
