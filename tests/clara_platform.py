"""The test platform and our client of it, on loopback, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from dicom_adapter.engines.clara_platform.connection import ClaraPlatform
from dicom_adapter.testing.clara_platform.server import Server
from dicom_adapter.testing.clara_platform.state import Platform, Run, copy

COPY = "0" * 31 + "1"
UNKNOWN = "f" * 32


@contextlib.contextmanager
def serving(folder: Path, pipelines: Mapping[str, Run] | None = None) -> Iterator[Server]:
    """A platform with one pipeline, COPY, that returns what it is given; or with these."""
    platform = Platform(folder / "payloads", pipelines or {COPY: copy})
    try:
        with Server(platform) as server:
            yield server
    finally:
        platform.close()


@contextlib.asynccontextmanager
async def connected(endpoint: str, parallel_uploads: int = 4) -> AsyncIterator[ClaraPlatform]:
    """What an adapter has of a platform."""
    platform = ClaraPlatform(endpoint, parallel_uploads)
    try:
        yield platform
    finally:
        await platform.close()
