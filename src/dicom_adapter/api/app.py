"""The REST application: routes, errors and the guard put together."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI

from dicom_adapter import __version__
from dicom_adapter.api import config_routes, errors, health, status_routes
from dicom_adapter.api.guard import Asgi, Guard
from dicom_adapter.api.view import View


def create_app(view: View, hosts: Collection[str]) -> Asgi:
    """`hosts`: the names under which clients may call, beside those of loopback."""
    app = FastAPI(title="DICOM Adapter", version=__version__, docs_url=None, redoc_url=None)
    errors.install(app)
    config_routes.install(app)
    app.include_router(health.router(view))
    app.include_router(status_routes.router(view))
    app.include_router(config_routes.router(view))
    return Guard(config_routes.AnyCase(app), hosts)
