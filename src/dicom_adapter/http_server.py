"""uvicorn in our loop, on a socket of ours, with an end to every wait.

SECURITY: what comes before a request is understood is bounded here (its head in bytes and in seconds, the number of
connections); bodies are bounded by `api.bodies`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Iterator
from typing import Any

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dicom_adapter.api.asgi import Asgi, Receive, Refusal, Scope, Send
from dicom_adapter.core.errors import PermanentError

log = structlog.get_logger("api")

HEAD_TIMEOUT = 10.0  # seconds for the head of a request
MAX_HEAD = 32 * 1024  # bytes of it
MAX_CONNECTIONS = 256

_PIECE = MAX_HEAD // 2


class HttpServer:
    """Listens when it is made: a port that is taken is told in words, before anything else starts."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise PermanentError(
                f"the REST API cannot listen on {host} port {port}: {error.strerror}. Is another adapter running? "
                "`api.host` and `api.port` say where it listens"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self._task: asyncio.Task[None] | None = None
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def serve(self, app: Asgi, stopping: asyncio.Event) -> None:
        """Answer until `stopping` is set, and beyond: until `close`, so that a stop can be watched."""
        config = uvicorn.Config(
            self._bounded(app),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=MAX_HEAD,
            timeout_graceful_shutdown=5,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve([self._socket]))
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait([self._task, stopped], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            stopped.cancel()
            self._task.result()
            raise PermanentError("the REST API ended by itself")

    def _bounded(self, app: Asgi) -> Asgi:
        """The application; beyond so many connections a refusal in its place."""

        async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
            assert self._server is not None
            if len(self._server.server_state.connections) <= MAX_CONNECTIONS:
                await app(scope, receive, send)
                return
            log.warning("the REST API has too many connections", most=MAX_CONNECTIONS)
            await Refusal(503, f"More than {MAX_CONNECTIONS} connections are open: try again.").answer(receive, send)

        return bounded

    async def close(self) -> None:
        """Let requests under way end, and listen no more."""
        if self._server is not None and self._task is not None and not self._task.done():
            self._server.should_exit = True
            await self._task


class _Server(uvicorn.Server):
    """Signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """Adds what uvicorn lacks: the head of a request has to come soon, also byte by byte."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):  # h11 measures what it waits for, not what comes all at once
            if not self.transport.is_closing():
                super().data_received(data[start : start + _PIECE])
        if self.conn.their_state is not h11.IDLE:
            self._unwatch()
        elif self._head_timer is None:
            self._watch()

    def send_400_response(self, msg: str) -> None:
        """Called while h11's complaint is handled, which knows the status better: 431 for a head that is too large."""
        complaint = sys.exc_info()[1]
        status = complaint.error_status_hint if isinstance(complaint, h11.RemoteProtocolError) else 400
        self._refuse(Refusal(status, msg))

    def _watch(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._too_slow)

    def _unwatch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._refuse(Refusal(408, f"The head of the request did not arrive within {HEAD_TIMEOUT:g} seconds."))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer where that is possible still, and close."""
        if not self.transport.is_closing() and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            events: list[Any] = [
                h11.Response(status_code=refusal.status, headers=refusal.all_headers),
                h11.Data(data=refusal.body),
                h11.EndOfMessage(),
            ]
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
