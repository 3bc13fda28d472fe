"""The client of Clara's Results Service (contract 2): asks for tasks, and tells what became of them.

SECURITY: an answer is read up to a size and a time, whatever its headers say; no redirect is followed and no proxy of
the environment asked. What the answer means is `clara_tasks`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import httpx2
import structlog

from dicom_adapter.core.errors import TemporaryError
from dicom_adapter.core.model import GivenTask
from dicom_adapter.engines.clara_tasks import NotTasks, read_tasks

log = structlog.get_logger("results")

MAX_ANSWER: Final = 8 << 20  # bytes
TIMEOUT: Final = 30.0  # seconds for a whole call


class ClaraResultsService:
    """A ResultsService of `core.ports`. `endpoint`: `services.results-service-endpoint`."""

    def __init__(
        self, endpoint: str, *, timeout: float = TIMEOUT, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._timeout = timeout
        self._http = httpx2.AsyncClient(
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    async def get_pending(self, agent: str, count: int) -> Sequence[GivenTask]:
        """See `core.ports.ResultsService`. Raises TemporaryError."""
        body = await self._call("GET", f"/api/tasks/{quote(agent, safe='')}/pending?size={count}")
        try:
            tasks, skipped = read_tasks(body)
        except NotTasks as error:
            raise TemporaryError(f"the Results Service at {self.endpoint} cannot be understood: {error}") from None
        if skipped:
            log.error("tasks of the Results Service are skipped: they have no usable taskId", tasks=skipped)
        return tasks

    async def report_success(self, task_id: str) -> None:
        """See `core.ports.ResultsService`. Raises TemporaryError."""
        await self._call("PUT", f"/api/tasks/success/{quote(task_id, safe='')}")

    async def report_failure(self, task_id: str, *, retry_later: bool) -> None:
        """See `core.ports.ResultsService`. Raises TemporaryError."""
        content = json.dumps({"RetryLater": retry_later}).encode()
        await self._call("PUT", f"/api/tasks/failure/{quote(task_id, safe='')}", content)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _call(self, method: str, path: str, content: bytes | None = None) -> bytes:
        """The body of the answer. Raises TemporaryError: no answer, another status than 2xx, too much, too slow."""
        headers = {"Content-Type": "application/json"} if content else {}
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream(method, self.endpoint + path, content=content, headers=headers) as response,
            ):
                if not response.is_success:
                    hint = "; redirects are not followed" if response.is_redirect else ""
                    raise self._trouble(f"answers {response.status_code} to {method} /api/tasks{hint}")
                body = bytearray()
                async for piece in response.aiter_raw():  # not inflated, whatever was sent: that is no JSON then
                    body += piece
                    if len(body) > MAX_ANSWER:
                        raise self._trouble(f"answers more than {MAX_ANSWER >> 20} MiB")
                return bytes(body)
        except TimeoutError:
            raise self._trouble(f"did not answer within {self._timeout:g} s") from None
        except (
            httpx2.HTTPError,
            httpx2.InvalidURL,
            ValueError,
        ) as error:  # ValueError: what its HTTP library trips over
            raise self._trouble(f"does not answer ({type(error).__name__})") from None

    def _trouble(self, words: str) -> TemporaryError:
        return TemporaryError(f"the Results Service at {self.endpoint} {words}")
