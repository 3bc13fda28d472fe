"""/api/v1: what a person does about work: retry, cancel, release, drop, resend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from sqlalchemy import Connection

from dicom_adapter.api import schemas
from dicom_adapter.api.errors import ApiError, not_found
from dicom_adapter.api.json_body import BadBodyError, json_object
from dicom_adapter.api.openapi import problems, takes
from dicom_adapter.api.view import View
from dicom_adapter.core.model import Batch, ExportTask, Job, ResultsTask
from dicom_adapter.identifiers import new_id
from dicom_adapter.store import batches, export_tasks, jobs, queries, results_tasks


async def _no_body(request: Request) -> None:
    """An action that needs no words takes an empty body, or an empty object: the API takes JSON only."""
    if await request.body() and await json_object(request):
        raise BadBodyError("this action takes no fields: send {}")


async def _resend_body(request: Request) -> schemas.Resend:
    try:
        return schemas.Resend.model_validate(await json_object(request))
    except ValidationError:
        raise BadBodyError('the body is {"destination": NAME}, and nothing else') from None


Route = TypeVar("Route", bound=Callable[..., Any])
ResendBody: TypeAlias = Annotated[schemas.Resend, Depends(_resend_body)]
_EMPTY = takes({"type": "object", "additionalProperties": False}, {})
_WITH_NAME = takes(schemas.Resend.model_json_schema(), {"destination": "PACS"})
_REFUSALS = problems(404, 409)


def router(view: View) -> APIRouter:
    """The routes. Plain functions: the framework runs them in threads, where they may block on the database."""
    routes = APIRouter(prefix="/api/v1", responses=_REFUSALS)
    _jobs(routes, view)
    _exports(routes, view)
    _results_tasks(routes, view)
    _batches(routes, view)
    _resend(routes, view)
    return routes


def _action(routes: APIRouter, path: str, *checks: Callable[..., None]) -> Callable[[Route], Route]:
    """A route that takes no fields; `checks` run before it, in threads."""
    dependencies = [Depends(_no_body), *map(Depends, checks)]
    return routes.post(path, tags=[path.split("/")[1]], dependencies=dependencies, openapi_extra=_EMPTY)


def _done(view: View, kind: str, found: str, action: str, changed: bool, unless: str) -> schemas.Done:
    if not changed:
        raise ApiError(409, f"Cannot {action} this {kind}", f"{kind} {found}: {unless}")
    view.wake()
    return schemas.Done(kind=kind, id=found, action=action)


def _jobs(routes: APIRouter, view: View) -> None:
    def known(job_id: str) -> None:
        with view.database.read() as connection:
            _job(connection, job_id)

    @_action(routes, "/jobs/{job_id}/retry")
    def retry_job(job_id: str) -> schemas.Done:
        """Run a failed or canceled job again, or a waiting one now."""
        with view.database.write() as connection:
            found = _job(connection, job_id)
            changed = jobs.retry(connection, job_id, view.live.tries_of(found.pipeline_id))
        unless = f"it is {found.state}; failed, canceled and waiting ones can be, until retention removes their files"
        return _done(view, "job", job_id, "retry", changed, unless)

    @_action(routes, "/jobs/{job_id}/cancel", known)
    async def cancel_job(job_id: str) -> schemas.Done:
        """End a job, with its process, for good; or give a failed one up, whose files may go then."""
        return _done(view, "job", job_id, "cancel", await view.live.cancel_job(job_id), "it is over")


def _exports(routes: APIRouter, view: View) -> None:
    @_action(routes, "/exports/{task_id}/retry")
    def retry_export(task_id: str) -> schemas.Done:
        """Send the files that failed again, now."""
        with view.database.write() as connection:
            task = _task(connection, task_id)
            changed = (
                export_tasks.retry(connection, task_id)
                if task.results_task_id is None
                else results_tasks.take_up(connection, task.results_task_id)
            )
        unless = "every file is delivered, or retention has removed them"
        return _done(view, "export", task_id, "retry", changed, unless)

    @_action(routes, "/exports/{task_id}/cancel")
    def cancel_export(task_id: str) -> schemas.Done:
        """Give up what is not delivered. What is being sent at this instant may still arrive."""
        with view.database.write() as connection:
            task = _task(connection, task_id)
            changed = export_tasks.cancel(connection, task_id, view.clock.now())
            if task.results_task_id is not None:
                results_tasks.settle(connection, task.results_task_id, view.clock.now())
        return _done(view, "export", task_id, "cancel", changed, "it is over")


def _results_tasks(routes: APIRouter, view: View) -> None:
    @_action(routes, "/results-tasks/{results_task_id}/retry")
    def retry_results_task(results_task_id: str) -> schemas.Done:
        """Download and send what failed again, now; the Results Service is told what comes of it."""
        with view.database.write() as connection:
            _results_task(connection, results_task_id)
            changed = results_tasks.take_up(connection, results_task_id)
        unless = "it is under way, every file is delivered, it names no destination, or retention has removed its files"
        return _done(view, "results task", results_task_id, "retry", changed, unless)

    @_action(routes, "/results-tasks/{results_task_id}/cancel")
    def cancel_results_task(results_task_id: str) -> schemas.Done:
        """Give up what is not delivered; the Results Service is told that it failed for good."""
        with view.database.write() as connection:
            _results_task(connection, results_task_id)
            changed = results_tasks.cancel(connection, results_task_id, view.clock.now())
        return _done(view, "results task", results_task_id, "cancel", changed, "it is over")


def _batches(routes: APIRouter, view: View) -> None:
    @_action(routes, "/batches/{batch_id}/release")
    def release_batch(batch_id: str) -> schemas.Done:
        """Let a held batch go on, by what is configured for its AE Title now."""
        with view.database.write() as connection:
            found = _batch(connection, batch_id)
            policy = view.live.ae_title(found.called_ae_title)
            changed = batches.release(connection, batch_id, view.clock.now(), policy)
        return _done(view, "batch", batch_id, "release", changed, f"it is {found.state}, not held")

    @_action(routes, "/batches/{batch_id}/drop")
    def drop_batch(batch_id: str) -> schemas.Done:
        """Give a held batch up: its files are removed after `storage.retention`."""
        with view.database.write() as connection:
            found = _batch(connection, batch_id)
            changed = batches.drop(connection, batch_id, view.clock.now())
        return _done(view, "batch", batch_id, "drop", changed, f"it is {found.state}, not held")


def _resend(routes: APIRouter, view: View) -> None:
    def resent(wanted: schemas.Resend, what: str, tasks: list[str]) -> schemas.Resent:
        if not tasks:
            why = (
                f"there is nothing to send to {wanted.destination}: no result was made for a destination, or it is on"
                " its way there, or in quarantine (`clara dicom jobs`), or was removed (`storage.retention`)"
            )
            raise ApiError(409, "Nothing to send", f"{what}: {why}")
        view.wake()
        return schemas.Resent(destination=wanted.destination, exports=tuple(tasks))

    def check(wanted: schemas.Resend) -> None:
        if not any(wanted.destination.lower() == name.lower() for name in view.live.destinations()):
            raise not_found("destination", wanted.destination)

    @routes.post("/exports/{task_id}/resend", tags=["exports"], openapi_extra=_WITH_NAME)
    def resend_export(task_id: str, wanted: ResendBody) -> schemas.Resent:
        """Send every file of an export to a destination, the same or another, whatever became of them before."""
        check(wanted)
        with view.database.write() as connection:
            task = _task(connection, task_id)
            made = export_tasks.resend(connection, task, wanted.destination, new_id(), view.clock.now())
        return resent(wanted, f"export {task_id}", [made] if made else [])

    @routes.post("/studies/{uid}/resend", tags=["studies"], openapi_extra=_WITH_NAME)
    def resend_study(uid: str, wanted: ResendBody) -> schemas.Resent:
        """Send the results in a study to a destination, whatever became of them before."""
        check(wanted)
        with view.database.write() as connection:
            if not queries.list_studies(connection, queries.Page(1), uid):
                raise not_found("study", uid)
            made = [
                export_tasks.resend(connection, task, wanted.destination, new_id(), view.clock.now(), study=uid)
                for task in export_tasks.of_study(connection, uid)
            ]
        return resent(wanted, f"study {uid}", [task for task in made if task is not None])


def _job(connection: Connection, job_id: str) -> Job:
    found = jobs.get(connection, job_id)
    if found is None:
        raise not_found("job", job_id)
    return found


def _task(connection: Connection, task_id: str) -> ExportTask:
    found = export_tasks.get(connection, task_id)
    if found is None:
        raise not_found("export", task_id)
    return found


def _results_task(connection: Connection, results_task_id: str) -> ResultsTask:
    found = results_tasks.get(connection, results_task_id)
    if found is None:
        raise not_found("results task", results_task_id)
    return found


def _batch(connection: Connection, batch_id: str) -> Batch:
    found = batches.get(connection, batch_id)
    if found is None:
        raise not_found("batch", batch_id)
    return found
