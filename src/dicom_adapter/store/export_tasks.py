"""Export tasks: made when a job succeeds or the Results Service gives a task, moved by the exporter.

One row for each file and what became of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, func, insert, select, update

from dicom_adapter.core.model import DeliveryState, ExportFile, ExportState, ExportTask, FileOutcome
from dicom_adapter.core.snapshot import Destination
from dicom_adapter.store.tables import export_files, export_tasks, jobs, results_tasks


def add(connection: Connection, task: ExportTask, files: Sequence[ExportFile]) -> None:
    """A new pending task with its files."""
    connection.execute(
        insert(export_tasks).values(
            id=task.id,
            job_id=task.job_id,
            results_task_id=task.results_task_id,
            destination=task.destination,
            state=task.state,
            created_at=task.created_at,
        )
    )
    _add_files(connection, files)


def get(connection: Connection, task_id: str) -> ExportTask | None:
    row = connection.execute(select(export_tasks).where(export_tasks.c.id == task_id)).one_or_none()
    return None if row is None else _task(row)


def due(connection: Connection, now: float) -> list[ExportTask]:
    """Of each destination the oldest task that waits for no time: the queues stay in the database."""
    order = (export_tasks.c.created_at, export_tasks.c.id)
    place = func.row_number().over(partition_by=func.lower(export_tasks.c.destination), order_by=order)
    ranked = (
        select(export_tasks.c.id, place.label("place"))
        .where(
            export_tasks.c.state == ExportState.PENDING,
            export_tasks.c.next_attempt_at.is_(None) | (export_tasks.c.next_attempt_at <= now),
        )
        .subquery()
    )
    first = select(export_tasks).join(ranked, ranked.c.id == export_tasks.c.id).where(ranked.c.place == 1)
    return [_task(row) for row in connection.execute(first.order_by(*order))]


def next_due_at(connection: Connection, now: float) -> float | None:
    """When the next task that waits is due."""
    earliest: float | None = connection.scalar(
        select(func.min(export_tasks.c.next_attempt_at)).where(
            export_tasks.c.state == ExportState.PENDING, export_tasks.c.next_attempt_at > now
        )
    )
    return earliest


def of_job(connection: Connection, job_id: str) -> list[ExportTask]:
    """Those of its own results, and those of results tasks that are about it."""
    rows = connection.execute(select(export_tasks).where(about_jobs([job_id])).order_by(export_tasks.c.id))
    return [_task(row) for row in rows]


def about_jobs(job_ids: Sequence[str]) -> ColumnElement[bool]:
    """The condition that an export belongs to one of these jobs, by itself or by its results task."""
    about = select(results_tasks.c.id).where(results_tasks.c.job_id.in_(job_ids))
    return export_tasks.c.job_id.in_(job_ids) | export_tasks.c.results_task_id.in_(about)


def of_results_task(connection: Connection, results_task_id: str) -> list[ExportTask]:
    rows = connection.execute(
        select(export_tasks).where(export_tasks.c.results_task_id == results_task_id).order_by(export_tasks.c.id)
    )
    return [_task(row) for row in rows]


def files_of(connection: Connection, task_id: str) -> list[ExportFile]:
    rows = connection.execute(
        select(export_files).where(export_files.c.task_id == task_id).order_by(export_files.c.number)
    )
    return [_file(row) for row in rows]


def record_outcomes(connection: Connection, task_id: str, outcomes: Iterable[FileOutcome]) -> None:
    """What became of some files in this try."""
    values = [
        {"file": one.number, "new_state": one.state, "new_status": one.status, "new_reason": one.reason}
        for one in outcomes
    ]
    if values:
        connection.execute(
            update(export_files)
            .where(export_files.c.task_id == task_id, export_files.c.number == bindparam("file"))
            .values(state=bindparam("new_state"), status=bindparam("new_status"), reason=bindparam("new_reason")),
            values,
        )


def attempted(
    connection: Connection,
    task_id: str,
    *,
    state: ExportState,
    failed: bool,
    next_attempt_at: float | None,
    ended_at: float | None,
    reason: str | None,
) -> None:
    """The verdict on a finished try."""
    connection.execute(
        update(export_tasks)
        .where(export_tasks.c.id == task_id, export_tasks.c.state == ExportState.PENDING)
        .values(
            state=state,
            attempts=export_tasks.c.attempts + 1,
            failures=export_tasks.c.failures + int(failed),
            next_attempt_at=next_attempt_at,
            ended_at=ended_at,
            reason=reason,
        )
    )


def retry(connection: Connection, task_id: str) -> bool:
    """Try now: a dead letter, a waiting task, or one that succeeded with failed files. False: nothing to send.

    For the exports of our own jobs; one of a results task is tried again with its task (`results_tasks.take_up`).
    """
    task = get(connection, task_id)
    if task is None or task.job_id is None or _files_removed(connection, task):
        return False
    unsent = any(file.state in (DeliveryState.FAILED, DeliveryState.PENDING) for file in files_of(connection, task_id))
    if not unsent and task.state is not ExportState.FAILED:
        return False
    _begin_again(connection, task_id)
    return True


def cancel(connection: Connection, task_id: str, now: float) -> bool:
    """Give up what is not delivered, by a person. Of a results task, the sum is the caller's to draw."""
    changed = connection.execute(
        update(export_tasks)
        .where(
            export_tasks.c.id == task_id,
            export_tasks.c.state.not_in([ExportState.SUCCEEDED, ExportState.CANCELED]),
        )
        .values(state=ExportState.CANCELED, ended_at=now, next_attempt_at=None, reason="canceled by a person")
    )
    return changed.rowcount == 1


def of_study(connection: Connection, study: str) -> list[ExportTask]:
    """Of each job or results task with files in a study one export, which stands for all: they hold the same files."""
    first = (
        select(func.min(export_tasks.c.id))
        .join(export_files, export_files.c.task_id == export_tasks.c.id)
        .where(export_files.c.study_instance_uid == study)
        .group_by(export_tasks.c.job_id, export_tasks.c.results_task_id)
    )
    rows = connection.execute(select(export_tasks).where(export_tasks.c.id.in_(first)).order_by(export_tasks.c.id))
    return [_task(row) for row in rows]


def resend(
    connection: Connection, task: ExportTask, destination: str, new_id: str, now: float, *, study: str | None = None
) -> str | None:
    """Send every file of a task, or those in a study, to a destination, whatever became of them before.

    Answers with the id of the task that does it: `new_id`, or that of the one which the job has for the destination.
    None: that one is under way, there are no such files, or retention has removed them. Of a results task, all exports
    have to be over: what is sent beside them is nothing to its verdict.
    """
    if _files_removed(connection, task):
        return None
    siblings = _siblings(connection, task)
    there = next((one for one in siblings if one.destination.lower() == destination.lower()), None)
    files = [
        one for one in files_of(connection, task.id) if one.is_sendable and study in (None, one.study_instance_uid)
    ]
    in_the_way = [there] if task.results_task_id is None else siblings
    under_way = (ExportState.PENDING, ExportState.DOWNLOADING)
    if not files or any(one is not None and one.state in under_way for one in in_the_way):
        return None
    target = new_id if there is None else there.id
    fresh = [replace(one, task_id=target, state=DeliveryState.PENDING, status=None, reason=None) for one in files]
    if there is None:
        made = replace(task, id=target, destination=destination, state=ExportState.PENDING, created_at=now, peer=None)
        add(connection, made, fresh)
        return target
    numbers = [one.number for one in files]
    connection.execute(delete(export_files).where(export_files.c.task_id == target, export_files.c.number.in_(numbers)))
    _add_files(connection, fresh)
    _begin_again(connection, target)
    return target


def _begin_again(connection: Connection, task_id: str) -> None:
    connection.execute(
        update(export_tasks)
        .where(export_tasks.c.id == task_id)
        .values(state=ExportState.PENDING, peer=None, failures=0, next_attempt_at=None, ended_at=None)
    )


def _add_files(connection: Connection, files: Sequence[ExportFile]) -> None:
    if files:
        connection.execute(
            insert(export_files),
            [{name: getattr(file, name) for name in ExportFile.__dataclass_fields__} for file in files],
        )


def peer_json(peer: Destination) -> str:
    """The column `peer`."""
    return json.dumps(asdict(peer))


def _siblings(connection: Connection, task: ExportTask) -> list[ExportTask]:
    """The exports of the same job or results task, itself among them."""
    if task.results_task_id is not None:
        return of_results_task(connection, task.results_task_id)
    rows = connection.execute(select(export_tasks).where(export_tasks.c.job_id == task.job_id))
    return [_task(row) for row in rows]


def _files_removed(connection: Connection, task: ExportTask) -> bool:
    of, key = (jobs, task.job_id) if task.job_id is not None else (results_tasks, task.results_task_id)
    return connection.scalar(select(of.c.removed_at).where(of.c.id == key)) is not None


def _task(row: Row[Any]) -> ExportTask:
    fields = row._mapping
    values = {name: fields[name] for name in ExportTask.__dataclass_fields__}
    peer = None if row.peer is None else Destination(**json.loads(row.peer))
    return ExportTask(**values | {"state": ExportState(row.state), "peer": peer})


def _file(row: Row[Any]) -> ExportFile:
    fields = row._mapping
    values = {name: fields[name] for name in ExportFile.__dataclass_fields__}
    return ExportFile(**values | {"state": DeliveryState(row.state)})
