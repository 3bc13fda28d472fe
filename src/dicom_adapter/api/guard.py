"""The door of the REST API: who may knock. Plain ASGI, before any route.

SECURITY: a loopback port can be reached by any web page in a browser on this machine. DNS rebinding shows in `Host`, as
a name that is not ours (never as an address, which cannot be rebound); a page elsewhere shows in `Origin`. A token,
where one is configured, is asked for everything but /health.
"""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

import structlog

from dicom_adapter.api.asgi import Asgi, Receive, Refusal, Scope, Send, headers_of

log = structlog.get_logger("api")

QUIET = 60.0  # seconds between lines about refusals: whoever knocks must not fill the log
LOCAL_NAMES = frozenset({"localhost"})
OPEN = "/health/"  # below it no token is asked: a probe has none
_SHOWN = 253  # characters of a header that are repeated
_CHALLENGE = 'Bearer realm="DICOM Adapter"'  # RFC 6750 3


class Guard:
    """Refuses a foreign `Host` or `Origin` (403), and a missing or wrong token (401)."""

    def __init__(
        self,
        app: Asgi,
        hosts: Collection[str],
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._clock = clock
        self._quiet_until = float("-inf")
        self._refused = 0  # since the last line
        self._hosts = frozenset(host.lower() for host in hosts) | LOCAL_NAMES
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            self._tell(scope, refusal)
            await refusal.answer(receive, send)

    def _tell(self, scope: Scope, refusal: Refusal) -> None:
        self._refused += 1
        now = self._clock()
        if now < self._quiet_until:
            return
        peer = (scope.get("client") or ("unknown",))[0]
        log.warning("the REST API refuses a caller", peer=peer, why=refusal.detail, requests=self._refused)
        self._quiet_until, self._refused = now + QUIET, 0

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = headers_of(scope)
        host = _host_of(headers.get(b"host", ""))
        if host not in self._hosts and not _is_address(host):
            hint = "`api.host` and `api.host-names` say which there are"
            return Refusal(
                403, f"The Host header names {host[:_SHOWN]!r}, which is not a name of this adapter: {hint}."
            )
        origin = headers.get(b"origin")
        if origin is not None and _host_of_url(origin) != host:
            return Refusal(403, f"A page of {origin[:_SHOWN]!r} may not call this adapter.")
        if self._token is not None and not scope["path"].startswith(OPEN):
            return self._unauthorized(headers.get(b"authorization"))
        return None

    def _unauthorized(self, given: str | None) -> Refusal | None:
        assert self._token is not None
        scheme, _, token = (given or "").partition(" ")
        if scheme.lower() != "bearer":
            detail = (
                "A bearer token is needed: `Authorization: Bearer ...`, with that of `api.token` or `api.token-file`."
            )
            return Refusal(401, detail, ((b"www-authenticate", _CHALLENGE.encode()),))
        if not secrets.compare_digest(token.strip().encode("latin-1"), self._token):
            challenge = f'{_CHALLENGE}, error="invalid_token"'
            return Refusal(401, "This is not the token of this adapter.", ((b"www-authenticate", challenge.encode()),))
        return None


def _host_of(header: str) -> str:
    """The host of a Host header without its port: "[::1]:5000" -> "::1"."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()


def _host_of_url(url: str) -> str | None:
    """The host of an Origin; None for `null` and what is no URL."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
