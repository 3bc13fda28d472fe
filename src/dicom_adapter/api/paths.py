"""Paths as people type them: `/API/Config/ClaraAeTitle/` is `/api/config/claraaetitle`.

Served as if the path had been typed so, not redirected: `curl` does not follow by itself, and a POST that is redirected
loses its body with many clients.
"""

from __future__ import annotations

from dicom_adapter.api.asgi import Asgi, Receive, Scope, Send

ANY_CASE = "/api/config/"  # the specified calls (contract 3.1); names behind the kind stay as they came


class Paths:
    """Takes the slash off the end of a path, and the case off a specified one."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": _plain(scope["path"])}
        await self._app(scope, receive, send)


def _plain(path: str) -> str:
    path = path.rstrip("/") or "/"
    if not path.lower().startswith(ANY_CASE):
        return path
    _, api, config, kind, *name = path.split("/", 4)
    return "/".join(["", api.lower(), config.lower(), kind.lower(), *name])
