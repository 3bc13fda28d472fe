"""Everything over one connection to a Clara Platform."""

from __future__ import annotations

from dicom_adapter.engines.clara_platform.client import PlatformClient
from dicom_adapter.engines.clara_platform.engine import ClaraPlatformEngine
from dicom_adapter.engines.clara_platform.payloads import PlatformPayloads


class ClaraPlatform:
    """The engine and the payloads of the platform at `endpoint` (host:port). Of one event loop.

    `parallel_uploads`: files that are uploaded at once, over all jobs.
    """

    def __init__(self, endpoint: str, parallel_uploads: int) -> None:
        self._client = PlatformClient(endpoint)
        self.payloads = PlatformPayloads(self._client, parallel_uploads)
        self.engine = ClaraPlatformEngine(self._client, self.payloads)

    async def close(self) -> None:
        """End every call and the connection."""
        await self._client.close()
