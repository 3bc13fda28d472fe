"""The end of a job that succeeded: its export tasks, its quarantine, and what a crash in between comes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_adapter.core.model import Batch, BatchState, Instance, Job, JobRef, JobState
from dicom_adapter.core.results_policy import ResultsCheck
from dicom_adapter.core.snapshot import Pipeline, platform_pipeline
from dicom_adapter.manager.results_collector import ResultsCollector
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

    async def collect(self, pipeline: Pipeline = PIPELINE) -> None:
        collector = ResultsCollector(
            self.database,
            FakeClock(),
            self.layout,
            engines={"process": self.engine},
            path_of=self.path_of,
            check=ResultsCheck.STRICT,
        )
        await collector.collect(self.job(), REF, pipeline)

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
    files = ["results/new/j/1.dcm", "results/new/j/2.dcm"]
    assert house.exports() == {"PACS": files, "ARCHIVE": files}
    assert (house.job().state, house.job().reason) == (JobState.SUCCEEDED, None)
    assert all((house.layout.root / file).is_file() for file in files)


async def test_what_may_not_go_is_in_quarantine_with_its_reason(house: House) -> None:
    write(house.engine.output / "a.dcm", "1.2.3.8", patient="CANARY-2")
    write(house.engine.output / "b.dcm", "1.2.3.9")
    await house.collect()
    assert house.exports() == {"PACS": ["results/new/j/2.dcm"]}
    assert house.job().reason == "1 of 2 result files are in quarantine"
    with house.database.read() as connection:
        [row] = queries.quarantined(connection, "j")
    assert (row["path"], row["reason"]) == ("quarantine/j/1", "its patient differs from the batch's")
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

    def crash(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "succeeded", crash)
        with pytest.raises(RuntimeError):
            await house.collect()
    assert (house.job().state, house.exports()) == (JobState.STARTED, {})
    await house.collect()
    assert house.exports() == {"PACS": ["results/new/j/1.dcm"]}


async def test_results_of_a_job_that_was_canceled_meanwhile_are_not_sent(house: House) -> None:
    write(house.engine.output / "a.dcm", "1.2.3.8")
    with house.database.write() as connection:
        assert jobs.canceled(connection, "j", 1002)
    await house.collect()
    assert (house.job().state, house.exports()) == (JobState.CANCELED, {})
