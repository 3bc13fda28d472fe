"""The one sentence that says where a study is and why it waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from dicom_adapter.core.model import NOTHING_MISSING, BatchState, ExportState, ExportTask, Job, JobState, Missing
from dicom_adapter.core.whereabouts import BatchFacts, Stage, Whereabouts, Work, in_words, whereabouts

NOW = 1000.0
BATCH = BatchFacts("b1", BatchState.PROCESSED)
JOB = Job("j1", "n", "b1", "p", "lung", "AET", JobState.SUCCEEDED, 1, 1, 0, 0.0)
EXPORT = ExportTask("e1", "j1", "PACS", ExportState.SUCCEEDED, 1, 0, 0.0)


ELSEWHERE = "its results come through the Results Service"


def where(
    batches: Sequence[BatchFacts],
    jobs: Sequence[Job],
    exports: Sequence[ExportTask],
    missing: Missing = NOTHING_MISSING,
    fault: str | None = None,
) -> Whereabouts:
    """`exports`: of the first job."""
    pairs = [(job, () if number else exports) for number, job in enumerate(jobs)]
    return whereabouts(Work(batches, pairs, missing), NOW, fault)


def test_every_state_has_a_place() -> None:
    for batch in BatchState:
        assert where([replace(BATCH, state=batch)], [], [])
    for job in JobState:
        assert where([BATCH], [replace(JOB, state=job)], [])
    for export in ExportState:
        assert where([BATCH], [JOB], [replace(EXPORT, state=export)])


@pytest.mark.parametrize(
    ("batch", "job", "export", "stage", "waits"),
    [
        (BATCH, JOB, EXPORT, Stage.DONE, None),
        (
            replace(BATCH, state=BatchState.COLLECTING, deadline=NOW + 12),
            None,
            None,
            Stage.COLLECTING,
            "closes in 12 s, unless more instances arrive",
        ),
        (
            replace(BATCH, state=BatchState.HELD, held_reason="why"),
            None,
            None,
            Stage.HELD,
            "why (`clara dicom release b1`)",
        ),
        (BATCH, replace(JOB, state=JobState.STARTED), None, Stage.RUNNING, None),
        (BATCH, replace(JOB, state=JobState.QUEUED), None, Stage.QUEUED, "for a free place of pipeline lung"),
        (
            BATCH,
            replace(JOB, state=JobState.QUEUED, next_attempt_at=NOW + 20, reason="attempt 1 failed: exit status 3"),
            None,
            Stage.QUEUED,
            "next try in 20 s; attempt 1 failed: exit status 3",
        ),
        (
            BATCH,
            replace(JOB, state=JobState.FAILED, reason="exit status 3"),
            None,
            Stage.FAILED,
            "job j1: exit status 3 (`clara dicom job logs j1`, then `clara dicom retry j1`)",
        ),
        (
            BATCH,
            JOB,
            replace(EXPORT, state=ExportState.PENDING, attempts=3, next_attempt_at=NOW + 300, reason="A700H"),
            Stage.EXPORTING,
            "for PACS after 3 tries: next try in 5 min; A700H",
        ),
        (
            BATCH,
            JOB,
            replace(EXPORT, state=ExportState.FAILED, reason="refused"),
            Stage.FAILED,
            "export to PACS: refused (`clara dicom retry e1`)",
        ),
        (
            BATCH,
            JOB,
            replace(EXPORT, state=ExportState.DOWNLOADING),
            Stage.EXPORTING,
            "for PACS: its files come from the platform",
        ),
        (
            BATCH,
            JOB,
            replace(EXPORT, state=ExportState.DOWNLOADING, next_attempt_at=NOW + 60, reason="A700H"),
            Stage.EXPORTING,
            "for PACS: next try in 60 s; A700H",
        ),
        (
            BATCH,
            JOB,
            replace(EXPORT, state=ExportState.RETURNED, reason="A700H"),
            Stage.EXPORTING,
            "for PACS, until the Results Service gives it again; A700H",
        ),
    ],
)
def test_table(batch: BatchFacts, job: Job | None, export: ExportTask | None, stage: Stage, waits: str | None) -> None:
    found = where([batch], [job] if job else [], [export] if export else [])
    assert (found.stage, found.waits) == (stage, waits)


@pytest.mark.parametrize(
    ("jobs", "exports", "waits"),
    [
        ([replace(JOB, reason="2 in quarantine")], [], "job j1: 2 in quarantine (`clara dicom job show j1`)"),
        (
            [replace(JOB, state=JobState.CANCELED, reason="by a person")],
            [],
            "job j1: by a person (`clara dicom retry j1`)",
        ),
        (
            [replace(JOB, reason="1 in quarantine"), replace(JOB, id="j2")],
            [replace(EXPORT, reason="1 of 2 files failed"), replace(EXPORT, id="e2")],
            "job j1: 1 in quarantine (`clara dicom job show j1`); "
            "export to PACS: 1 of 2 files failed (`clara dicom export show e1`)",
        ),
        (
            [JOB],
            [replace(EXPORT, state=ExportState.CANCELED, reason="by a person")],
            "export to PACS: by a person (`clara dicom retry e1`)",
        ),
        (
            [replace(JOB, reason=ELSEWHERE)],
            [],
            "job j1: its results come through the Results Service (`clara dicom job show j1`)",
        ),
        (
            [replace(JOB, reason=ELSEWHERE)],
            [replace(EXPORT, job_id=None, results_task_id="r1")],
            None,
        ),
    ],
)
def test_done_says_what_did_not_arrive(jobs: list[Job], exports: list[ExportTask], waits: str | None) -> None:
    found = where([BATCH], jobs, exports)
    assert (found.stage, found.waits) == (Stage.DONE, waits)


def test_what_needs_a_person_comes_first() -> None:
    found = where([BATCH], [JOB], [EXPORT, replace(EXPORT, id="e2", state=ExportState.FAILED)])
    assert found.stage is Stage.FAILED


def test_no_work_at_all() -> None:
    assert where([], [], []).stage is Stage.SET_ASIDE


@pytest.mark.parametrize(
    ("instances", "unnamed", "what"),
    [
        (1, 0, "1 instance that has not come since"),
        (12, 0, "12 instances that have not come since"),
        (0, 1, "1 C-STORE request whose instance is not known"),
        (2, 3, "2 instances that have not come since and 3 C-STORE requests whose instance is not known"),
    ],
)
def test_what_was_refused_is_told_when_nothing_else_waits(instances: int, unnamed: int, what: str) -> None:
    missing = Missing(instances, unnamed, "A700H Refused: out of resources")
    told = f"refused in its associations: {what}, the last with A700H Refused: out of resources"
    assert where([BATCH], [JOB], [EXPORT], missing) == Whereabouts(Stage.DONE, told)
    assert (where([], [], [], missing).waits or "").endswith(f"send the study again; {told}")
    queued = replace(JOB, state=JobState.QUEUED)
    assert where([BATCH], [queued], [], missing) == where([BATCH], [queued], [])


def test_what_was_aborted_is_told_although_the_rest_is_done() -> None:
    found = where([BATCH], [JOB], [EXPORT], Missing(aborted=2))
    assert found.stage is Stage.DONE
    assert (found.waits or "").startswith("2 instances came only in an association that was aborted")
    alone = where([], [], [], Missing(aborted=2))
    assert alone == Whereabouts(
        Stage.SET_ASIDE, "its association was aborted, so it is not submitted: send the study again"
    )


def test_what_was_refused_and_has_come_since_is_no_longer_told() -> None:
    missing = Missing(0, 0, "A700H Refused: out of resources")
    assert where([BATCH], [JOB], [EXPORT], missing) == Whereabouts(Stage.DONE)


def test_what_moves_by_itself_waits_for_a_database_that_takes_no_changes() -> None:
    queued, failed = replace(JOB, state=JobState.QUEUED), replace(JOB, state=JobState.FAILED, reason="exit status 3")
    full = "database or disk is full"
    stuck = where([BATCH], [queued], [], fault=full)
    assert stuck == Whereabouts(Stage.QUEUED, f"the database takes no changes: {full}")
    for jobs in ([JOB], [failed]):
        assert where([BATCH], jobs, [], fault=full) == where([BATCH], jobs, [])


@pytest.mark.parametrize(("seconds", "words"), [(0, "in 0 s"), (119, "in 119 s"), (600, "in 10 min"), (7200, "in 2 h")])
def test_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
