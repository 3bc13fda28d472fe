"""What may be brought in: a body is JSON, plain, small, and here soon. Plain ASGI, before any route.

SECURITY: a cross-site form cannot send `application/json` without asking first, and we answer no such question (no
CORS). A route gets a body whole or not at all, so that no route has to think of clients that never finish.
"""

from __future__ import annotations

import asyncio

from dicom_adapter.api.asgi import Asgi, Message, Receive, Refusal, Scope, Send, headers_of

MAX_BODY = 1024 * 1024  # bytes: the largest resource is a few kilobytes
TIMEOUT = 20.0  # seconds for a whole body
METHODS_WITH_BODY = frozenset({"PATCH", "POST", "PUT"})  # a page elsewhere cannot send DELETE without asking first

_TOO_LARGE = Refusal(413, f"A body may have {MAX_BODY} bytes.")
_TOO_SLOW = Refusal(408, f"The body did not arrive within {TIMEOUT:g} seconds.")


class Bodies:
    """Refuses a body that is not JSON or compressed (415), too large (413) or too slow (408)."""

    def __init__(self, app: Asgi, timeout: float = TIMEOUT) -> None:
        self._app = app
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body: bytes | Refusal | None = _refusal(scope)
        if body is None:
            try:
                async with asyncio.timeout(self._timeout):
                    body = await _whole(receive)
            except TimeoutError:
                body = _TOO_SLOW
        if isinstance(body, Refusal):
            await body.send(send)
        elif body is not None:
            await self._app(scope, _again(body, receive), send)


def _refusal(scope: Scope) -> Refusal | None:
    headers = headers_of(scope)
    if scope["method"] in METHODS_WITH_BODY:
        kind = headers.get(b"content-type", "").split(";")[0].strip().lower()
        if kind != "application/json":
            return Refusal(415, f"Content-Type is {kind or 'missing'!r}; only application/json is taken.")
    encoding = headers.get(b"content-encoding", "identity").strip().lower()
    if encoding != "identity":
        return Refusal(415, f"Content-Encoding is {encoding!r}; only a plain body is taken.")
    length = headers.get(b"content-length", "0")
    return None if length.isdecimal() and int(length[:20]) <= MAX_BODY else _TOO_LARGE


async def _whole(receive: Receive) -> bytes | Refusal | None:
    """The body; None where the client went away before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return _TOO_LARGE
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Hands the body on; then whatever else comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
