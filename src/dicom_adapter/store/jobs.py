"""Jobs: made by the processor runner, moved by the job controller. Each update is one durable fact.

A transition happens only from the state that it names: a thread that outlived its task cannot revive a job that a
person canceled meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, case, func, insert, select, update

from dicom_adapter.core.model import Instance, Job, JobRef, JobState
from dicom_adapter.store.batches import INSTANCE, instances_of
from dicom_adapter.store.tables import associations, instances, job_instances, jobs, quarantined_files

ACTIVE = (JobState.QUEUED, JobState.CREATED, JobState.UPLOADED, JobState.STARTED)


def add(connection: Connection, job: Job, part: Sequence[Instance] | None) -> None:
    """A new job in state queued, over the whole batch or a part of it."""
    connection.execute(
        insert(jobs).values(
            id=job.id,
            name=job.name,
            batch_id=job.batch_id,
            pipeline_id=job.pipeline_id,
            pipeline_name=job.pipeline_name,
            called_ae_title=job.called_ae_title,
            state=job.state,
            attempt=job.attempt,
            attempts_allowed=job.attempts_allowed,
            created_at=job.created_at,
            partial=part is not None,
        )
    )
    if part:
        connection.execute(
            insert(job_instances),
            [{"job_id": job.id, "association_id": one.association_id, "number": one.number} for one in part],
        )


def pipeline_of(connection: Connection, name: str) -> str | None:
    """The pipeline id of the job of this name; None: there is no such job."""
    found: str | None = connection.scalar(select(jobs.c.pipeline_id).where(jobs.c.name == name))
    return found


def get(connection: Connection, job_id: str) -> Job | None:
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    return None if row is None else _job(row)


def due(connection: Connection, now: float, per_pipeline: int) -> list[Job]:
    """Jobs that are not over and wait for no time: those the engine knows first, then as their batches closed.

    Of each pipeline at most `per_pipeline`: the backlog stays in the database, and no pipeline hides another's jobs.
    """
    begun = case((jobs.c.state == JobState.QUEUED, 1), else_=0)
    order = (begun, jobs.c.created_at, jobs.c.id)
    place = func.row_number().over(partition_by=jobs.c.pipeline_id, order_by=order)
    ranked = (
        select(jobs.c.id, place.label("place"))
        .where(jobs.c.state.in_(ACTIVE), jobs.c.next_attempt_at.is_(None) | (jobs.c.next_attempt_at <= now))
        .subquery()
    )
    first = select(jobs).join(ranked, ranked.c.id == jobs.c.id).where(ranked.c.place <= per_pipeline).order_by(*order)
    return [_job(row) for row in connection.execute(first)]


def next_due_at(connection: Connection, now: float) -> float | None:
    """When the next job that waits is due."""
    earliest: float | None = connection.scalar(
        select(func.min(jobs.c.next_attempt_at)).where(jobs.c.state.in_(ACTIVE), jobs.c.next_attempt_at > now)
    )
    return earliest


def instances_of_job(connection: Connection, job: Job) -> list[Instance]:
    """The instances the job is over, in order of arrival."""
    if not connection.scalar(select(jobs.c.partial).where(jobs.c.id == job.id)):
        return instances_of(connection, job.batch_id)
    return [
        Instance(*row)
        for row in connection.execute(
            select(*INSTANCE)
            .join(
                job_instances,
                (job_instances.c.association_id == instances.c.association_id)
                & (job_instances.c.number == instances.c.number),
            )
            .where(job_instances.c.job_id == job.id)
            .order_by(instances.c.received_at, instances.c.association_id, instances.c.number)
        )
    ]


def calling_ae_titles(connection: Connection, batch_id: str) -> list[str]:
    """Who sent the batch's instances."""
    return list(
        connection.scalars(
            select(associations.c.calling_ae_title)
            .where(associations.c.batch_id == batch_id)
            .distinct()
            .order_by(associations.c.calling_ae_title)
        )
    )


def created(connection: Connection, job_id: str, ref: JobRef) -> None:
    """queued -> created."""
    _move(
        connection,
        job_id,
        [JobState.QUEUED],
        state=JobState.CREATED,
        engine_job_id=ref.job_id,
        engine_payload_id=ref.payload_id,
        failures=0,
        next_attempt_at=None,
    )


def uploaded(connection: Connection, job_id: str) -> None:
    """created -> uploaded."""
    _move(connection, job_id, [JobState.CREATED], state=JobState.UPLOADED, failures=0, next_attempt_at=None)


def started(connection: Connection, job_id: str, now: float) -> None:
    """uploaded -> started."""
    _move(
        connection,
        job_id,
        [JobState.UPLOADED],
        state=JobState.STARTED,
        started_at=now,
        failures=0,
        next_attempt_at=None,
        reason=None,
    )


def observed(connection: Connection, job_id: str) -> None:
    """started, and its engine answers again: what kept us waiting is over."""
    _move(connection, job_id, [JobState.STARTED], failures=0, next_attempt_at=None, reason=None)


def succeeded(connection: Connection, job_id: str, attempt: int, now: float, reason: str | None) -> bool:
    """started -> succeeded, in the transaction that makes its export tasks. False: it was over, so make none.

    So it was, too, where a person canceled this attempt, and another one has been started meanwhile.
    """
    if not has_attempt(connection, job_id, attempt):
        return False
    return _move(connection, job_id, [JobState.STARTED], state=JobState.SUCCEEDED, ended_at=now, reason=reason)


def has_attempt(connection: Connection, job_id: str, attempt: int) -> bool:
    """Whether what this attempt returned is the job's: it was not given up, nor removed."""
    return (
        connection.scalar(
            select(jobs.c.id).where(
                jobs.c.id == job_id,
                jobs.c.attempt == attempt,
                jobs.c.state.in_((JobState.STARTED, JobState.SUCCEEDED)),
                jobs.c.removed_at.is_(None),
            )
        )
        is not None
    )


def step_failed(connection: Connection, job_id: str, next_attempt_at: float, reason: str) -> None:
    """A call to the engine failed for now: the state stays."""
    _move(connection, job_id, ACTIVE, failures=jobs.c.failures + 1, next_attempt_at=next_attempt_at, reason=reason)


def next_attempt(connection: Connection, job_id: str, next_attempt_at: float, reason: str) -> None:
    """started -> queued: the run failed, another attempt is due at that time."""
    _queue_again(connection, job_id, [JobState.STARTED], next_attempt_at, reason)


def failed(connection: Connection, job_id: str, now: float, reason: str) -> None:
    """-> failed: a dead letter."""
    _move(connection, job_id, ACTIVE, state=JobState.FAILED, ended_at=now, next_attempt_at=None, reason=reason)


def retry(connection: Connection, job_id: str, tries: int) -> bool:
    """failed or canceled -> queued, by a person, with `tries` more; a waiting job is tried now. False: neither."""
    job = get(connection, job_id)
    if job is None:
        return False
    if job.state in ACTIVE and job.next_attempt_at is not None:
        return _move(connection, job_id, ACTIVE, next_attempt_at=None)
    over = [JobState.FAILED, JobState.CANCELED]
    return _queue_again(connection, job_id, over, None, "tried again by a person") and _move(
        connection, job_id, [JobState.QUEUED], attempts_allowed=job.attempt + tries
    )


def canceled(connection: Connection, job_id: str, now: float) -> bool:
    """-> canceled, by a person; of a dead letter too, else its files would stay for ever. False: it was over."""
    return _move(
        connection,
        job_id,
        (*ACTIVE, JobState.FAILED),
        state=JobState.CANCELED,
        ended_at=now,
        next_attempt_at=None,
        reason="canceled by a person",
    )


def add_quarantined(connection: Connection, job_id: str, files: Mapping[int, tuple[str, str]]) -> None:
    """Result files that go to no destination: number -> (path relative to the storage folder, reason)."""
    if files:
        connection.execute(
            insert(quarantined_files),
            [
                {"job_id": job_id, "number": number, "path": path, "reason": reason}
                for number, (path, reason) in files.items()
            ],
        )


def of_batch(connection: Connection, batch_id: str) -> list[Job]:
    return [_job(row) for row in connection.execute(select(jobs).where(jobs.c.batch_id == batch_id))]


def is_removed(connection: Connection, job_id: str) -> bool:
    """Whether its folder is gone, with what it wrote."""
    return connection.scalar(select(jobs.c.removed_at).where(jobs.c.id == job_id)) is not None


def mark_removed(connection: Connection, job_id: str, now: float) -> None:
    """Its files are gone. Not of one that a person has retried meanwhile: it would never move again."""
    over = jobs.c.state.not_in(ACTIVE)
    connection.execute(update(jobs).where(jobs.c.id == job_id, over).values(removed_at=now))


def _queue_again(
    connection: Connection, job_id: str, states: Sequence[JobState], next_attempt_at: float | None, reason: str
) -> bool:
    return _move(
        connection,
        job_id,
        states,
        state=JobState.QUEUED,
        attempt=jobs.c.attempt + 1,  # the engine's ids stay those of the last one, for its logs, until it is created
        started_at=None,
        ended_at=None,
        failures=0,
        next_attempt_at=next_attempt_at,
        reason=reason,
    )


def _move(connection: Connection, job_id: str, states: Sequence[JobState], **values: object) -> bool:
    """Change a job that is in one of these states, its files still there. False: it is not."""
    changed = connection.execute(
        update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(states), jobs.c.removed_at.is_(None)).values(**values)
    )
    return changed.rowcount == 1


def _job(row: Row[Any]) -> Job:
    fields = row._mapping
    values = {name: fields[name] for name in Job.__dataclass_fields__}
    return Job(**values | {"state": JobState(row.state)})
