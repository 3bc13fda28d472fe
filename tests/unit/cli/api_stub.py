"""An HTTP server with the answers that a test gives it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class ApiStub:
    """`answers`: by method and path, what is sent, or (status, what is sent). `asked`: every call; `bodies`, `tokens`:
    what came with it.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, list[str]], str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    url: str = ""

    def page(self, *items: dict[str, Any], following: str | None = None) -> dict[str, Any]:
        return {"items": list(items), "next": following}


@contextmanager
def serving_api(stub: ApiStub) -> Iterator[ApiStub]:
    """Serve on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_DELETE(self) -> None:
            self.answer()

        def answer(self) -> None:
            parts = urlsplit(self.path)
            call = f"{self.command} {parts.path}"
            query = parse_qs(parts.query)
            stub.asked.append((call, query, self.headers.get("Content-Type", "")))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            stub.bodies.append(json.loads(body) if body else None)
            stub.tokens.append(self.headers.get("Authorization"))
            found = stub.answers.get(call + "".join(f"?before={value}" for value in query.get("before", [])))
            if found is None:
                found = (404, {"title": "Not found", "status": 404, "detail": f"nothing at {call}"})
            status, answer = found if isinstance(found, tuple) else (200, found)
            raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        stub.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
