"""/api/v1/status and associations: the adapter at this instant, and who sent to it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from dicom_adapter import __version__
from dicom_adapter.api import paging, schemas
from dicom_adapter.api.errors import not_found
from dicom_adapter.api.openapi import problems
from dicom_adapter.api.view import View, resources_of
from dicom_adapter.store import queries


def router(view: View) -> APIRouter:
    """The routes. Plain functions: the framework runs them in threads, where they may block on the database."""
    routes = APIRouter(prefix="/api/v1", tags=["status"])

    @routes.get("/status")
    def status() -> schemas.Status:
        """The adapter at this instant."""
        with view.database.read() as connection:
            counts = queries.counts(connection)
        reasons = tuple(view.live.not_ready())
        return schemas.Status(
            version=__version__,
            started_at=view.live.started_at,
            ready=not reasons,
            not_ready=reasons,
            scp=view.live.scp(),
            storage=view.live.storage(),
            resources=resources_of(view),
            results_service=view.live.results_service(),
            workers=tuple(view.live.workers()),
            **counts,
        )

    @routes.get("/associations")
    def associations(asked: Annotated[paging.Associations, Query()]) -> schemas.Items[schemas.Association]:
        """Associations: on the first page those open now, then those that ended. For those turned away: rejections."""
        with view.database.read() as connection:
            rows = queries.list_associations(connection, asked.query())
        ended = [schemas.Association.of({**row}) for row in rows]
        known = {one.id for one in ended}
        still_open = [] if asked.before is not None else view.live.open_associations()
        shown = [one for one in still_open if asked.fits(one) and one.id not in known]
        return paging.page([*shown, *ended], rows, asked.limit)

    @routes.get("/rejections")
    def rejections(asked: Annotated[paging.Rejections, Query()]) -> schemas.Items[schemas.Rejection]:
        """Who was turned away since the adapter started, the latest first; the same again only counts."""
        return schemas.Items(items=tuple(view.live.rejections()[: asked.limit]), next=None)

    @routes.get("/associations/{association_id}", responses=problems(404))
    def association(association_id: str) -> schemas.Association:
        """One association."""
        with view.database.read() as connection:
            rows = queries.list_associations(connection, queries.only(association_id))
        found = [schemas.Association.of({**row}) for row in rows] or [
            one for one in view.live.open_associations() if one.id == association_id
        ]
        if not found:
            raise not_found("association", association_id)
        return found[0]

    return routes
