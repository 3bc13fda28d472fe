"""The test platform and our client of it, on loopback, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dicom_adapter.engines.clara_platform.client import PlatformClient
from dicom_adapter.engines.clara_platform.engine import ClaraPlatformEngine
from dicom_adapter.engines.clara_platform.payloads import PlatformPayloads
from dicom_adapter.testing.clara_platform.server import Server
from dicom_adapter.testing.clara_platform.state import Platform, Run, copy

COPY = "0" * 31 + "1"
UNKNOWN = "f" * 32


@contextlib.contextmanager
def serving(folder: Path, pipelines: Mapping[str, Run] | None = None) -> Iterator[Server]:
    """A platform with one pipeline, COPY, that returns what it is given; or with these."""
    with Server(Platform(folder / "payloads", pipelines or {COPY: copy})) as server:
        yield server


@dataclass(frozen=True)
class Adapter:
    """What an adapter has of a platform."""

    client: PlatformClient
    payloads: PlatformPayloads
    engine: ClaraPlatformEngine


@contextlib.asynccontextmanager
async def connected(endpoint: str, parallel_uploads: int = 4) -> AsyncIterator[Adapter]:
    client = PlatformClient(endpoint)
    payloads = PlatformPayloads(client, parallel_uploads)
    try:
        yield Adapter(client, payloads, ClaraPlatformEngine(client, payloads))
    finally:
        await client.close()
