"""Batches: opened and closed by intake and batcher, worked through by the processor runner."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, exists, func, insert, select, update

from dicom_adapter.core.model import Batch, BatchState, ExportState, Instance, JobState
from dicom_adapter.core.retention import WorkFacts
from dicom_adapter.core.snapshot import ClaraAeTitle
from dicom_adapter.store.tables import associations, batches, export_tasks, instances, jobs, processings

INSTANCE = tuple(instances.c[name] for name in Instance._fields)
"""The columns that make an `Instance`, in its order: `Instance(*row)`, as a batch may have very many."""


def collecting(connection: Connection, ae_title: str) -> Batch | None:
    """The batch that collects for this Clara AE Title."""
    row = connection.execute(
        select(batches).where(batches.c.called_ae_title == ae_title, batches.c.state == BatchState.COLLECTING)
    ).one_or_none()
    return None if row is None else _batch(row)


def all_collecting(connection: Connection) -> list[Batch]:
    return [_batch(row) for row in connection.execute(select(batches).where(batches.c.state == BatchState.COLLECTING))]


def get(connection: Connection, batch_id: str) -> Batch | None:
    row = connection.execute(select(batches).where(batches.c.id == batch_id)).one_or_none()
    return None if row is None else _batch(row)


def open_batch(connection: Connection, batch: Batch) -> None:
    """A new batch and what its processors are to be."""
    connection.execute(
        insert(batches).values(
            id=batch.id,
            called_ae_title=batch.called_ae_title,
            state=batch.state,
            policy=_policy_json(batch.policy),
            opened_at=batch.opened_at,
            deadline=batch.deadline,
            held_reason=batch.held_reason,
        )
    )
    _plan(connection, batch.id, batch.policy)


def _plan(connection: Connection, batch_id: str, policy: ClaraAeTitle, done: int = 0) -> None:
    """What the batch's processors are to be, beside the first ones that are done."""
    rows = [
        {"batch_id": batch_id, "position": position, "processor": name, "failures": 0}
        for position, name in enumerate(policy.processors)
        if position >= done
    ]
    if rows:
        connection.execute(insert(processings), rows)


def add_instances(connection: Connection, batch_id: str, added: Sequence[Instance], *, overwrite: bool) -> int:
    """Put an association's instances, which have rows, into a batch; answers how many are superseded.

    A batch has one instance for each SOP Instance UID. Of two with the same the first stays, or with `overwrite` the
    newer one (`overwrite-same-instance`). The other's file stays in the spool as long as the batch.
    """
    association_ids = {instance.association_id for instance in added}
    kept = _same_in_batch(connection, batch_id, association_ids)
    superseded: list[tuple[str, int]] = []
    for instance in added:
        key = (instance.association_id, instance.number)
        present = kept.get(instance.sop_instance_uid)
        if present is not None:
            superseded.append(present if overwrite else key)
        if present is None or overwrite:
            kept[instance.sop_instance_uid] = key
    connection.execute(update(associations).where(associations.c.id.in_(association_ids)).values(batch_id=batch_id))
    _supersede(connection, superseded)
    return len(superseded)


def _same_in_batch(connection: Connection, batch_id: str, association_ids: set[str]) -> dict[str, tuple[str, int]]:
    """The batch's instances that have a SOP Instance UID of these associations: only they, as it may have very many."""
    new, old = instances.alias("new"), instances.alias("old")
    rows = connection.execute(
        select(old.c.sop_instance_uid, old.c.association_id, old.c.number)
        .select_from(new)
        .join(old, old.c.sop_instance_uid == new.c.sop_instance_uid)
        .join(associations, associations.c.id == old.c.association_id)
        .where(new.c.association_id.in_(association_ids), associations.c.batch_id == batch_id, ~old.c.superseded)
    )
    return {sop_instance_uid: (association_id, number) for sop_instance_uid, association_id, number in rows}


def supersede_held(connection: Connection, ae_title: str, association_id: str, by: str, now: float) -> None:
    """What an association brought again needs no person any more: drop held batches of which it brought the rest.

    Only batches that are held because *we* died while they arrived (`docs/spool.md`, S4i) have no closed_at.
    `by`: the batch that has them now.
    """
    new, old = instances.alias("new"), instances.alias("old")
    again = connection.execute(
        select(associations.c.batch_id, old.c.association_id, old.c.number)
        .select_from(new)
        .join(old, old.c.sop_instance_uid == new.c.sop_instance_uid)
        .join(associations, associations.c.id == old.c.association_id)
        .join(batches, batches.c.id == associations.c.batch_id)
        .where(
            new.c.association_id == association_id,
            batches.c.called_ae_title == ae_title,
            batches.c.state == BatchState.HELD,
            batches.c.closed_at.is_(None),
            ~old.c.superseded,
        )
    ).all()
    _supersede(connection, [(row.association_id, row.number) for row in again])
    left = (
        exists()
        .where(associations.c.batch_id == batches.c.id, instances.c.association_id == associations.c.id)
        .where(~instances.c.superseded)
    )
    connection.execute(
        update(batches)
        .where(batches.c.id.in_({row.batch_id for row in again}), ~left)
        .values(
            state=BatchState.DROPPED,
            ended_at=now,
            held_reason=f"the same instances arrived again and are in batch {by}",
        )
    )


def _supersede(connection: Connection, keys: Sequence[tuple[str, int]]) -> None:
    if keys:
        connection.execute(
            update(instances)
            .where(instances.c.association_id == bindparam("of"), instances.c.number == bindparam("at"))
            .values(superseded=True),
            [{"of": association_id, "at": number} for association_id, number in keys],
        )


def set_deadline(connection: Connection, batch_id: str, deadline: float) -> None:
    connection.execute(update(batches).where(batches.c.id == batch_id).values(deadline=deadline))


def close(connection: Connection, batch_id: str, now: float) -> None:
    """collecting or held -> closed."""
    connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.state.in_([BatchState.COLLECTING, BatchState.HELD]))
        .values(state=BatchState.CLOSED, closed_at=now, deadline=None, held_reason=None)
    )


def hold(connection: Connection, batch_id: str, reason: str) -> None:
    """closed -> held: a person has to look."""
    connection.execute(
        update(batches).where(batches.c.id == batch_id).values(state=BatchState.HELD, held_reason=reason)
    )


def release(connection: Connection, batch_id: str, now: float, policy: ClaraAeTitle | None = None) -> bool:
    """held -> closed, its processors tried again from where they stopped; False when it is not held.

    `policy`: its Clara AE Title as it is now, if it is there. A person who mends the cause does it in the
    configuration, so what is not done yet goes by that.
    """
    changed = connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.state == BatchState.HELD)
        .values(state=BatchState.CLOSED, closed_at=func.coalesce(batches.c.closed_at, now), held_reason=None)
    )
    if changed.rowcount == 0:
        return False
    if policy is not None:
        connection.execute(update(batches).where(batches.c.id == batch_id).values(policy=_policy_json(policy)))
        connection.execute(
            delete(processings).where(processings.c.batch_id == batch_id, processings.c.done_at.is_(None))
        )
        done = connection.scalar(select(func.count()).where(processings.c.batch_id == batch_id)) or 0
        _plan(connection, batch_id, policy, done)
        _end_if_done(connection, batch_id, now)
    connection.execute(
        update(processings)
        .where(processings.c.batch_id == batch_id, processings.c.done_at.is_(None))
        .values(failures=0, next_attempt_at=None, reason=None)
    )
    return True


def drop(connection: Connection, batch_id: str, now: float) -> bool:
    """held -> dropped, by a person: its files go after the retention time; False when it is not held."""
    changed = connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.state == BatchState.HELD)
        .values(state=BatchState.DROPPED, ended_at=now, held_reason="dropped by a person")
    )
    return changed.rowcount == 1


def to_process(
    connection: Connection, now: float, limit: int, but: Collection[str] = ()
) -> list[tuple[Batch, int, str, int]]:
    """Closed batches whose next processor is due: (batch, position, processor, failures), oldest batch first.

    `but`: Clara AE Titles that are left out.
    """
    earlier = processings.alias("earlier")
    rows = connection.execute(
        select(batches, processings.c.position, processings.c.processor, processings.c.failures)
        .join(processings, processings.c.batch_id == batches.c.id)
        .where(
            batches.c.state == BatchState.CLOSED,
            batches.c.called_ae_title.not_in(but),
            processings.c.done_at.is_(None),
            (processings.c.next_attempt_at.is_(None)) | (processings.c.next_attempt_at <= now),
            ~exists().where(
                and_(
                    earlier.c.batch_id == processings.c.batch_id,
                    earlier.c.position < processings.c.position,
                    earlier.c.done_at.is_(None),
                )
            ),
        )
        .order_by(batches.c.closed_at, batches.c.id)
        .limit(limit)
    )
    return [(_batch(row), row.position, row.processor, row.failures) for row in rows]


def next_processing_at(connection: Connection, now: float) -> float | None:
    """When the next processor that waits is due."""
    earliest: float | None = connection.scalar(
        select(func.min(processings.c.next_attempt_at))
        .join(batches, batches.c.id == processings.c.batch_id)
        .where(
            batches.c.state == BatchState.CLOSED, processings.c.done_at.is_(None), processings.c.next_attempt_at > now
        )
    )
    return earliest


def processor_done(connection: Connection, batch_id: str, position: int, now: float) -> None:
    """Mark one processor done, and with the last one the batch processed."""
    connection.execute(
        update(processings)
        .where(processings.c.batch_id == batch_id, processings.c.position == position)
        .values(done_at=now, reason=None, next_attempt_at=None)
    )
    _end_if_done(connection, batch_id, now)


def _end_if_done(connection: Connection, batch_id: str, now: float) -> None:
    undone = exists().where(processings.c.batch_id == batch_id, processings.c.done_at.is_(None))
    connection.execute(
        update(batches).where(batches.c.id == batch_id, ~undone).values(state=BatchState.PROCESSED, ended_at=now)
    )


def processor_failed(connection: Connection, batch_id: str, position: int, next_attempt_at: float, why: str) -> None:
    connection.execute(
        update(processings)
        .where(processings.c.batch_id == batch_id, processings.c.position == position)
        .values(failures=processings.c.failures + 1, next_attempt_at=next_attempt_at, reason=why)
    )


def processor_waits(connection: Connection, batch_id: str, position: int, next_attempt_at: float, why: str) -> None:
    """It was not called, by no fault of the batch."""
    connection.execute(
        update(processings)
        .where(processings.c.batch_id == batch_id, processings.c.position == position)
        .values(next_attempt_at=next_attempt_at, reason=why)
    )


def instances_of(connection: Connection, batch_id: str) -> list[Instance]:
    """The batch's instances, one for each SOP Instance UID, in order of arrival."""
    return [
        Instance(*row)
        for row in connection.execute(
            select(*INSTANCE)
            .join(associations, associations.c.id == instances.c.association_id)
            .where(associations.c.batch_id == batch_id, ~instances.c.superseded)
            .order_by(instances.c.received_at, instances.c.association_id, instances.c.number)
        )
    ]


def ended_work(connection: Connection, before: float) -> list[tuple[str, WorkFacts]]:
    """Batches whose files are still there although their processors were done before then, with what `core.retention`
    asks."""
    work = (
        select(
            batches.c.id,
            batches.c.state,
            batches.c.ended_at,
            jobs.c.state.label("job"),
            jobs.c.ended_at.label("job_ended_at"),
            export_tasks.c.state.label("export"),
            export_tasks.c.ended_at.label("export_ended_at"),
        )
        .outerjoin(jobs, jobs.c.batch_id == batches.c.id)
        .outerjoin(export_tasks, export_tasks.c.job_id == jobs.c.id)
        .where(
            batches.c.removed_at.is_(None),
            batches.c.state.in_([BatchState.PROCESSED, BatchState.DROPPED]),
            batches.c.ended_at <= before,
        )
        .order_by(batches.c.ended_at, batches.c.id)
    )
    rows: dict[str, list[Any]] = {}
    for row in connection.execute(work):
        rows.setdefault(row.id, []).append(row)
    return [(batch_id, _work_facts(found)) for batch_id, found in rows.items()]


def _work_facts(rows: Sequence[Any]) -> WorkFacts:
    times = [time for row in rows for time in (row.ended_at, row.job_ended_at, row.export_ended_at)]
    return WorkFacts(
        batch=BatchState(rows[0].state),
        last_ended_at=max(time for time in times if time is not None),
        jobs=frozenset(JobState(row.job) for row in rows if row.job is not None),
        exports=frozenset(ExportState(row.export) for row in rows if row.export is not None),
    )


def mark_removed(connection: Connection, batch_id: str, now: float) -> None:
    connection.execute(update(batches).where(batches.c.id == batch_id).values(removed_at=now))


def _batch(row: Row[Any]) -> Batch:
    return Batch(
        id=row.id,
        called_ae_title=row.called_ae_title,
        state=BatchState(row.state),
        opened_at=row.opened_at,
        policy=_policy(row.policy),
        deadline=row.deadline,
        closed_at=row.closed_at,
        held_reason=row.held_reason,
    )


def _policy_json(policy: ClaraAeTitle) -> str:
    return json.dumps(asdict(policy) | {"ignored_sop_classes": sorted(policy.ignored_sop_classes)})


def _policy(text: str) -> ClaraAeTitle:
    fields = json.loads(text)
    return ClaraAeTitle(
        **fields
        | {
            "ignored_sop_classes": frozenset(fields["ignored_sop_classes"]),
            "processors": tuple(fields["processors"]),
            "pipelines": tuple(fields["pipelines"]),
        }
    )
