"""What people and programs ask: where is each study, and what waits. Reads only; nothing here decides.

Lists are newest first and paged by id: ids sort by time, so `before` the last id of a page is the next page. What is
counted is counted for the rows of the page alone: everything would be counted again for each study of a list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Exists, RowMapping, Select, Table, case, func, select

from dicom_adapter.core.model import AssociationOutcome, BatchState, Missing
from dicom_adapter.core.whereabouts import BatchFacts, Work
from dicom_adapter.store import export_tasks as task_rows
from dicom_adapter.store import jobs as job_rows
from dicom_adapter.store.tables import (
    associations,
    batches,
    export_files,
    export_tasks,
    instances,
    jobs,
    processings,
    quarantined_files,
    refusals,
    results_tasks,
)

Row = RowMapping
PLACE = r"^[0-9]{1,15}(\.[0-9]{1,9})?_[0-9.]{1,64}$"  # of a study in the list of them


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list. `before`: only ids below it. `where`: by the name of a column, the value that it has."""

    limit: int = 100
    before: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)


def only(id_: str) -> Page:
    """The page that holds one row, or none."""
    return Page(1, where={"id": id_})


def counts(connection: Connection) -> dict[str, dict[str, int]]:
    """How many batches, jobs, exports and results tasks are in each state."""
    return {
        name: {row.state: row.number for row in connection.execute(_by_state(table))}
        for name, table in (
            ("batches", batches),
            ("jobs", jobs),
            ("exports", export_tasks),
            ("results_tasks", results_tasks),
        )
    }


def list_associations(connection: Connection, page: Page, study: str | None = None) -> Sequence[Row]:
    query = _paged(select(associations), associations, page)
    if study is not None:
        query = query.where(
            associations.c.id.in_(select(instances.c.association_id).where(instances.c.study_instance_uid == study))
        )
    return connection.execute(query).mappings().all()


def list_batches(connection: Connection, page: Page, study: str | None = None) -> Sequence[Row]:
    """Batches with the number of their instances and studies and, while one waits, its processor's words."""
    shown = select(batches.c.id)
    if study is not None:
        shown = shown.where(
            batches.c.id.in_(
                select(associations.c.batch_id)
                .join(instances, instances.c.association_id == associations.c.id)
                .where(instances.c.study_instance_uid == study)
            )
        )
    shown = _paged(shown, batches, page)
    used = ~instances.c.superseded
    inside = (
        select(
            associations.c.batch_id,
            func.count().filter(used).label("instances"),
            func.count(instances.c.study_instance_uid.distinct()).filter(used).label("studies"),
            func.sum(instances.c.size).filter(used).label("bytes"),
            func.count().filter(~used).label("superseded"),
        )
        .join(associations, associations.c.id == instances.c.association_id)
        .where(associations.c.batch_id.in_(shown))
        .group_by(associations.c.batch_id)
        .subquery()
    )
    waiting = (
        select(
            processings.c.batch_id,
            func.min(processings.c.next_attempt_at).label("next_attempt_at"),
            func.max(processings.c.reason).label("reason"),
        )
        .where(processings.c.done_at.is_(None), processings.c.batch_id.in_(shown))
        .group_by(processings.c.batch_id)
        .subquery()
    )
    query = (
        select(
            batches,
            func.coalesce(inside.c.instances, 0).label("instances"),
            func.coalesce(inside.c.studies, 0).label("studies"),
            func.coalesce(inside.c.bytes, 0).label("bytes"),
            func.coalesce(inside.c.superseded, 0).label("superseded"),
            waiting.c.next_attempt_at,
            waiting.c.reason,
        )
        .outerjoin(inside, inside.c.batch_id == batches.c.id)
        .outerjoin(waiting, waiting.c.batch_id == batches.c.id)
        .where(batches.c.id.in_(shown))
        .order_by(batches.c.id.desc())
    )
    return connection.execute(query).mappings().all()


def list_jobs(connection: Connection, page: Page, batch_ids: Sequence[str] | None = None) -> Sequence[Row]:
    """Jobs with what became of their results."""
    shown = select(jobs.c.id)
    if batch_ids is not None:
        shown = shown.where(jobs.c.batch_id.in_(batch_ids))
    shown = _paged(shown, jobs, page)
    quarantined = _count_by(quarantined_files.c.job_id, shown, "quarantined")
    exports = _count_by(export_tasks.c.job_id, shown, "exports")
    query = (
        select(
            jobs,
            func.coalesce(quarantined.c.quarantined, 0).label("quarantined"),
            func.coalesce(exports.c.exports, 0).label("exports"),
        )
        .outerjoin(quarantined, quarantined.c.key == jobs.c.id)
        .outerjoin(exports, exports.c.key == jobs.c.id)
        .where(jobs.c.id.in_(shown))
        .order_by(jobs.c.id.desc())
    )
    return connection.execute(query).mappings().all()


def quarantined(connection: Connection, job_id: str) -> Sequence[Row]:
    """The result files of a job that went to no destination, with the reasons."""
    query = select(quarantined_files).where(quarantined_files.c.job_id == job_id).order_by(quarantined_files.c.number)
    return connection.execute(query).mappings().all()


def list_exports(connection: Connection, page: Page, job_ids: Sequence[str] | None = None) -> Sequence[Row]:
    """Export tasks with the number of files in each state."""
    shown = select(export_tasks.c.id)
    if job_ids is not None:
        shown = shown.where(task_rows.about_jobs(job_ids))
    shown = _paged(shown, export_tasks, page)
    numbers = (
        select(
            export_files.c.task_id,
            func.count().label("files"),
            *(
                func.sum(case((export_files.c.state == state, 1), else_=0)).label(state)
                for state in ("delivered", "warning", "failed")
            ),
        )
        .where(export_files.c.task_id.in_(shown))
        .group_by(export_files.c.task_id)
        .subquery()
    )
    query = (
        select(
            export_tasks,
            *(
                func.coalesce(numbers.c[name], 0).label(name if name != "failed" else "files_failed")
                for name in ("files", "delivered", "warning", "failed")
            ),
        )
        .outerjoin(numbers, numbers.c.task_id == export_tasks.c.id)
        .where(export_tasks.c.id.in_(shown))
        .order_by(export_tasks.c.id.desc())
    )
    return connection.execute(query).mappings().all()


def list_results_tasks(
    connection: Connection, page: Page, job_ids: Sequence[str] | None = None
) -> Sequence[Mapping[Any, Any]]:
    """Tasks of the Results Service, with the number of their files and the names of their destinations."""
    shown = select(results_tasks.c.id)
    if job_ids is not None:
        shown = shown.where(results_tasks.c.job_id.in_(job_ids))
    shown = _paged(shown, results_tasks, page)
    exports = select(export_tasks.c.results_task_id, export_tasks.c.destination).order_by(export_tasks.c.id)
    destinations: dict[str, list[str]] = {}
    for task_id, name in connection.execute(exports.where(export_tasks.c.results_task_id.in_(shown))):
        destinations.setdefault(task_id, []).append(name)
    query = select(results_tasks).where(results_tasks.c.id.in_(shown)).order_by(results_tasks.c.id.desc())
    return [
        {**row, "files": len(json.loads(row["uris"])), "destinations": destinations.get(row["id"], [])}
        for row in connection.execute(query).mappings()
    ]


def export_outcomes(connection: Connection, task_id: str) -> Sequence[Row]:
    """Each file of an export task, and what became of it."""
    query = select(export_files).where(export_files.c.task_id == task_id).order_by(export_files.c.number)
    return connection.execute(query).mappings().all()


def list_studies(connection: Connection, page: Page, study: str | None = None) -> Sequence[Row]:
    """Studies, those that received something last first. An instance that came twice counts once, as in a PACS.

    UIDs are in no order here, so a page begins at a `PLACE`: when a study last received something, and its UID.
    """
    last, uid = func.max(instances.c.received_at), instances.c.study_instance_uid
    query = (
        select(
            uid,
            func.count(instances.c.sop_instance_uid.distinct()).label("instances"),
            func.count(instances.c.series_instance_uid.distinct()).label("series"),
            func.sum(instances.c.size).label("bytes"),
            func.min(instances.c.received_at).label("first_received_at"),
            last.label("last_received_at"),
        )
        .where(uid.is_not(None))
        .group_by(uid)
        .order_by(last.desc(), uid.desc())
        .limit(page.limit)
    )
    if study is not None:
        query = query.where(uid == study)
    if page.where:
        of = select(associations.c.id).where(*(associations.c[name] == value for name, value in page.where.items()))
        query = query.where(instances.c.association_id.in_(of))
    if page.before is not None:
        moment, _, name = page.before.partition("_")
        at = float(moment)
        query = query.having((last < at) | ((last == at) & (uid < name)))
    return connection.execute(query).mappings().all()


def place_of(study: Row) -> str:
    """Where a study stands in the list of them: the `before` of what follows."""
    return f"{study['last_received_at']!r}_{study['study_instance_uid']}"


def called_ae_titles(connection: Connection, study: str) -> list[str]:
    """The Clara AE Titles that received something of the study."""
    return list(
        connection.scalars(
            select(associations.c.called_ae_title)
            .join(instances, instances.c.association_id == associations.c.id)
            .where(instances.c.study_instance_uid == study)
            .distinct()
            .order_by(associations.c.called_ae_title)
        )
    )


def work_on(connection: Connection, study: str) -> Work:
    """All work that a study is part of."""
    facts = [
        BatchFacts(
            row["id"],
            BatchState(row["state"]),
            row["deadline"],
            row["held_reason"],
            row["next_attempt_at"],
            row["reason"],
        )
        for row in list_batches(connection, Page(limit=1000), study)
    ]
    found = [job for batch in facts for job in job_rows.of_batch(connection, batch.id)]
    return Work(facts, [(job, task_rows.of_job(connection, job.id)) for job in found], _missing(connection, study))


def _missing(connection: Connection, study: str) -> Missing:
    """What the associations that brought something of the study had refused, of whatever study, and what of it was
    aborted; without what is here."""
    query = (
        select(associations.c.id, associations.c.refused_unnamed, associations.c.refused_why)
        .where(associations.c.id.in_(select(instances.c.association_id).where(instances.c.study_instance_uid == study)))
        .where(associations.c.refused > 0)
        .order_by(associations.c.id)
    )
    rows = connection.execute(query).all()
    refused = (
        select(func.count(refusals.c.sop_instance_uid.distinct()))
        .where(refusals.c.association_id.in_([row.id for row in rows]))
        .where(~_has_come(refusals.c.sop_instance_uid))
    )
    aborted = (
        select(func.count(instances.c.sop_instance_uid.distinct()))
        .join(associations)
        .where(instances.c.study_instance_uid == study)
        .where(associations.c.outcome == AssociationOutcome.ABORTED)
        .where(~_has_come(instances.c.sop_instance_uid))
    )
    return Missing(
        (connection.scalar(refused) or 0) if rows else 0,
        sum(row.refused_unnamed for row in rows),
        rows[-1].refused_why if rows else None,
        connection.scalar(aborted) or 0,
    )


def _has_come(sop_instance_uid: Column[str]) -> Exists:
    """In an association that is submitted: one that was aborted never is."""
    here, came = instances.alias("here"), associations.alias("came")
    return (
        select(here.c.number)
        .join(came, came.c.id == here.c.association_id)
        .where(here.c.sop_instance_uid == sop_instance_uid)
        .where(came.c.outcome != AssociationOutcome.ABORTED)
        .exists()
    )


def _by_state(table: Table) -> Select[Any]:
    return select(table.c.state, func.count().label("number")).group_by(table.c.state)


def _paged(query: Select[Any], table: Table, page: Page) -> Select[Any]:
    if page.before is not None:
        query = query.where(table.c.id < page.before)
    for name, value in page.where.items():
        column = table.c[name]
        without_case = column is export_tasks.c.destination
        query = query.where(func.lower(column) == value.lower() if without_case else column == value)
    return query.order_by(table.c.id.desc()).limit(page.limit)


def _count_by(key: ColumnElement[str], shown: Select[Any], name: str) -> Any:
    return select(key.label("key"), func.count().label(name)).where(key.in_(shown)).group_by(key).subquery()
