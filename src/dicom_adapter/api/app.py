"""The REST application: routes, errors and the door put together."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import Depends

from dicom_adapter import __version__
from dicom_adapter.api import (
    action_routes,
    config_routes,
    errors,
    health,
    resource_routes,
    status_routes,
    study_routes,
    work_routes,
)
from dicom_adapter.api.asgi import Asgi
from dicom_adapter.api.bodies import Bodies
from dicom_adapter.api.guard import Guard
from dicom_adapter.api.json_body import says_json
from dicom_adapter.api.openapi import DescribedApi
from dicom_adapter.api.paths import Paths
from dicom_adapter.api.view import View

_ROUTES = (
    health,
    config_routes,
    resource_routes,
    status_routes,
    study_routes,
    work_routes,
    action_routes,
)


def create_app(view: View, hosts: Collection[str], token: str | None = None) -> Asgi:
    """`hosts`: the names under which clients may call, beside those of loopback. `token`: asked of them, if any."""
    app = DescribedApi(
        asks_token=token is not None,
        title="DICOM Adapter",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(says_json)],
    )
    errors.install(app)
    config_routes.install(app)
    for part in _ROUTES:
        app.include_router(part.router(view))
    return Paths(Guard(Bodies(app), hosts, token))
