"""The default processor."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pydicom
import pytest

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import Batch, BatchState, Instance
from dicom_adapter.core.snapshot import ClaraAeTitle
from dicom_adapter.processors.job import JobProcessor
from tests.peers import EXPLICIT
from tests.samples import pydicom_file

AE = ClaraAeTitle("lung", "LUNG", pipelines=("p1", "p2", "p1"))
BATCH = Batch("b1", "LUNG", BatchState.CLOSED, 0.0, AE)

# patient, study, series: two patients; the second has two studies, one of them with two series
FOUR = [("A", "1.1", "1.1.1"), ("B", "1.2", "1.2.1"), ("B", "1.3", "1.3.1"), ("B", "1.3", "1.3.2")]


@dataclass
class Context:
    """A ProcessorContext that keeps what it is asked for."""

    ae_title: ClaraAeTitle
    instances: Sequence[Instance] = ()
    paths: Mapping[str, Path] = field(default_factory=dict)
    jobs: list[tuple[str, int | None, str]] = field(default_factory=list)

    def path(self, instance: Instance) -> Path:
        return self.paths[instance.sop_instance_uid]

    def submit_job(self, pipeline_id: str, instances: Sequence[Instance] | None = None, *, key: str = "") -> None:
        self.jobs.append((pipeline_id, None if instances is None else len(instances), key))


def received(folder: Path, rows: Sequence[tuple[str, str, str]], group_by: str) -> Context:
    """A batch of instances with these Patient IDs, studies and series."""
    instances, paths = [], {}
    for number, (patient, study, series) in enumerate(rows):
        dataset = pydicom.dcmread(pydicom_file("CT_small.dcm"))
        dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = patient, study, series
        uid = f"1.9.{number}"
        paths[uid] = folder / f"{number}.dcm"
        dataset.save_as(paths[uid])
        instances.append(Instance("a1", number, str(dataset.SOPClassUID), uid, study, series, EXPLICIT, 1, 0.0))
    return Context(replace(AE, settings={"groupBy": group_by}), instances, paths)


def process(context: Context, batch: Batch = BATCH) -> list[tuple[str, int | None, str]]:
    asyncio.run(JobProcessor().process(batch, context))
    return context.jobs


def test_each_pipeline_gets_one_job_over_the_whole_batch() -> None:
    assert process(Context(AE)) == [("p1", None, ""), ("p2", None, "")]


def test_a_batch_without_a_pipeline_is_for_a_person() -> None:
    with pytest.raises(PermanentError, match="LUNG is mapped to no pipeline"):
        process(Context(replace(AE, pipelines=())))


@pytest.mark.parametrize(
    ("group_by", "jobs"), [("0010,0020", 4), ("0020,000D", 6), ("(0020,000E)", 8), ("0020000e", 8), ("00100020", 4)]
)
def test_groups_of_four_instances_for_two_pipelines(tmp_path: Path, group_by: str, jobs: int) -> None:
    """contract 9.2: by patient, study and series 4, 6 and 8 jobs, each instance once for each pipeline."""
    asked = process(received(tmp_path, FOUR, group_by))
    assert len(asked) == jobs
    for pipeline in ("p1", "p2"):
        assert sum(count or 0 for name, count, _ in asked if name == pipeline) == len(FOUR)
    assert len({(name, key) for name, _, key in asked}) == jobs


def test_jobs_are_the_same_when_it_runs_again_and_tell_nothing_of_the_patient(tmp_path: Path) -> None:
    context = received(tmp_path, FOUR, "0010,0020")
    first = list(process(context))
    context.jobs.clear()
    assert process(context) == first
    assert not {key for _, _, key in first} & {"A", "B"}
    context.jobs.clear()
    assert {key for *_, key in process(context, replace(BATCH, id="b2"))}.isdisjoint(key for *_, key in first)


def test_an_instance_without_the_attribute_is_not_left_lying(tmp_path: Path) -> None:
    context = received(tmp_path, FOUR[:2], "0018,1030")
    assert [(name, count) for name, count, _ in process(context)] == [("p1", 2), ("p2", 2)]


def test_a_data_set_that_cannot_be_read_holds_up_no_other(tmp_path: Path) -> None:
    context = received(tmp_path, FOUR, "0010,0020")
    context.paths["1.9.0"].write_bytes(b"not DICOM")
    assert sum(count or 0 for name, count, _ in process(context) if name == "p1") == len(FOUR)


def test_a_file_that_is_away_is_tried_again(tmp_path: Path) -> None:
    context = received(tmp_path, FOUR, "0010,0020")
    context.paths["1.9.0"].unlink()
    with pytest.raises(OSError, match="No such file"):
        process(context)


@pytest.mark.parametrize("setting", ["", "patient", "0010", "0010,0020,1", "-1", "99999999999"])
def test_a_setting_that_is_no_tag_is_for_a_person(setting: str) -> None:
    with pytest.raises(PermanentError, match="is no DICOM tag"):
        process(Context(replace(AE, settings={"groupBy": setting})))
