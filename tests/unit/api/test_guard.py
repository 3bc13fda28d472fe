"""Who may knock: a loopback port is no shelter from a browser, and a token is asked of everyone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
import structlog.testing

from dicom_adapter.api.asgi import Receive, Scope, Send
from dicom_adapter.api.guard import Guard

pytestmark = pytest.mark.anyio
TOKEN = "0123456789abcdef"


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})


async def answer(headers: Mapping[Any, Any], token: str | None = None, path: str = "/api/v1/jobs") -> httpx2.Response:
    transport = httpx2.ASGITransport(app=Guard(hello, ["adapter.example"], token))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:5000") as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:5000", 200),
        ("127.0.0.1", 200),
        ("[::1]:5000", 200),
        ("ADAPTER.example:5000", 200),
        ("192.0.2.9:5000", 200),
        ("evil.example", 403),
        ("localhost.evil.example:5000", 403),
        ("", 403),
    ],
)
async def test_host(host: str, status: int) -> None:
    assert (await answer({"Host": host})).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:5000", 200),
        ("https://localhost", 200),
        ("http://evil.example", 403),
        ("http://192.0.2.9", 403),  # an address, but not the one that was called
        ("null", 403),
        ("http://[", 403),
    ],
)
async def test_origin(origin: str, status: int) -> None:
    assert (await answer({"Origin": origin})).status_code == status


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN} ", 200),
        (None, 401),
        ("", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (f"Bearer {TOKEN}0", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer \u00e9", 401),
    ],
)
async def test_token(given: str | None, status: int) -> None:
    headers = {} if given is None else {b"Authorization": given.encode("latin-1")}
    found = await answer(headers, TOKEN)
    assert found.status_code == status
    if status == 401:
        assert found.headers["www-authenticate"].startswith('Bearer realm="DICOM Adapter"')
        assert found.headers["content-type"] == "application/problem+json"
        assert TOKEN not in found.text


async def test_health_asks_for_no_token() -> None:
    assert (await answer({}, TOKEN, "/health/live")).status_code == 200
    assert (await answer({}, TOKEN, "/healthy")).status_code == 401
    assert (await answer({}, TOKEN, "/openapi.json")).status_code == 401


async def test_without_a_token_none_is_asked() -> None:
    assert (await answer({"Authorization": "Bearer anything"})).status_code == 200


async def test_refusals_are_logged_with_the_peer_and_not_one_by_one() -> None:
    moments = iter((0.0, 1.0, 59.0, 60.0))
    app = Guard(hello, [], TOKEN, clock=lambda: next(moments))
    transport = httpx2.ASGITransport(app=app, client=("192.0.2.7", 4711))
    with structlog.testing.capture_logs() as lines:
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for _ in range(4):
                await client.get("/", headers={"Authorization": "Bearer guessed"})
    assert [(line["peer"], line["requests"]) for line in lines] == [("192.0.2.7", 1), ("192.0.2.7", 3)]
    assert "This is not the token of this adapter" in lines[0]["why"]
    assert "guessed" not in str(lines)
