"""/health: is the process alive, and can it take a study at this instant? Clara's words (contract 8.1)."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from dicom_adapter.api.view import View


def router(view: View) -> APIRouter:
    routes = APIRouter(prefix="/health", tags=["health"])

    @routes.get("/live")
    async def live() -> str:
        """The process answers."""
        return "Healthy"

    @routes.get("/ready", responses={503: {"description": "It cannot take a study; the body says why."}})
    def ready() -> JSONResponse:
        """The SCP listens, and storage and database work."""
        reasons = list(view.live.not_ready())
        return JSONResponse(
            {"status": "Unhealthy" if reasons else "Healthy", "reasons": reasons}, 503 if reasons else 200
        )

    return routes
