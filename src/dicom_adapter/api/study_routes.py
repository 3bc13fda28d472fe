"""/api/v1/studies: where each study is, and why it waits."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from dicom_adapter.api import paging, schemas
from dicom_adapter.api.errors import not_found
from dicom_adapter.api.openapi import problems
from dicom_adapter.api.timeline import timeline
from dicom_adapter.api.view import View
from dicom_adapter.core.whereabouts import whereabouts
from dicom_adapter.store import queries
from dicom_adapter.store.queries import Row


def router(view: View) -> APIRouter:
    """The routes. Plain functions: the framework runs them in threads, where they may block on the database."""
    routes = APIRouter(prefix="/api/v1", tags=["studies"])

    def fields(connection: Connection, row: Row) -> dict[str, Any]:
        study = row["study_instance_uid"]
        where = whereabouts(queries.work_on(connection, study), view.clock.steady(), view.database.fault)
        return {
            **row,
            "called_ae_titles": queries.called_ae_titles(connection, study),
            "stage": where.stage.value,
            "waits": where.waits,
        }

    @routes.get("/studies")
    def studies(asked: Annotated[paging.Studies, Query()]) -> schemas.Items[schemas.Study]:
        """Studies, those that received something last first, each with where it is and why it waits."""
        with view.database.read() as connection:
            rows = queries.list_studies(connection, asked.query())
            items = [schemas.Study.of(fields(connection, row)) for row in rows]
        return paging.page(items, rows, asked.limit, queries.place_of)

    @routes.get("/studies/{uid}", responses=problems(404))
    def study(uid: str) -> schemas.StudyDetail:
        """One study with its timeline."""
        with view.database.read() as connection:
            rows = queries.list_studies(connection, queries.Page(1), uid)
            if not rows:
                raise not_found("study", uid)
            return schemas.StudyDetail.of(fields(connection, rows[0]), timeline=timeline(connection, uid))

    return routes
