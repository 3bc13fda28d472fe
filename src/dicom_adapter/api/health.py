"""/health: is the process alive, and can it take a study at this instant? Clara's words (contract 8.1)."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from dicom_adapter.api import schemas
from dicom_adapter.api.openapi import answer
from dicom_adapter.api.view import View, resources_of


def router(view: View) -> APIRouter:
    """The only calls that need no token: probes have none."""
    routes = APIRouter(prefix="/health", tags=["health"])

    @routes.get("/live")
    async def live() -> str:
        """The process answers."""
        return "Healthy"

    @routes.get("/ready", responses={**answer(200, schemas.Readiness), **answer(503, schemas.Readiness, "It cannot.")})
    def ready() -> JSONResponse:
        """Whether it can take a study: the SCP listens, and storage and database work."""
        reasons = tuple(view.live.not_ready())
        found = schemas.Readiness(status="Unhealthy" if reasons else "Healthy", reasons=reasons)
        return JSONResponse(found.model_dump(mode="json"), 503 if reasons else 200)

    @routes.get("/status")
    def status() -> schemas.Health:
        """The open associations, and how each service is. Always 200: `ready` is for probes."""
        reasons = tuple(view.live.not_ready())
        scp = view.live.scp()
        services: dict[str, schemas.ServiceState] = {"scp": "Running" if scp.listening else "Stopped"}
        polled = view.live.results_service()
        if polled is not None:
            services["results service"] = "Unknown" if polled.state == "away" else "Running"
        services |= {one.name: "Unknown" if one.failures else "Running" for one in view.live.workers()}
        resources = resources_of(view)
        services["resources"] = "Unknown" if any(one.stale_since is not None for one in resources) else "Running"
        return schemas.Health(
            status="Unhealthy" if reasons else "Healthy",
            reasons=reasons,
            active_dimse_connections=scp.open_associations,
            services=services,
            resources=resources,
        )

    return routes
