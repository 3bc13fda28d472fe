"""What may be brought in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from dicom_adapter.api.asgi import Message, Receive, Scope, Send
from dicom_adapter.api.bodies import MAX_BODY, Bodies

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json"}


async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body, which comes whole."""
    message = await receive()
    assert not message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def client(timeout: float = 20.0) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=Bodies(echo, timeout)), base_url="http://localhost:5000"
    )


async def chunks(count: int, size: int = 1024) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * size


async def test_json_comes_whole() -> None:
    answer = await client().post("/", headers={"Content-Type": "Application/JSON; charset=utf-8"}, content=chunks(3, 2))
    assert answer.content == b" " * 6


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_nothing_is_unpacked(method: str, encoding: str) -> None:
    headers = {**JSON, "Content-Encoding": encoding}
    assert (await client().request(method, "/", headers=headers, content=b"{}")).status_code == 415


@pytest.mark.parametrize("method", ["POST", "DELETE", "GET"])
async def test_size(method: str) -> None:
    too_much = b" " * (MAX_BODY + 1)
    assert (await client().request(method, "/", headers=JSON, content=too_much)).status_code == 413
    assert (await client().request(method, "/", headers=JSON, content=chunks(1025))).status_code == 413
    assert (await client().request(method, "/", headers=JSON, content=too_much[1:])).status_code == 200


@pytest.mark.parametrize("length", ["99999999999999999999999999", "4294967296", "-1", "1e3", "\u00b2"])
async def test_a_length_is_believed_only_to_refuse(length: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", length.encode("latin-1"))]
    assert (await client().post("/", headers=headers, content=chunks(1))).status_code == 413


async def test_a_body_that_does_not_end() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    answer = await client(timeout=0.05).post("/", headers=JSON, content=slow())
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")


async def test_a_client_that_goes_away_is_answered_nothing() -> None:
    messages: list[Message] = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Message:
        return messages.pop()

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}
    await Bodies(echo)(scope, receive, send)
