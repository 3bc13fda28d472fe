"""Where a study is, and why it waits: one sentence that a PACS administrator can act on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dicom_adapter.core.model import NOTHING_MISSING, BatchState, ExportState, ExportTask, Job, JobState, Missing


class Stage(StrEnum):
    """The stages in the order of a study's trip. The first three need a person."""

    FAILED = "failed"  # a dead letter: job or export
    HELD = "held"
    SET_ASIDE = "set aside"  # only aborted associations
    COLLECTING = "collecting"
    PROCESSING = "processing"
    QUEUED = "queued"
    RUNNING = "running"
    EXPORTING = "exporting"
    DONE = "done"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """`waits`: why it does not go on at this instant; of what is done, why not all of it arrived. Or None."""

    stage: Stage
    waits: str | None = None


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """A batch and what waits in it. `deadline` and `next_attempt_at` are on the steady clock."""

    id: str
    state: BatchState
    deadline: float | None = None
    held_reason: str | None = None
    next_attempt_at: float | None = None
    reason: str | None = None  # of the processor that failed last


@dataclass(frozen=True, slots=True)
class Work:
    """All work that a study is part of. `jobs`: each with the exports of its results.

    `missing`: of the associations that brought something of it; some may be of other studies.
    """

    batches: Sequence[BatchFacts] = ()
    jobs: Sequence[tuple[Job, Sequence[ExportTask]]] = ()
    missing: Missing = NOTHING_MISSING


_ORDER = (
    Stage.FAILED,
    Stage.HELD,
    Stage.RUNNING,
    Stage.QUEUED,
    Stage.PROCESSING,
    Stage.COLLECTING,
    Stage.EXPORTING,
    Stage.DONE,
    Stage.DROPPED,
)  # of several answers the one shown: what needs a person first, then what moves


_MOVING = {Stage.COLLECTING, Stage.PROCESSING, Stage.QUEUED, Stage.RUNNING, Stage.EXPORTING}  # by themselves


def whereabouts(work: Work, steady: float, fault: str | None = None) -> Whereabouts:
    """Where the work is. `steady`: the time now on the steady clock. `fault`: why the database takes no changes, and so
    nothing goes on.
    """
    lacking = list(_lacking(work.missing))
    answers = [_batch(batch, steady) for batch in work.batches]
    for job, exports in work.jobs:
        if job.state is not JobState.SUCCEEDED or not any(task.results_task_id for task in exports):
            answers.append(_job(job, steady))  # results that came through the Results Service speak for themselves
        answers += [_export(task, steady) for task in exports]
    if not answers:
        aside = "its association was aborted, so it is not submitted: send the study again"
        return Whereabouts(Stage.SET_ASIDE, "; ".join([aside, *_refused(work.missing)]))
    first = min(answers, key=lambda answer: (_ORDER.index(answer.stage), answer.waits is None))
    if fault is not None and first.stage in _MOVING:
        return Whereabouts(first.stage, f"the database takes no changes: {fault}")
    if first.stage is not Stage.DONE:
        return first
    told = [*lacking, *(answer.waits for answer in answers if answer.waits is not None)]
    return Whereabouts(Stage.DONE, "; ".join(told) or None)


def _lacking(missing: Missing) -> Iterator[str]:
    if missing.aborted:
        what = "1 instance" if missing.aborted == 1 else f"{missing.aborted} instances"
        yield f"{what} came only in an association that was aborted, which is not submitted: send the study again"
    yield from _refused(missing)


def _refused(missing: Missing) -> Iterator[str]:
    parts = []
    if missing.instances:
        parts.append("1 instance that has" if missing.instances == 1 else f"{missing.instances} instances that have")
        parts[-1] += " not come since"
    if missing.unnamed:
        parts.append("1 C-STORE request" if missing.unnamed == 1 else f"{missing.unnamed} C-STORE requests")
        parts[-1] += " whose instance is not known"
    if parts:
        yield f"refused in its associations: {' and '.join(parts)}, the last with {missing.why}"


def _batch(batch: BatchFacts, steady: float) -> Whereabouts:
    match batch.state:
        case BatchState.COLLECTING:
            left = max(0.0, (batch.deadline or steady) - steady)
            return Whereabouts(Stage.COLLECTING, f"closes {in_words(left)}, unless more instances arrive")
        case BatchState.CLOSED:
            return Whereabouts(Stage.PROCESSING, _retry(batch.reason, batch.next_attempt_at, steady))
        case BatchState.HELD:
            return Whereabouts(Stage.HELD, f"{batch.held_reason} (`clara dicom release {batch.id}`)")
        case BatchState.PROCESSED:
            return Whereabouts(Stage.DONE)
        case BatchState.DROPPED:
            return Whereabouts(Stage.DROPPED, batch.held_reason)


def _job(job: Job, steady: float) -> Whereabouts:
    match job.state:
        case JobState.FAILED:
            commands = f"`clara dicom job logs {job.id}`, then `clara dicom retry {job.id}`"
            return Whereabouts(Stage.FAILED, f"job {job.id}: {job.reason} ({commands})")
        case JobState.SUCCEEDED:
            return _done(f"job {job.id}", job.reason, f"clara dicom job show {job.id}")
        case JobState.CANCELED:
            return _done(f"job {job.id}", job.reason, f"clara dicom retry {job.id}")
        case JobState.STARTED:
            return Whereabouts(Stage.RUNNING, _retry(job.reason, job.next_attempt_at, steady))
        case JobState.QUEUED | JobState.CREATED | JobState.UPLOADED:
            waits = _retry(job.reason, job.next_attempt_at, steady)
            return Whereabouts(Stage.QUEUED, waits or f"for a free place of pipeline {job.pipeline_name}")


def _export(task: ExportTask, steady: float) -> Whereabouts:
    match task.state:
        case ExportState.FAILED:
            return Whereabouts(
                Stage.FAILED, f"export to {task.destination}: {task.reason} (`clara dicom retry {task.id}`)"
            )
        case ExportState.DOWNLOADING:
            turn = _retry(task.reason, task.next_attempt_at, steady)
            return Whereabouts(Stage.EXPORTING, f"for {task.destination}: {turn or 'its files come from the platform'}")
        case ExportState.RETURNED:
            again = f"until the Results Service gives it again; {task.reason or 'no reason noted'}"
            return Whereabouts(Stage.EXPORTING, f"for {task.destination}, {again}")
        case ExportState.PENDING:
            waits = _retry(task.reason, task.next_attempt_at, steady)
            after = f" after {task.attempts} tries" if waits and task.attempts > 1 else ""
            return Whereabouts(Stage.EXPORTING, f"for {task.destination}{after}: {waits}" if waits else None)
        case ExportState.SUCCEEDED:
            return _done(f"export to {task.destination}", task.reason, f"clara dicom export show {task.id}")
        case ExportState.CANCELED:
            return _done(f"export to {task.destination}", task.reason, f"clara dicom retry {task.id}")


def _done(what: str, reason: str | None, command: str) -> Whereabouts:
    """Done; a reason says what did not go as a person may expect: results in quarantine, files that failed."""
    return Whereabouts(Stage.DONE, f"{what}: {reason} (`{command}`)" if reason else None)


def _retry(reason: str | None, next_attempt_at: float | None, steady: float) -> str | None:
    if next_attempt_at is None or next_attempt_at <= steady:
        return None
    return f"next try {in_words(next_attempt_at - steady)}; {reason or 'no reason noted'}"


def in_words(seconds: float) -> str:
    """ "in 42 s", "in 12 min", "in 3 h"."""
    if seconds < 120:
        return f"in {seconds:.0f} s"
    if seconds < 7200:
        return f"in {seconds / 60:.0f} min"
    return f"in {seconds / 3600:.0f} h"
