"""The REST API of a running adapter, as the commands use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx2

from dicom_adapter.api import schemas
from dicom_adapter.cli.outcome import CliError, ExitCode

_TIMEOUT = 30.0  # seconds
_PAGE = 1000  # the API's longest page

Item = TypeVar("Item", bound=schemas.Schema)


class NotRunningError(CliError):
    """Nothing answers."""

    def __init__(self, url: str) -> None:
        super().__init__(
            ExitCode.NOT_RUNNING,
            f"the adapter is not running: nothing answers at {url}. Start it with `clara dicom start`.",
        )


class Client:
    """Asks one adapter. Every method raises CliError with words for a person."""

    def __init__(self, url: str, transport: httpx2.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        # trust_env: a proxy for the web is not the way to an adapter
        self._http = httpx2.Client(base_url=self.url, timeout=_TIMEOUT, trust_env=False, transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **parameters: str | int | None) -> Any:
        """The JSON at a path."""
        known = {key: value for key, value in parameters.items() if value is not None}
        return self._answer(lambda: self._http.get(path, params=known))

    def post(self, path: str) -> Any:
        """Take an action. The API takes JSON only, so an empty body says that it is JSON too."""
        return self._answer(lambda: self._http.post(path, headers={"Content-Type": "application/json"}))

    def not_ready(self) -> list[str] | None:
        """Why the adapter cannot take a study yet; empty when it can, None when it does not answer."""
        try:
            response = self._http.get("/health/ready", timeout=5.0)
            reasons = response.json().get("reasons", [])
        except (httpx2.HTTPError, ValueError, AttributeError):
            return None
        return [] if response.is_success else [str(reason) for reason in reasons] or [f"status {response.status_code}"]

    def every(self, path: str) -> Iterator[dict[str, Any]]:
        """Every item of a list, page after page, newest first."""
        before: str | None = None
        while True:
            page = self.get(path, limit=_PAGE, before=before)
            yield from page["items"]
            before = page.get("next")
            if before is None:
                return

    def _answer(self, call: Callable[[], httpx2.Response]) -> Any:
        try:
            response = call()
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise NotRunningError(self.url) from None
        except httpx2.HTTPError as error:
            raise CliError(ExitCode.FAILED, f"the adapter at {self.url} does not answer: {error}") from None
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.is_success and body is not None:
            return body
        detail = body.get("detail") if isinstance(body, dict) else None
        words = str(detail or f"status {response.status_code}: is {self.url} the API of a DICOM Adapter?")
        raise CliError(ExitCode.FAILED, words)


def match(reference: str, ids: Iterator[str], noun: str) -> str:
    """The one id that is `reference`, or begins or ends with it. Raises CliError for none or several."""
    wanted = reference.lower()
    found: list[str] = []
    for candidate in ids:
        if candidate == wanted:
            return candidate
        if candidate.startswith(wanted) or candidate.endswith(wanted):
            found.append(candidate)
    if len(found) == 1:
        return found[0]
    if not found:
        raise CliError(ExitCode.FAILED, f"no {noun} has an id that begins or ends with {reference!r}")
    shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    raise CliError(ExitCode.USAGE, f"{reference!r} can be one of {len(found)} {noun}s: {shown}. Give more of the id.")
