"""/api/v1: status, associations, studies, batches, jobs with logs, exports, and the actions on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from dicom_adapter import __version__
from dicom_adapter.api import schemas
from dicom_adapter.api.errors import ApiError, not_found
from dicom_adapter.api.timeline import timeline
from dicom_adapter.api.view import View
from dicom_adapter.core.whereabouts import whereabouts
from dicom_adapter.store import batches, export_tasks, jobs, queries
from dicom_adapter.store.queries import Page, Row

MAX_PAGE = 1000
LOG_TAIL = 256 * 1024  # bytes of each stream that an answer holds

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Before = Annotated[str | None, Query(description="Only ids below this one: the `next` of the page before.")]
State = Annotated[str | None, Query(description="Only those in this state.")]
Answer = TypeVar("Answer", bound=schemas.Schema)


def router(view: View) -> APIRouter:
    """The routes. Plain functions: the framework runs them in threads, where they may block on the database."""
    routes = APIRouter(prefix="/api/v1", responses={404: {"model": schemas.Problem}})
    _status(routes, view)
    _studies(routes, view)
    _work(routes, view)
    _actions(routes, view)
    return routes


def _status(routes: APIRouter, view: View) -> None:
    @routes.get("/status", tags=["status"])
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
            workers=tuple(view.live.workers()),
            **counts,
        )

    @routes.get("/associations", tags=["status"])
    def associations(limit: Limit = 100, before: Before = None) -> schemas.Items[schemas.Association]:
        """Associations: those open now, and those that ended, newest first. Rejected ones are in the log only."""
        with view.database.read() as connection:
            rows = queries.list_associations(connection, Page(limit, before))
        ended = _page(schemas.Association, rows, limit)
        if before is not None:
            return ended
        known = {one.id for one in ended.items}
        still_open = [one for one in view.live.open_associations() if one.id not in known]
        return schemas.Items(items=(*still_open, *ended.items), next=ended.next)


def _studies(routes: APIRouter, view: View) -> None:
    def fields(connection: Connection, row: Row) -> dict[str, Any]:
        study = row["study_instance_uid"]
        where = whereabouts(*queries.work_on(connection, study), view.clock.steady())
        return {
            **row,
            "called_ae_titles": queries.called_ae_titles(connection, study),
            "stage": where.stage.value,
            "waits": where.waits,
        }

    @routes.get("/studies", tags=["studies"])
    def studies(limit: Limit = 100) -> schemas.Items[schemas.Study]:
        """Studies, those that received something last first, each with where it is and why it waits."""
        with view.database.read() as connection:
            rows = queries.list_studies(connection, limit)
            return schemas.Items(items=tuple(schemas.Study.of(fields(connection, row)) for row in rows))

    @routes.get("/studies/{uid}", tags=["studies"])
    def study(uid: str) -> schemas.StudyDetail:
        """One study with its timeline."""
        with view.database.read() as connection:
            rows = queries.list_studies(connection, 1, uid)
            if not rows:
                raise ApiError(404, "No such study", f"No instance of study {uid!r} was received and taken up.")
            return schemas.StudyDetail.of(fields(connection, rows[0]), timeline=timeline(connection, uid))


def _work(routes: APIRouter, view: View) -> None:
    def times(row: Row) -> dict[str, Any]:
        steady = view.clock.steady()
        return {
            **row,
            "closes_in": _left(row.get("deadline"), steady),
            "next_attempt_in": _left(row.get("next_attempt_at"), steady),
        }

    @routes.get("/batches", tags=["batches"])
    def list_batches(limit: Limit = 100, before: Before = None, state: State = None) -> schemas.Items[schemas.Batch]:
        with view.database.read() as connection:
            rows = queries.list_batches(connection, Page(limit, before, state))
        return _page(schemas.Batch, [times(row) for row in rows], limit)

    @routes.get("/jobs", tags=["jobs"])
    def list_jobs(limit: Limit = 100, before: Before = None, state: State = None) -> schemas.Items[schemas.Job]:
        with view.database.read() as connection:
            rows = queries.list_jobs(connection, Page(limit, before, state))
        return _page(schemas.Job, [times(row) for row in rows], limit)

    @routes.get("/jobs/{job_id}", tags=["jobs"])
    def job(job_id: str) -> schemas.JobDetail:
        with view.database.read() as connection:
            rows = queries.list_jobs(connection, Page(1, only=job_id))
            if not rows:
                raise not_found("job", job_id)
            return schemas.JobDetail.of(times(rows[0]), quarantined_files=queries.quarantined(connection, job_id))

    @routes.get("/jobs/{job_id}/logs", tags=["jobs"])
    def job_logs(job_id: str) -> schemas.JobLogs:
        """What the job's last attempt wrote; of long output the end."""
        with view.database.read() as connection:
            found = jobs.get(connection, job_id)
        if found is None:
            raise not_found("job", job_id)
        files = view.live.log_files(job_id)
        return schemas.JobLogs(
            job=job_id, attempt=found.attempt, stdout=_tail(files.get("stdout")), stderr=_tail(files.get("stderr"))
        )

    @routes.get("/exports", tags=["exports"])
    def list_exports(limit: Limit = 100, before: Before = None, state: State = None) -> schemas.Items[schemas.Export]:
        with view.database.read() as connection:
            rows = queries.list_exports(connection, Page(limit, before, state))
        return _page(schemas.Export, [times(row) for row in rows], limit)

    @routes.get("/exports/{task_id}", tags=["exports"])
    def export(task_id: str) -> schemas.ExportDetail:
        """One export task with what became of each file."""
        with view.database.read() as connection:
            rows = queries.list_exports(connection, Page(1, only=task_id))
            if not rows:
                raise not_found("export", task_id)
            outcomes = [
                {**row, "status": None if row["status"] is None else f"{row['status']:04X}H"}
                for row in queries.export_outcomes(connection, task_id)
            ]
            return schemas.ExportDetail.of(times(rows[0]), outcomes=outcomes)


def _actions(routes: APIRouter, view: View) -> None:
    conflict: dict[int | str, dict[str, Any]] = {409: {"model": schemas.Problem}}

    def done(kind: str, found: str, action: str, changed: bool, unless: str) -> schemas.Done:
        if not changed:
            raise ApiError(409, f"Cannot {action} this {kind}", f"{kind} {found}: {unless}")
        view.wake()
        return schemas.Done(kind=kind, id=found, action=action)

    @routes.post("/jobs/{job_id}/retry", tags=["jobs"], responses=conflict)
    def retry_job(job_id: str) -> schemas.Done:
        """Run a failed or canceled job again, or a waiting one now."""
        with view.database.write() as connection:
            found = jobs.get(connection, job_id)
            if found is None:
                raise not_found("job", job_id)
            changed = jobs.retry(connection, job_id, view.live.tries_of(found.pipeline_id))
        return done(
            "job",
            job_id,
            "retry",
            changed,
            f"it is {found.state}; failed, canceled and waiting ones can be, until retention removes their files",
        )

    @routes.post("/jobs/{job_id}/cancel", tags=["jobs"], responses=conflict)
    async def cancel_job(job_id: str) -> schemas.Done:
        """End a job, with its process, for good."""
        return done("job", job_id, "cancel", await view.live.cancel_job(job_id), "there is none, or it is over")

    @routes.post("/exports/{task_id}/retry", tags=["exports"], responses=conflict)
    def retry_export(task_id: str) -> schemas.Done:
        """Send the files that failed again, now."""
        with view.database.write() as connection:
            if export_tasks.get(connection, task_id) is None:
                raise not_found("export", task_id)
            changed = export_tasks.retry(connection, task_id)
        return done("export", task_id, "retry", changed, "every file is delivered, or retention has removed them")

    @routes.post("/exports/{task_id}/cancel", tags=["exports"], responses=conflict)
    def cancel_export(task_id: str) -> schemas.Done:
        """Give up what is not delivered. What is being sent at this instant may still arrive."""
        with view.database.write() as connection:
            if export_tasks.get(connection, task_id) is None:
                raise not_found("export", task_id)
            changed = export_tasks.cancel(connection, task_id, view.clock.now())
        return done("export", task_id, "cancel", changed, "it is over")

    @routes.post("/batches/{batch_id}/release", tags=["batches"], responses=conflict)
    def release_batch(batch_id: str) -> schemas.Done:
        """Let a held batch go on, by what is configured for its AE Title now."""
        with view.database.write() as connection:
            found = batches.get(connection, batch_id)
            if found is None:
                raise not_found("batch", batch_id)
            policy = view.live.ae_title(found.called_ae_title)
            changed = batches.release(connection, batch_id, view.clock.now(), policy)
        return done("batch", batch_id, "release", changed, f"it is {found.state}, not held")

    @routes.post("/batches/{batch_id}/drop", tags=["batches"], responses=conflict)
    def drop_batch(batch_id: str) -> schemas.Done:
        """Give a held batch up: its files are removed after `storage.retention`."""
        with view.database.write() as connection:
            found = batches.get(connection, batch_id)
            if found is None:
                raise not_found("batch", batch_id)
            changed = batches.drop(connection, batch_id, view.clock.now())
        return done("batch", batch_id, "drop", changed, f"it is {found.state}, not held")


def _page(answer: type[Answer], rows: Sequence[Any], limit: int) -> schemas.Items[Answer]:
    items = tuple(answer.of(row) for row in rows)
    return schemas.Items(items=items, next=rows[-1]["id"] if len(rows) == limit else None)


def _left(moment: float | None, steady: float) -> float | None:
    return None if moment is None or moment <= steady else moment - steady


def _tail(path: Path | None) -> str:
    if path is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL))
        return file.read(LOG_TAIL).decode("utf-8", "replace")
