"""/api/v1/batches, jobs with their logs, results tasks, exports: the work on what was received, and what is sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query

from dicom_adapter.api import paging, schemas
from dicom_adapter.api.errors import not_found
from dicom_adapter.api.openapi import problems
from dicom_adapter.api.view import View
from dicom_adapter.store import jobs, queries

LOG_TAIL = 256 * 1024  # bytes of each stream that an answer holds


def router(view: View) -> APIRouter:
    """The routes. Plain functions: the framework runs them in threads, where they may block on the database."""
    routes = APIRouter(prefix="/api/v1")
    _batches(routes, view)
    _jobs(routes, view)
    _results_tasks(routes, view)
    _exports(routes, view)
    return routes


def _times(view: View, row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row with the times that are left until what it waits for."""
    steady = view.clock.steady()
    return {
        **row,
        "closes_in": _left(row.get("deadline"), steady),
        "next_attempt_in": _left(row.get("next_attempt_at"), steady),
    }


def _batches(routes: APIRouter, view: View) -> None:
    @routes.get("/batches", tags=["batches"])
    def list_batches(asked: Annotated[paging.Batches, Query()]) -> schemas.Items[schemas.Batch]:
        """Batches: what is handed to pipelines as one."""
        with view.database.read() as connection:
            rows = queries.list_batches(connection, asked.query())
        return paging.page([schemas.Batch.of(_times(view, row)) for row in rows], rows, asked.limit)

    @routes.get("/batches/{batch_id}", tags=["batches"], responses=problems(404))
    def batch(batch_id: str) -> schemas.Batch:
        """One batch."""
        with view.database.read() as connection:
            rows = queries.list_batches(connection, queries.only(batch_id))
        if not rows:
            raise not_found("batch", batch_id)
        return schemas.Batch.of(_times(view, rows[0]))


def _jobs(routes: APIRouter, view: View) -> None:
    @routes.get("/jobs", tags=["jobs"])
    def list_jobs(asked: Annotated[paging.Jobs, Query()]) -> schemas.Items[schemas.Job]:
        """Jobs: runs of pipelines."""
        with view.database.read() as connection:
            rows = queries.list_jobs(connection, asked.query())
        return paging.page([schemas.Job.of(_times(view, row)) for row in rows], rows, asked.limit)

    @routes.get("/jobs/{job_id}", tags=["jobs"], responses=problems(404))
    def job(job_id: str) -> schemas.JobDetail:
        """One job with the result files that went to no destination."""
        with view.database.read() as connection:
            rows = queries.list_jobs(connection, queries.only(job_id))
            if not rows:
                raise not_found("job", job_id)
            quarantined = queries.quarantined(connection, job_id)
        return schemas.JobDetail.of(_times(view, rows[0]), quarantined_files=quarantined)

    @routes.get("/jobs/{job_id}/logs", tags=["jobs"], responses=problems(404))
    def job_logs(job_id: str) -> schemas.JobLogs:
        """What the job's last attempt wrote; of long output the end."""
        with view.database.read() as connection:
            found = jobs.get(connection, job_id)
        if found is None:
            raise not_found("job", job_id)
        files = view.live.log_files(job_id)
        return schemas.JobLogs(
            job=job_id,
            attempt=found.attempt,
            stdout=_tail(files.get("stdout")),
            stderr=_tail(files.get("stderr")),
            elsewhere=view.live.logs_elsewhere(job_id),
        )


def _results_tasks(routes: APIRouter, view: View) -> None:
    @routes.get("/results-tasks", tags=["results-tasks"])
    def list_results_tasks(asked: Annotated[paging.ResultsTasks, Query()]) -> schemas.Items[schemas.ResultsTask]:
        """Tasks of Clara's Results Service: files of a payload for some destinations."""
        with view.database.read() as connection:
            rows = queries.list_results_tasks(connection, asked.query())
        return paging.page([schemas.ResultsTask.of(_times(view, row)) for row in rows], rows, asked.limit)

    @routes.get("/results-tasks/{results_task_id}", tags=["results-tasks"], responses=problems(404))
    def results_task(results_task_id: str) -> schemas.ResultsTaskDetail:
        """One results task with its export to each destination."""
        with view.database.read() as connection:
            rows = queries.list_results_tasks(connection, queries.only(results_task_id))
            if not rows:
                raise not_found("results task", results_task_id)
            page = queries.Page(where={"results_task_id": results_task_id})
            exports = [_times(view, row) for row in queries.list_exports(connection, page)]
        return schemas.ResultsTaskDetail.of(_times(view, rows[0]), exports=exports)


def _exports(routes: APIRouter, view: View) -> None:
    @routes.get("/exports", tags=["exports"])
    def list_exports(asked: Annotated[paging.Exports, Query()]) -> schemas.Items[schemas.Export]:
        """Export tasks: files for a destination."""
        with view.database.read() as connection:
            rows = queries.list_exports(connection, asked.query())
        return paging.page([schemas.Export.of(_times(view, row)) for row in rows], rows, asked.limit)

    @routes.get("/exports/{task_id}", tags=["exports"], responses=problems(404))
    def export(task_id: str) -> schemas.ExportDetail:
        """One export task with what became of each file."""
        with view.database.read() as connection:
            rows = queries.list_exports(connection, queries.only(task_id))
            if not rows:
                raise not_found("export", task_id)
            outcomes = [
                {**row, "status": None if row["status"] is None else f"{row['status']:04X}H"}
                for row in queries.export_outcomes(connection, task_id)
            ]
        return schemas.ExportDetail.of(_times(view, rows[0]), outcomes=outcomes)


def _left(moment: float | None, steady: float) -> float | None:
    return None if moment is None or moment <= steady else moment - steady


def _tail(path: Path | None) -> str:
    if path is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL))
        return file.read(LOG_TAIL).decode("utf-8", "replace")
