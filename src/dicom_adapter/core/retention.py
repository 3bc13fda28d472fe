"""What may be removed from the spool, and when. Everything not named here stays (rule 5: never delete in doubt)."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_adapter.core.model import BatchState, ExportState, JobState


@dataclass(frozen=True, slots=True)
class WorkFacts:
    """What became of one batch: its state, when it last changed, and its jobs and exports."""

    batch: BatchState
    last_ended_at: float  # the latest end among batch, jobs and exports
    jobs: frozenset[JobState] = frozenset()
    exports: frozenset[ExportState] = frozenset()


_ENDED_JOBS = {JobState.SUCCEEDED, JobState.CANCELED}
_ENDED_EXPORTS = {ExportState.SUCCEEDED, ExportState.CANCELED}


def removable_at(facts: WorkFacts, retention: float) -> float | None:
    """When the batch's files may be removed, or None: not while anything still needs them.

    Failed jobs and exports are dead letters: they keep their files until a person retries or cancels them.
    """
    if facts.batch is BatchState.DROPPED:
        return facts.last_ended_at + retention
    if facts.batch is not BatchState.PROCESSED:
        return None
    if facts.jobs <= _ENDED_JOBS and facts.exports <= _ENDED_EXPORTS:
        return facts.last_ended_at + retention
    return None


def set_aside_until(ended_at: float, aborted_retention: float) -> float:
    """When the files of an aborted association are removed (specification 12.1.5.1.3: "removed immediately or removed
    based on a configured timeout value")."""
    return ended_at + aborted_retention
