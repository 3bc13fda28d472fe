"""The door of the REST API: who may knock. Plain ASGI, before any route.

SECURITY: a loopback port can be reached by any web page in a browser on this machine. DNS rebinding shows in `Host`, as
a name that is not ours (never as an address, which cannot be rebound); a cross-site form cannot send `application/json`
without asking first, and we answer no such question (no CORS).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 1024 * 1024  # bytes: the largest resource is a few kilobytes
LOCAL_NAMES = frozenset({"localhost"})
METHODS_WITH_BODY = frozenset({"PATCH", "POST", "PUT"})  # a page elsewhere cannot send DELETE without asking first


class Guard:
    """Refuses a foreign `Host` (403), a body that is not JSON (415) or too large (413)."""

    def __init__(self, app: Asgi, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts) | LOCAL_NAMES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, _bounded(receive), send)
        else:
            await _answer(send, *refusal)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = _host_of(headers.get(b"host", ""))
        if host not in self._hosts and not _is_address(host):
            return 403, f"The Host header names {host!r}, which is not a name of this adapter (`api.host`)."
        if scope["method"] in METHODS_WITH_BODY:
            kind = headers.get(b"content-type", "").split(";")[0].strip().lower()
            if kind != "application/json":
                return 415, f"Content-Type is {kind or 'missing'!r}; only application/json is taken."
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            return 413, f"A body may have {MAX_BODY} bytes."
        return None


def _host_of(header: str) -> str:
    """The host of a Host header without its port: "[::1]:5000" -> "::1"."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _bounded(receive: Receive) -> Receive:
    """Ends a body of unknown length (chunked) that grows beyond the bound, as if the client had gone."""
    received = 0

    async def bounded() -> MutableMapping[str, Any]:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return message if received <= MAX_BODY else {"type": "http.disconnect"}

    return bounded


async def _answer(send: Send, status: int, detail: str) -> None:
    titles = {403: "Forbidden", 413: "Content Too Large", 415: "Unsupported Media Type"}
    body = json.dumps({"title": titles[status], "status": status, "detail": detail}).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
