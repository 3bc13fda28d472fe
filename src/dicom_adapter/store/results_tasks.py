"""Tasks of the Results Service: stored as they are given (D7), downloaded (D8), exported, and reported (D10).

The exports of a task are rows of `export_tasks`, one for each destination, moved by the exporter like those of our own
jobs. `settle` draws the sum of them, in the transaction that ended the last one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, exists, func, insert, select, update

from dicom_adapter.core.model import (
    DeliveryState,
    ExportFile,
    ExportState,
    ExportTask,
    GivenTask,
    ResultsTask,
    ResultsTaskState,
)
from dicom_adapter.core.results_tasks import conclude, retries_so_far
from dicom_adapter.core.snapshot import Destination
from dicom_adapter.store import export_tasks as exports
from dicom_adapter.store.tables import export_files, export_tasks, jobs, results_tasks

ENDED = (
    ResultsTaskState.SUCCEEDED,
    ResultsTaskState.RETURNED,
    ResultsTaskState.FAILED,
    ResultsTaskState.CANCELED,
)
_OVER = (ResultsTaskState.SUCCEEDED, ResultsTaskState.CANCELED)  # nobody will want its files any more


def get(connection: Connection, results_task_id: str) -> ResultsTask | None:
    row = connection.execute(select(results_tasks).where(results_tasks.c.id == results_task_id)).one_or_none()
    return None if row is None else _task(row)


def by_task_id(connection: Connection, task_id: str) -> ResultsTask | None:
    """By the name that the Results Service gave it."""
    row = connection.execute(select(results_tasks).where(results_tasks.c.task_id == task_id)).one_or_none()
    return None if row is None else _task(row)


def add(
    connection: Connection, given: GivenTask, own_id: str, export_ids: Sequence[str], folder: str, now: float
) -> ResultsTask:
    """A task that was never seen before, with an export for each destination (D7).

    `folder`: where its files are going to be, relative to the storage folder. One with a problem has failed already.
    """
    problem = given.problem
    task = ResultsTask(
        id=own_id,
        task_id=given.task_id,
        job_id=_our_job(connection, given.job_id),
        platform_job_id=given.job_id,
        payload_id=given.payload_id,
        uris=given.uris,
        state=ResultsTaskState.RECEIVED if problem is None else ResultsTaskState.FAILED,
        turns=1,
        retries=retries_so_far(given.retries, 1),
        failures=0,
        created_at=now,
        ended_at=None if problem is None else now,
        reason=problem,
    )
    values = asdict(task) | {"uris": json.dumps(task.uris)}
    connection.execute(insert(results_tasks).values(**values))
    for export_id, destination in zip(export_ids, given.destinations, strict=True):
        export = ExportTask(export_id, None, destination, ExportState.DOWNLOADING, 0, 0, now, results_task_id=task.id)
        files = [
            ExportFile(export_id, number, f"{folder}/{number}.dcm", None, None, None, None, 0)
            for number in range(1, len(given.uris) + 1)
        ]
        exports.add(connection, export, files)
    return task


def take_up(
    connection: Connection, results_task_id: str, *, retries: int | None = None, next_attempt_at: float | None = None
) -> bool:
    """Another turn, for the exports that failed: `retries` given, by the service; else by a person, and then also for
    exports that were canceled, or succeeded without all their files.

    False: it is not over, there is no such export, or its files were removed.
    """
    wanted: ColumnElement[bool] = export_tasks.c.state.in_([ExportState.RETURNED, ExportState.FAILED])
    if retries is None:
        undelivered = exists().where(
            export_files.c.task_id == export_tasks.c.id, export_files.c.state == DeliveryState.FAILED
        )
        wanted |= (export_tasks.c.state == ExportState.CANCELED) | (
            (export_tasks.c.state == ExportState.SUCCEEDED) & undelivered
        )
    is_over = exists().where(
        results_tasks.c.id == results_task_id, results_tasks.c.state.in_(ENDED), results_tasks.c.removed_at.is_(None)
    )
    again = connection.execute(
        update(export_tasks)
        .where(export_tasks.c.results_task_id == results_task_id, wanted, is_over)
        .values(state=ExportState.DOWNLOADING, failures=0, ended_at=None, next_attempt_at=next_attempt_at)
    )
    if again.rowcount == 0:
        return False
    counted = {} if retries is None else {"retries": retries, "turns": results_tasks.c.turns + 1}
    connection.execute(
        update(results_tasks)
        .where(results_tasks.c.id == results_task_id)
        .values(
            state=ResultsTaskState.RECEIVED,
            failures=0,
            next_attempt_at=next_attempt_at,
            ended_at=None,
            reported_at=None,
            **counted,
        )
    )
    return True


def report_again(connection: Connection, results_task_id: str, now: float) -> None:
    """The service gave it although it is over: it has to be told once more. A report under way does not count."""
    connection.execute(
        update(results_tasks)
        .where(results_tasks.c.id == results_task_id, results_tasks.c.state.in_(ENDED))
        .values(ended_at=now, reported_at=None, next_attempt_at=None, failures=0)
    )


def waiting_for_files(connection: Connection, now: float) -> int:
    """How many tasks could be downloaded now. Those that wait for their time, or a destination, do not count."""
    due = results_tasks.c.next_attempt_at.is_(None) | (results_tasks.c.next_attempt_at <= now)
    query = select(func.count()).where(results_tasks.c.state == ResultsTaskState.RECEIVED, due)
    return connection.scalar(query) or 0


def to_download(connection: Connection, now: float, limit: int) -> list[ResultsTask]:
    """Tasks whose files are wanted and that wait for no time, oldest first."""
    return _due(connection, results_tasks.c.state == ResultsTaskState.RECEIVED, now, limit)


def to_report(connection: Connection, now: float, limit: int) -> list[ResultsTask]:
    """Tasks that are over, which the service has not taken note of; those that wait for no time, oldest first."""
    return _due(connection, _unreported(), now, limit)


def next_due_at(connection: Connection, now: float) -> float | None:
    """When the next task that waits for a time is due."""
    earliest: float | None = connection.scalar(
        select(func.min(results_tasks.c.next_attempt_at)).where(results_tasks.c.next_attempt_at > now)
    )
    return earliest


def unreported(connection: Connection) -> int:
    """How many tasks are over and not reported."""
    return connection.scalar(select(func.count()).where(_unreported())) or 0


def unknown_destination(connection: Connection, export_id: str, now: float, reason: str) -> None:
    """downloading -> failed: nobody knows the destination."""
    connection.execute(
        update(export_tasks)
        .where(export_tasks.c.id == export_id, export_tasks.c.state == ExportState.DOWNLOADING)
        .values(state=ExportState.FAILED, peer=None, ended_at=now, reason=reason)
    )


def downloaded(
    connection: Connection, results_task_id: str, peers: Mapping[str, Destination], files: Sequence[ExportFile]
) -> None:
    """received -> downloaded (D8): what each file is, or why it is not here. `peers`: by the id of the export.

    `files`: as of any export; those delivered by an earlier turn are left as they are.
    """
    changed = connection.execute(
        update(results_tasks)
        .where(results_tasks.c.id == results_task_id, results_tasks.c.state == ResultsTaskState.RECEIVED)
        .values(state=ResultsTaskState.DOWNLOADED, failures=0, next_attempt_at=None, reason=None)
    )
    if changed.rowcount == 0:
        return  # canceled meanwhile
    for export_id, peer in peers.items():
        moved = connection.execute(
            update(export_tasks)
            .where(export_tasks.c.id == export_id, export_tasks.c.state == ExportState.DOWNLOADING)
            .values(state=ExportState.PENDING, peer=exports.peer_json(peer), next_attempt_at=None)
        )
        if moved.rowcount and files:
            _set_files(connection, export_id, files)


def _set_files(connection: Connection, export_id: str, files: Sequence[ExportFile]) -> None:
    columns = ("path", "sop_class_uid", "sop_instance_uid", "study_instance_uid", "transfer_syntax_uid", "size")
    changed = (*columns, "state", "status", "reason")
    connection.execute(
        update(export_files)
        .where(
            export_files.c.task_id == export_id,
            export_files.c.number == bindparam("file"),
            export_files.c.state != DeliveryState.DELIVERED,
            export_files.c.state != DeliveryState.WARNING,
        )
        .values({name: bindparam(f"new_{name}") for name in changed}),
        [{"file": file.number} | {f"new_{name}": getattr(file, name) for name in changed} for file in files],
    )


def step_failed(connection: Connection, results_task_id: str, next_attempt_at: float, reason: str | None) -> None:
    """Keeping its files, or telling the service, failed for now: the state stays. `reason` None: it stays as well."""
    words = {} if reason is None else {"reason": reason}
    connection.execute(
        update(results_tasks)
        .where(results_tasks.c.id == results_task_id)
        .values(failures=results_tasks.c.failures + 1, next_attempt_at=next_attempt_at, **words)
    )


def settle(connection: Connection, results_task_id: str, now: float) -> ResultsTask | None:
    """Draw the sum of the task's exports: the task, if that changed its state.

    A task that is over stays so, but for a dead letter whose exports a person gave up.
    """
    task = get(connection, results_task_id)
    found = exports.of_results_task(connection, results_task_id)
    decided = conclude(found, task.retries) if task is not None and found else None
    if task is None or decided is None or decided.state is task.state:
        return None
    is_over = task.state in ENDED
    if is_over and decided.state is not ResultsTaskState.CANCELED:
        return None
    # The service took a dead letter for failed already; of one that it holds for later, it has to hear.
    told = task.reported_at if task.state is ResultsTaskState.FAILED else None
    connection.execute(
        update(results_tasks)
        .where(results_tasks.c.id == results_task_id)
        .values(
            state=decided.state,
            ended_at=now,
            reason=decided.reason,
            failures=0,
            next_attempt_at=None,
            reported_at=told if is_over else None,
        )
    )
    if decided.state is ResultsTaskState.RETURNED:
        connection.execute(
            update(export_tasks)
            .where(export_tasks.c.results_task_id == results_task_id, export_tasks.c.state == ExportState.FAILED)
            .values(state=ExportState.RETURNED)
        )
    return get(connection, results_task_id)


def reported(connection: Connection, task: ResultsTask, now: float) -> None:
    """The service has taken note of how the task ended (D10); it may have been taken up again meanwhile."""
    connection.execute(
        update(results_tasks)
        .where(
            results_tasks.c.id == task.id,
            results_tasks.c.state == task.state,
            results_tasks.c.ended_at == task.ended_at,
        )
        .values(reported_at=now, next_attempt_at=None, failures=0)
    )


def cancel(connection: Connection, results_task_id: str, now: float) -> bool:
    """Give up what is not delivered, by a person. False: it is over."""
    changed = [
        exports.cancel(connection, export.id, now) for export in exports.of_results_task(connection, results_task_id)
    ]
    if any(changed):
        settle(connection, results_task_id, now)
        return True
    # One that named no destination has no exports.
    done = connection.execute(
        update(results_tasks)
        .where(results_tasks.c.id == results_task_id, results_tasks.c.state == ResultsTaskState.FAILED)
        .values(state=ResultsTaskState.CANCELED)
    )
    return done.rowcount == 1


def removable(connection: Connection, before: float, limit: int) -> list[str]:
    """Tasks that ended well, or were given up, and were reported before then; their files are still there."""
    return list(
        connection.scalars(
            select(results_tasks.c.id)
            .where(
                results_tasks.c.state.in_(_OVER),
                results_tasks.c.ended_at <= before,
                results_tasks.c.reported_at <= before,
                results_tasks.c.removed_at.is_(None),
            )
            .order_by(results_tasks.c.ended_at, results_tasks.c.id)
            .limit(limit)
        )
    )


def mark_removed(connection: Connection, results_task_id: str, now: float) -> None:
    connection.execute(update(results_tasks).where(results_tasks.c.id == results_task_id).values(removed_at=now))


def forget(connection: Connection, before: float) -> None:
    """Drop the rows of tasks whose files left the disk before then."""
    connection.execute(delete(results_tasks).where(results_tasks.c.removed_at < before))


def _our_job(connection: Connection, platform_job_id: str) -> str | None:
    if not platform_job_id:
        return None
    found: str | None = connection.scalar(select(jobs.c.id).where(jobs.c.engine_job_id == platform_job_id).limit(1))
    return found


def _unreported() -> ColumnElement[bool]:
    return results_tasks.c.state.in_(ENDED) & results_tasks.c.reported_at.is_(None)


def _due(connection: Connection, condition: ColumnElement[bool], now: float, limit: int) -> list[ResultsTask]:
    rows = connection.execute(
        select(results_tasks)
        .where(condition, results_tasks.c.next_attempt_at.is_(None) | (results_tasks.c.next_attempt_at <= now))
        .order_by(results_tasks.c.created_at, results_tasks.c.id)
        .limit(limit)
    )
    return [_task(row) for row in rows]


def _task(row: Row[Any]) -> ResultsTask:
    fields = row._mapping
    values = {name: fields[name] for name in ResultsTask.__dataclass_fields__}
    return ResultsTask(**values | {"state": ResultsTaskState(row.state), "uris": tuple(json.loads(row.uris))})
