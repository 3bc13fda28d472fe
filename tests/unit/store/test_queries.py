"""What people ask: the right numbers for the rows of a page, newest first, and no more than the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_adapter.core.model import (
    NOTHING_MISSING,
    NOTHING_REFUSED,
    AssociationOutcome,
    Batch,
    BatchState,
    DeliveryState,
    ExportFile,
    ExportState,
    ExportTask,
    FileOutcome,
    Job,
    JobState,
    Missing,
    Refused,
)
from dicom_adapter.core.whereabouts import Work
from dicom_adapter.store import associations, batches, export_tasks, jobs, queries
from dicom_adapter.store.database import Database
from dicom_adapter.store.queries import Page
from tests.databases import fresh
from tests.fakes import AE, CT, EXPLICIT, association


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Three studies, each with a batch, a job and an export; and a fourth that was aborted."""
    made = fresh(tmp_path)
    for number in (1, 2, 3):
        record, instances = association(study=f"1.2.{number}", instances=number, at=1000.0 + number)
        with made.write() as connection:
            associations.add(connection, record, instances, set_aside_until=None)
            batches.open_batch(connection, Batch(f"b{number}", "LUNG", BatchState.COLLECTING, 1000.0 + number, AE))
            batches.add_instances(connection, f"b{number}", instances, overwrite=False)
            batches.close(connection, f"b{number}", 1010)
            job = Job(f"j{number}", f"n{number}", f"b{number}", "p1", "lung_ai", "LUNG", JobState.QUEUED, 1, 1, 0, 1011)
            jobs.add(connection, job, None)
            jobs.add_quarantined(connection, job.id, {9: (f"quarantine/{job.id}/9", "the file is not DICOM")})
            task = ExportTask(f"e{number}", job.id, "PACS", ExportState.PENDING, 0, 0, 1012)
            files = [ExportFile(task.id, at, "x", CT, f"1.{at}", "1.2", EXPLICIT, 1) for at in (1, 2, 3)]
            export_tasks.add(connection, task, files)
            outcomes = [
                FileOutcome(1, DeliveryState.DELIVERED, 0),
                FileOutcome(2, DeliveryState.FAILED, 0xA700, "A700H"),
            ]
            export_tasks.record_outcomes(connection, task.id, outcomes)
    record, instances = association(study="1.2.4", outcome=AssociationOutcome.ABORTED, at=1004.0)
    with made.write() as connection:
        associations.add(connection, record, instances, set_aside_until=9e9)
    yield made
    made.close()


def test_pages_are_newest_first_and_meet(database: Database) -> None:
    with database.read() as connection:
        for listing, letter in (
            (queries.list_batches, "b"),
            (queries.list_jobs, "j"),
            (queries.list_exports, "e"),
        ):
            first = listing(connection, Page(limit=2))
            second = listing(connection, Page(limit=2, before=first[-1]["id"]))
            assert [row["id"] for row in (*first, *second)] == [f"{letter}3", f"{letter}2", f"{letter}1"]


def test_numbers_are_those_of_the_row(database: Database) -> None:
    with database.read() as connection:
        batch = queries.list_batches(connection, queries.only("b2"))[0]
        assert (batch["instances"], batch["studies"], batch["bytes"]) == (2, 1, 2000)
        [job] = queries.list_jobs(connection, queries.only("j2"))
        assert (job["quarantined"], job["exports"]) == (1, 1)
        [export] = queries.list_exports(connection, queries.only("e2"))
        assert (export["files"], export["delivered"], export["warning"], export["files_failed"]) == (3, 1, 0, 1)


def test_copies_that_are_not_used_are_counted_apart(database: Database) -> None:
    _, stored = association(study="1.2.2", instances=1, at=1005.0)
    record, _ = association(study="1.2.2")
    again = [stored[0]._replace(association_id=record.id, number=number) for number in (1, 2)]
    with database.write() as connection:
        associations.add(connection, record, again, set_aside_until=None)
        batches.add_instances(connection, "b2", again, overwrite=True)
    with database.read() as connection:
        batch = queries.list_batches(connection, queries.only("b2"))[0]
        assert (batch["instances"], batch["superseded"], batch["bytes"]) == (3, 1, 3000)


def test_only_those_in_a_state(database: Database) -> None:
    with database.write() as connection:
        jobs.failed(connection, "j2", 1020, "why")
    with database.read() as connection:
        assert [row["id"] for row in queries.list_jobs(connection, Page(where={"state": "failed"}))] == ["j2"]
        assert queries.counts(connection)["jobs"] == {"failed": 1, "queued": 2}


def test_the_work_on_a_study_is_its_own(database: Database) -> None:
    with database.read() as connection:
        work = queries.work_on(connection, "1.2.2")
        assert [batch.id for batch in work.batches] == ["b2"]
        assert [(job.id, [task.id for task in tasks]) for job, tasks in work.jobs] == [("j2", ["e2"])]
        assert queries.work_on(connection, "1.2.4") == Work([], [], Missing(aborted=2))
        assert [row["id"] for row in queries.list_batches(connection, Page(), "1.2.3")] == ["b3"]


def test_what_was_refused_is_missing_until_it_comes(database: Database) -> None:
    def add(
        refused: Refused, outcome: AssociationOutcome = AssociationOutcome.RELEASED, uids: Sequence[str] = ()
    ) -> list[str]:
        record, stored = association(study="1.2.9", outcome=outcome, uids=uids, at=1100.0)
        with database.write() as connection:
            associations.add(connection, replace(record, refused=refused), stored, set_aside_until=None)
        return [instance.sop_instance_uid for instance in stored]

    def missing() -> Missing:
        with database.read() as connection:
            return queries.work_on(connection, "1.2.9").missing

    add(NOTHING_REFUSED)
    assert missing() == NOTHING_MISSING
    come = add(NOTHING_REFUSED)
    aborted = add(NOTHING_REFUSED, AssociationOutcome.ABORTED)  # never submitted: as if it had not come
    assert missing() == Missing(aborted=2)
    add(NOTHING_REFUSED, uids=aborted[1:])  # again
    assert missing() == Missing(aborted=1)
    add(Refused(5, "A700H", (come[0], aborted[0], "1.2.77"), unnamed=1))
    assert missing() == Missing(2, 1, "A700H", aborted=1)
    add(Refused(2, "C000H", (aborted[0], "1.2.78")))
    assert missing() == Missing(3, 1, "C000H", aborted=1)
    with database.read() as connection:
        assert queries.work_on(connection, "1.2.1").missing == NOTHING_MISSING


def test_studies_with_the_latest_first(database: Database) -> None:
    with database.read() as connection:
        rows = queries.list_studies(connection, Page(2))
        assert [(row["study_instance_uid"], row["instances"], row["series"]) for row in rows] == [
            ("1.2.4", 2, 1),
            ("1.2.3", 3, 1),
        ]
        rest = queries.list_studies(connection, Page(2, before=queries.place_of(rows[-1])))
        assert [row["study_instance_uid"] for row in rest] == ["1.2.2", "1.2.1"]
        assert queries.list_studies(connection, Page(2, before=queries.place_of(rest[-1]))) == []
        assert queries.list_studies(connection, Page(where={"called_ae_title": "OTHER"})) == []
        assert queries.called_ae_titles(connection, "1.2.4") == ["LUNG"]
        assert queries.list_studies(connection, Page(2), "1.2.5") == []


def test_a_batch_shows_why_its_processor_waits(database: Database) -> None:
    with database.write() as connection:
        batches.processor_failed(connection, "b1", 0, 1050, "the registry is away")
    with database.read() as connection:
        [batch] = queries.list_batches(connection, queries.only("b1"))
    assert (batch["next_attempt_at"], batch["reason"]) == (1050, "the registry is away")
