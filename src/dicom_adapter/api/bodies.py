"""What may be brought in: a body is plain, small, and here soon. Plain ASGI, before any route.

A route gets a body whole or not at all, so that no route has to think of clients that never finish.
"""

from __future__ import annotations

import asyncio

from dicom_adapter.api.asgi import Asgi, Message, Receive, Refusal, Scope, Send, headers_of

MAX_BODY = 1024 * 1024  # bytes: the largest resource is a few kilobytes
TIMEOUT = 20.0  # seconds for a whole body

_TOO_LARGE = Refusal(413, f"A body may have {MAX_BODY} bytes.")
_TOO_SLOW = Refusal(408, f"The body did not arrive within {TIMEOUT:g} seconds.")


class Bodies:
    """Refuses a body that is compressed (415), too large (413) or too slow (408)."""

    def __init__(self, app: Asgi, timeout: float = TIMEOUT) -> None:
        self._app = app
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = headers_of(scope)
        encoding = headers.get(b"content-encoding", "identity").strip().lower()
        if encoding != "identity":
            compressed = Refusal(415, f"Content-Encoding is {encoding!r}; only a plain body is taken.")
            await compressed.answer(receive, send)
            return
        body = await self._body(headers.get(b"content-length", "0"), receive)
        if isinstance(body, Refusal):
            await body.send(send)
        elif body is not None:
            await self._app(scope, _again(body, receive), send)

    async def _body(self, length: str, receive: Receive) -> bytes | Refusal | None:
        if not length.isdecimal() or int(length[:20]) > MAX_BODY:
            return _TOO_LARGE
        try:
            async with asyncio.timeout(self._timeout):
                return await _whole(receive)
        except TimeoutError:
            return _TOO_SLOW


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
