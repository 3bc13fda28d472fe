"""The HTTP server over a real socket: every wait has an end, and everything before a request has a bound."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from dicom_adapter import http_server
from dicom_adapter.api.asgi import Receive, Scope, Send
from dicom_adapter.api.bodies import Bodies
from dicom_adapter.core.errors import PermanentError
from dicom_adapter.http_server import HttpServer

pytestmark = pytest.mark.anyio
PATIENCE = 30.0  # seconds


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


class Peer:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send, as far as the server lets it."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of one answer."""
        async with asyncio.timeout(PATIENCE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            return int(head.split()[1]), await self._reader.readexactly(length)

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def is_closed(self) -> bool:
        """Wait for the server to close the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self._reader.read() == b""
            except ConnectionError:
                return True


class House:
    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.peers: list[Peer] = []

    async def call(self) -> Peer:
        self.peers.append(Peer(*await asyncio.open_connection("127.0.0.1", self.server.port)))
        return self.peers[-1]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with serving() as made:
        yield made


@asynccontextmanager
async def serving() -> AsyncIterator[House]:
    server, stopping = HttpServer("127.0.0.1", 0), asyncio.Event()
    task = asyncio.create_task(server.serve(Bodies(hello), stopping))
    try:
        house = House(server)
        yield house
    finally:
        for peer in house.peers:
            await peer.close()
        stopping.set()
        await task
        await server.close()


async def test_requests_on_one_connection(house: House) -> None:
    peer = await house.call()
    for _ in range(3):
        await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await peer.answer() == (200, b"hello")


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
async def test_a_head_that_does_not_come(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(http_server, "HEAD_TIMEOUT", 0.2)
    async with serving() as house:
        peer = await house.call()
        await peer.send(begun)
        status, body = await peer.answer()
        assert (status, json.loads(body)["status"]) == (408, 408)
        assert await peer.is_closed()


async def test_a_second_head_that_comes_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEAD_TIMEOUT", 0.5)
    async with serving() as house:
        peer = await house.call()
        await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await peer.answer())[0] == 200

        async def drip() -> None:
            await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            while True:
                await peer.send(b"X: y\r\n")
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        try:
            assert (await peer.answer())[0] == 408
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)


@pytest.mark.parametrize(
    "head",
    [
        b"".join(b"X-%d: y\r\n" % number for number in range(10_000)),
        b"X: " + b"y" * 100_000 + b"\r\n",
    ],
)
async def test_a_head_that_is_too_large(house: House, head: bytes) -> None:
    peer = await house.call()
    await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n")
    status, _ = await peer.answer()
    assert status == 431
    assert await peer.is_closed()


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
async def test_what_is_no_request(house: House, request_: bytes) -> None:
    peer = await house.call()
    await peer.send(request_)
    status, body = await peer.answer()
    assert (status, json.loads(body)["title"]) == (400, "Bad Request")
    assert await peer.is_closed()


async def test_chunks_for_ever(house: House) -> None:
    peer = await house.call()
    await peer.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )

    async def endless() -> None:
        while True:
            await peer.send(b"1000\r\n" + b" " * 0x1000 + b"\r\n")

    sending = asyncio.create_task(endless())
    try:
        assert (await peer.answer())[0] == 413
        await asyncio.wait([sending], timeout=PATIENCE)
        assert isinstance(sending.exception(), ConnectionError)  # nobody reads on
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_four_gigabytes_are_refused_before_they_are_sent(house: House) -> None:
    peer = await house.call()
    await peer.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 4294967296\r\n\r\n"
    )
    assert (await peer.answer())[0] == 413
    assert await peer.is_closed()


async def test_a_body_that_breaks_off_leaves_the_server_well(house: House) -> None:
    peer = await house.call()
    await peer.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"
    )
    assert (await peer.answer())[0] == 400
    again = await house.call()
    await again.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await again.answer())[0] == 200


async def test_too_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(http_server, "HEAD_TIMEOUT", 3600.0)  # else those that are silent may make room meanwhile
    async with serving() as house:
        silent = [await house.call() for _ in range(3)]
        peer = await house.call()
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        status, body = await peer.answer()
        assert (status, json.loads(body)["status"]) == (503, 503)
        assert await peer.is_closed()
        await silent[0].close()
        async with asyncio.timeout(PATIENCE):
            while status != 200:
                peer = await house.call()
                await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                status, body = await peer.answer()
        assert body == b"hello"


async def test_a_port_that_is_taken_is_told_in_words(house: House) -> None:
    with pytest.raises(PermanentError, match=f"port {house.server.port}: Address already in use"):
        HttpServer("127.0.0.1", house.server.port)


async def test_urls(house: House) -> None:
    assert house.server.url == f"http://127.0.0.1:{house.server.port}"
