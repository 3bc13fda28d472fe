"""The REST API of a running adapter, as the commands use it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import httpx2

from dicom_adapter.cli.outcome import CliError, ExitCode

_TIMEOUT = 30.0  # seconds
_PAGE = 1000  # the API's longest page


class NotRunningError(CliError):
    """Nothing answers."""

    def __init__(self, url: str) -> None:
        super().__init__(
            ExitCode.NOT_RUNNING,
            f"the adapter is not running: nothing answers at {url}. Start it with `clara dicom start`.",
        )


class Client:
    """Asks one adapter. Every method raises CliError with words for a person."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._has_token = token is not None
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx2.Client(
                base_url=self.url,
                headers=headers,
                timeout=_TIMEOUT,
                trust_env=False,  # a proxy for the web is not the way to an adapter
                # By default every certificate of the system is read, a fifteenth of a second for each command.
                verify=self.url.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            )
        except httpx2.InvalidURL:
            raise CliError(ExitCode.USAGE, f"{self.url!r} is no address: for example http://127.0.0.1:5000") from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **parameters: str | int | None) -> Any:
        """The JSON at a path."""
        known = {key: value for key, value in parameters.items() if value is not None}
        return self._answer("GET", path, params=known)

    def post(self, path: str, body: object = None) -> Any:
        """Make something, or take an action. The API takes JSON only, so even nothing is an object."""
        return self._answer("POST", path, json={} if body is None else body)

    def delete(self, path: str) -> Any:
        """Remove something."""
        return self._answer("DELETE", path)

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

    def _answer(self, method: str, path: str, **request: Any) -> Any:
        try:
            response = self._http.request(method, path, **request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise NotRunningError(self.url) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise CliError(ExitCode.FAILED, f"the adapter at {self.url} does not answer: {error}") from None
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.is_success and body is not None:
            return body
        raise self._refusal(response.status_code, body)

    def _refusal(self, status: int, body: object) -> CliError:
        """What the API did not do, as the end of a command."""
        if status == httpx2.codes.UNAUTHORIZED:
            what = "refuses this token" if self._has_token else "asks for a token"
            where = "that of its configuration file (-f), of --token-file, or of CLARA_DICOM_TOKEN"
            return CliError(ExitCode.FAILED, f"the adapter at {self.url} {what}: give {where}")
        detail = body.get("detail") if isinstance(body, dict) else None
        words = str(detail or f"status {status}: is {self.url} the API of a DICOM Adapter?")
        return CliError(ExitCode.USAGE if status == httpx2.codes.BAD_REQUEST and detail else ExitCode.FAILED, words)


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
    raise CliError(ExitCode.USAGE, f"{reference!r} fits {len(found)} ids ({noun}): {shown}. Give more of the id.")
