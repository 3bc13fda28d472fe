"""The end of a job that succeeded: its export tasks, its quarantine, and what a crash in between comes to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_adapter.core.errors import TemporaryError
from dicom_adapter.core.model import Batch, BatchState, Instance, Job, JobRef, JobState
from dicom_adapter.core.results_policy import ResultsCheck
from dicom_adapter.core.snapshot import Pipeline, platform_pipeline
from dicom_adapter.manager import results_collector
from dicom_adapter.manager.results_collector import ResultsCollector
from dicom_adapter.results import Result, StagedResult, stage_results
from dicom_adapter.spool.layout import StorageLayout
from dicom_adapter.store import associations, batches, export_tasks, jobs, queries
from tests.databases import fresh
from tests.fakes import AE, CT, PIPELINE, FakeClock, FakeEngine, association

REF = JobRef("j/1", "j/1")
STUDY = "1.2.3"


def write(path: Path, sop_instance_uid: str, patient: str = "CANARY-1") -> Path:
    """A small instance of the study."""
    path.parent.mkdir(parents=True, exist_ok=True)
    instance = Dataset()
    instance.SOPClassUID, instance.SOPInstanceUID = CT, sop_instance_uid
    instance.PatientID, instance.StudyInstanceUID, instance.SeriesInstanceUID = patient, STUDY, f"{STUDY}.9"
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.save_as(path, enforce_file_format=True)
    return path


def crash(*_: object) -> None:
    raise RuntimeError


class Engine(FakeEngine):
    """Its runs leave what a test has put into the output folder."""

    def __init__(self, output: Path) -> None:
        super().__init__()
        self.output = output
        output.mkdir()

    def result_files(self, ref: JobRef) -> list[Path]:
        return sorted(self.output.iterdir())

    def output_folder(self, ref: JobRef) -> Path:
        return self.output


class House:
    """A job that has just succeeded."""

    def __init__(self, folder: Path) -> None:
        self.database = fresh(folder)
        self.layout = StorageLayout(folder)
        self.engine = Engine(folder / "output")
        record, instances = association(uids=["1.2.3.1", "1.2.3.2"])
        for instance in instances:
            write(self.path_of(instance), instance.sop_instance_uid)
        with self.database.write() as connection:
            associations.add(connection, record, instances, set_aside_until=None)
            batches.open_batch(connection, Batch("b", "LUNG", BatchState.CLOSED, 1000, AE))
            batches.add_instances(connection, "b", instances, overwrite=False)
            jobs.add(connection, Job("j", "n", "b", "p1", "lung_ai", "LUNG", JobState.QUEUED, 1, 1, 0, 1000), None)
            jobs.created(connection, "j", REF)
            jobs.uploaded(connection, "j")
            jobs.started(connection, "j", 1001)

    def path_of(self, instance: Instance) -> Path:
        return self.layout.instance(instance.association_id, instance.number)

    async def collect(self, pipeline: Pipeline = PIPELINE, job: Job | None = None) -> None:
        collector = ResultsCollector(
            self.database,
            FakeClock(),
            self.layout,
            engines={"process": self.engine},
            path_of=self.path_of,
            check=ResultsCheck.STRICT,
        )
        await collector.collect(job or self.job(), REF, pipeline)

    def cancel(self) -> None:
        with self.database.write() as connection:
            assert jobs.canceled(connection, "j", 1002)

    def cancel_and_retry(self) -> None:
        """By a person; the next attempt has ended as well, with other results."""
        self.cancel()
        with self.database.write() as connection:
            assert jobs.retry(connection, "j", 1)
            jobs.created(connection, "j", JobRef("j/2", "j/2"))
            jobs.uploaded(connection, "j")
            jobs.started(connection, "j", 1003)
        shutil.rmtree(self.engine.output)
        write(self.engine.output / "a.dcm", "1.2.3.10")

    def staged(self) -> set[str]:
        """Every file that is staged or in quarantine, relative to the storage folder."""
        return {
            str(path.relative_to(self.layout.root))
            for folder in (self.layout.results_new, self.layout.quarantine)
            for path in folder.rglob("*")
        }

    def job(self) -> Job:
        with self.database.read() as connection:
            job = jobs.get(connection, "j")
        assert job is not None
        return job

    def exports(self) -> dict[str, list[str]]:
        """For each destination the files that wait for it, relative to the storage folder."""
        with self.database.read() as connection:
            return {
                task.destination: [file.path for file in export_tasks.files_of(connection, task.id)]
                for task in export_tasks.of_job(connection, "j")
            }


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


async def test_a_job_that_ran_elsewhere_has_no_results_here(house: House) -> None:
    write(house.engine.output / "one.dcm", "1.2.3.9")
    await house.collect(replace(platform_pipeline("p1"), destinations=("PACS",)))
    assert (house.job().state, house.job().reason) == (
        JobState.SUCCEEDED,
        "its results come through the Results Service",
    )
    assert house.exports() == {}


async def test_every_result_goes_to_every_destination(house: House) -> None:
    write(house.engine.output / "a.dcm", "1.2.3.8")
    write(house.engine.output / "b.dcm", "1.2.3.9")
    await house.collect(replace(PIPELINE, destinations=("PACS", "ARCHIVE")))
    files = ["results/new/j/attempt-1/1.dcm", "results/new/j/attempt-1/2.dcm"]
    assert house.exports() == {"PACS": files, "ARCHIVE": files}
    assert (house.job().state, house.job().reason) == (JobState.SUCCEEDED, None)
    assert all((house.layout.root / file).is_file() for file in files)


async def test_what_may_not_go_is_in_quarantine_with_its_reason(house: House) -> None:
    write(house.engine.output / "a.dcm", "1.2.3.8", patient="CANARY-2")
    write(house.engine.output / "b.dcm", "1.2.3.9")
    await house.collect()
    assert house.exports() == {"PACS": ["results/new/j/attempt-1/2.dcm"]}
    assert house.job().reason == "1 of 2 result files are in quarantine"
    with house.database.read() as connection:
        [row] = queries.quarantined(connection, "j")
    assert (row["path"], row["reason"]) == ("quarantine/j/attempt-1/1", "its patient differs from the batch's")
    assert (house.layout.root / row["path"]).is_file()


@pytest.mark.parametrize(
    ("results", "destinations", "words"),
    [
        (0, ("PACS",), "it returned no results"),
        (1, (), "pipeline lung_ai has no destinations: its results are kept, and not sent"),
    ],
)
async def test_a_job_that_sends_nothing_says_why(
    house: House, results: int, destinations: tuple[str, ...], words: str
) -> None:
    for number in range(results):
        write(house.engine.output / f"{number}.dcm", f"1.2.3.8.{number}")
    await house.collect(replace(PIPELINE, destinations=destinations))
    assert house.exports() == {}
    assert (house.job().state, house.job().reason) == (JobState.SUCCEEDED, words)


async def test_a_crash_before_the_commit_costs_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(house.engine.output / "a.dcm", "1.2.3.8")
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "succeeded", crash)
        with pytest.raises(RuntimeError):
            await house.collect()
    assert (house.job().state, house.exports()) == (JobState.STARTED, {})
    await house.collect()
    assert house.exports() == {"PACS": ["results/new/j/attempt-1/1.dcm"]}


async def test_results_of_a_job_that_was_canceled_meanwhile_are_not_sent(house: House) -> None:
    write(house.engine.output / "a.dcm", "1.2.3.8")
    house.cancel()
    await house.collect()
    assert (house.job().state, house.exports()) == (JobState.CANCELED, {})


async def test_what_a_canceled_attempt_staged_is_not_sent_as_the_next_ones(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was staged, and its thread ended without a word: the adapter was killed, or the database did not answer."""
    write(house.engine.output / "a.dcm", "1.2.3.8")
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "succeeded", crash)
        with pytest.raises(RuntimeError):
            await house.collect()
    house.cancel_and_retry()
    await house.collect()
    assert house.exports() == {"PACS": ["results/new/j/attempt-2/1.dcm"]}
    assert dcmread(house.layout.root / "results/new/j/attempt-2/1.dcm").SOPInstanceUID == "1.2.3.10"
    assert "results/new/j/attempt-1/1.dcm" in house.staged()  # until its batch's time is over


async def test_a_thread_that_stages_for_a_canceled_attempt_ends_nothing_and_leaves_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(house.engine.output / "a.dcm", "1.2.3.8")
    write(house.engine.output / "b.dcm", "1.2.3.9", patient="CANARY-2")
    first = house.job()

    def late(*arguments: Any) -> list[StagedResult]:
        staged = stage_results(*arguments)
        house.cancel_and_retry()  # while it staged
        return staged

    with monkeypatch.context() as patch:
        patch.setattr(results_collector, "stage_results", late)
        await house.collect(job=first)
    assert (house.job().state, house.job().attempt, house.exports()) == (JobState.STARTED, 2, {})
    assert house.staged() == set()
    await house.collect()
    assert house.exports() == {"PACS": ["results/new/j/attempt-2/1.dcm"]}
    assert dcmread(house.layout.root / "results/new/j/attempt-2/1.dcm").SOPInstanceUID == "1.2.3.10"


async def test_a_thread_that_stages_what_is_removed_meanwhile_leaves_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Housekeeping has removed the job's files: it does not come again."""
    write(house.engine.output / "a.dcm", "1.2.3.8")
    write(house.engine.output / "b.dcm", "1.2.3.9")

    def late(results: Sequence[Result], *arguments: Any) -> list[StagedResult]:
        house.cancel()
        with house.database.write() as connection:
            jobs.mark_removed(connection, "j", 1003)
        results[1].path.unlink()
        return stage_results(results, *arguments)

    monkeypatch.setattr(results_collector, "stage_results", late)
    with pytest.raises(TemporaryError):
        await house.collect()
    assert house.staged() == set()
