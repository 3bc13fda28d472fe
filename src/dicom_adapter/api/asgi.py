"""Plain ASGI, as far as the door of the API needs it: its types, and a refusal."""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

DRAIN = 1024 * 1024  # bytes of a refused request that are read and thrown away
DRAIN_TIME = 5.0  # seconds

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that is answered before any route is asked. `headers`: beside those of every answer."""

    status: int
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def body(self) -> bytes:
        """problem+json (RFC 9457)."""
        title = http.HTTPStatus(self.status).phrase
        return json.dumps({"title": title, "status": self.status, "detail": self.detail}).encode()

    @property
    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """The connection is closed: what else the client sends on it is not worth reading."""
        return [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(self.body)).encode()),
            (b"connection", b"close"),
            *self.headers,
        ]

    async def answer(self, receive: Receive, send: Send) -> None:
        """Answer when the rest of the request is read: a connection closed on unread bytes is reset, answer and all."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIME):
                await _drain(receive)
        await self.send(send)

    async def send(self, send: Send) -> None:
        """Answer at once."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.all_headers})
        await send({"type": "http.response.body", "body": self.body})


async def _drain(receive: Receive) -> None:
    left = DRAIN
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if not message.get("more_body", False):
            return


def headers_of(scope: Scope) -> dict[bytes, str]:
    """The request's headers, by their names in lower case."""
    return {name: value.decode("latin-1") for name, value in scope["headers"]}
