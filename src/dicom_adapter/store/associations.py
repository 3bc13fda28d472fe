"""Associations that intake has taken up, and their instances."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from dicom_adapter.core.model import AssociationRecord, Instance
from dicom_adapter.store.tables import associations, batches, export_tasks, instances, jobs, refusals


def known_ids(connection: Connection) -> set[str]:
    """Associations with rows and files: intake need not look at their folders again."""
    return set(connection.scalars(select(associations.c.id).where(associations.c.removed_at.is_(None))))


def add(
    connection: Connection, record: AssociationRecord, stored: Sequence[Instance], *, set_aside_until: float | None
) -> None:
    """Record an association that ended, with its instances, in no batch yet."""
    connection.execute(
        insert(associations).values(
            id=record.id,
            calling_ae_title=record.calling_ae_title,
            called_ae_title=record.called_ae_title,
            peer_host=record.peer_host,
            peer_port=record.peer_port,
            started_at=record.started_at,
            ended_at=record.ended_at,
            outcome=record.outcome,
            instances=len(stored),
            bytes=sum(instance.size for instance in stored),
            refused=record.refused.requests,
            refused_why=record.refused.why,
            refused_unnamed=record.refused.unnamed,
            set_aside_until=set_aside_until,
        )
    )
    if stored:
        connection.execute(insert(instances), [_row(instance) for instance in stored])
    if record.refused.instances:
        named = [{"association_id": record.id, "sop_instance_uid": uid} for uid in record.refused.instances]
        connection.execute(insert(refusals), named)


def _row(instance: Instance) -> dict[str, object]:
    return {
        "association_id": instance.association_id,
        "number": instance.number,
        "sop_class_uid": instance.sop_class_uid,
        "sop_instance_uid": instance.sop_instance_uid,
        "study_instance_uid": instance.study_instance_uid,
        "series_instance_uid": instance.series_instance_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "size": instance.size,
        "received_at": instance.received_at,
        "superseded": False,
    }


def set_aside_due(connection: Connection, now: float) -> list[str]:
    """Aborted associations whose files have been kept long enough."""
    return list(
        connection.scalars(
            select(associations.c.id).where(associations.c.set_aside_until <= now, associations.c.removed_at.is_(None))
        )
    )


def without_work(connection: Connection) -> list[str]:
    """Associations with files in the spool and no batch that still needs one of them."""
    return list(
        connection.scalars(
            select(associations.c.id)
            .outerjoin(batches, batches.c.id == associations.c.batch_id)
            .where(
                associations.c.removed_at.is_(None),
                associations.c.set_aside_until.is_(None),
                batches.c.id.is_(None) | batches.c.removed_at.is_not(None),
            )
        )
    )


def mark_removed(connection: Connection, ids: Iterable[str], now: float) -> None:
    """The files of these associations, one at least, have left the spool."""
    connection.execute(
        update(associations).where(associations.c.id == bindparam("removed")).values(removed_at=now),
        [{"removed": association_id} for association_id in ids],
    )


def forget(connection: Connection, before: float) -> None:
    """Drop all rows of work that left the disk before then."""
    old_batches = select(batches.c.id).where(batches.c.removed_at < before)
    old_jobs = select(jobs.c.id).where(jobs.c.batch_id.in_(old_batches))
    connection.execute(delete(export_tasks).where(export_tasks.c.job_id.in_(old_jobs)))
    connection.execute(delete(jobs).where(jobs.c.batch_id.in_(old_batches)))
    connection.execute(
        delete(associations).where(
            associations.c.removed_at < before,
            associations.c.batch_id.is_(None) | associations.c.batch_id.in_(old_batches),
        )
    )
    still_used = select(associations.c.batch_id).where(associations.c.batch_id.is_not(None))
    connection.execute(delete(batches).where(batches.c.removed_at < before, batches.c.id.not_in(still_used)))
