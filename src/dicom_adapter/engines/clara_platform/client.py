"""Calls of one Clara Platform: plain-text HTTP/2, a deadline each, the header checked, errors told apart.

Only `TemporaryError` and `PermanentError` leave this module (`core.ports.JobEngine`). What may pass is temporary,
however long it takes: a platform that is away or being updated, a load balancer that answers in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Any, cast

import grpc
import grpc.aio

from dicom_adapter.core.errors import PermanentError, TemporaryError
from dicom_adapter.engines.clara_platform import wire
from dicom_adapter.engines.clara_platform.wire import Answered, AnyMethod, Asked, Method

DEADLINE = 30.0  # seconds for a call that is one question and one answer
STREAM_DEADLINE = 4 * 3600.0  # seconds for a whole stream: a large file over a slow line
SILENCE = 60.0  # seconds for one message of a stream
OPTIONS = (
    ("grpc.max_receive_message_length", wire.MAX_MESSAGE),
    ("grpc.enable_http_proxy", 0),  # the platform is in the house
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),  # ours decides when to ask again; a channel must not wait longer
)
PERMANENT = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}


class PlatformClient:
    """See the module. `endpoint`: host:port. Of one event loop; connects at the first call, and again by itself."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._channel: grpc.aio.Channel | None = None

    async def call(self, method: Method[Asked, Answered], request: Asked) -> Answered:
        """One question, one answer."""
        request.header.CopyFrom(wire.header())
        ask = self._connected().unary_unary(method.path, _bytes_of, method.response.FromString)
        with self._errors(method):
            answer: Answered = await ask(request, timeout=DEADLINE)
            return self._checked(method, answer)

    async def listen(self, method: Method[Asked, Answered], request: Asked) -> AsyncGenerator[Answered]:
        """One question, a stream of answers."""
        request.header.CopyFrom(wire.header())
        ask = self._connected().unary_stream(method.path, _bytes_of, method.response.FromString)
        call = ask(request, timeout=STREAM_DEADLINE)
        answers = aiter(call)
        try:
            while True:
                with self._errors(method):
                    async with asyncio.timeout(SILENCE):
                        answer = await anext(answers, None)
                    if answer is None:
                        return
                    self._checked(method, answer)
                yield answer
        finally:
            await _ended(call)

    async def tell(self, method: Method[Asked, Answered], requests: AsyncGenerator[Asked]) -> Answered:
        """A stream of requests, one answer. What `requests` raises passes, and ends the call."""
        ask = self._connected().stream_unary(method.path, _bytes_of, method.response.FromString)
        call = ask(None, timeout=STREAM_DEADLINE)
        try:
            async with contextlib.aclosing(requests):
                async for request in requests:
                    request.header.CopyFrom(wire.header())
                    with self._errors(method):
                        async with asyncio.timeout(SILENCE):
                            if not await _taken(call, request):
                                break  # over already: the answer says why
            with self._errors(method):
                async with asyncio.timeout(SILENCE):
                    await call.done_writing()
                    answer: Answered = await call
                    return self._checked(method, answer)
        finally:
            await _ended(call)

    async def close(self) -> None:
        """End every call and the connection."""
        if self._channel is not None:
            await self._channel.close(None)
            self._channel = None

    def _connected(self) -> grpc.aio.Channel:
        if self._channel is None:  # not before the loop runs that it belongs to
            self._channel = grpc.aio.insecure_channel(self.endpoint, OPTIONS)
        return self._channel

    def _checked(self, method: AnyMethod, answer: Answered) -> Answered:
        code = answer.header.code
        if code >= 0:
            return answer
        said = wire.one_line("; ".join(answer.header.messages)) or "no reason given"
        words = f"the Clara Platform at {self.endpoint} refuses {method}: {said} (code {code:#x})"
        raise PermanentError(words) if code in wire.PERMANENT_CODES else TemporaryError(words)

    @contextlib.contextmanager
    def _errors(self, method: AnyMethod) -> Iterator[None]:
        where = f"the Clara Platform at {self.endpoint}"
        try:
            yield
        except TimeoutError:
            raise TemporaryError(f"{where} was silent for {SILENCE:g} s in {method}") from None
        except grpc.aio.AioRpcError as error:
            code, said = error.code(), wire.one_line(error.details() or "") or "no reason given"
            if code in PERMANENT:
                raise PermanentError(f"{where} refuses {method}: {said}") from None
            match code:
                case grpc.StatusCode.UNAVAILABLE:
                    words = f"{where} is away: {said}"
                case grpc.StatusCode.DEADLINE_EXCEEDED:
                    words = f"{where} did not answer {method} in time"
                case grpc.StatusCode.INTERNAL:  # also what is known of a stream that the other end broke off
                    words = f"{where} broke {method} off: {said}"
                case grpc.StatusCode.UNIMPLEMENTED:
                    words = f"{where} does not know {method}: is services.platform-endpoint that of a Clara Platform?"
                case _:
                    words = f"{where} failed in {method}: {said} ({code.name})"
            raise TemporaryError(words) from None


async def _ended(call: grpc.aio.Call) -> None:
    """Its end is told to the loop that it began in, so that is waited for; it comes at once."""
    call.cancel()
    await call.code()


async def _taken(call: grpc.aio.StreamUnaryCall[Any, Any], request: object) -> bool:
    """Send one message; False when the call is over."""
    if call.done():
        return False
    try:
        await call.write(request)
    except asyncio.InvalidStateError:  # in this instant
        return False
    return True


def _bytes_of(message: object) -> bytes:
    return cast(wire.Request, message).SerializeToString()
