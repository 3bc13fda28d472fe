"""The example plug-in: found through its entry point, and true to what a processor owes."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_adapter.core.errors import PermanentError
from dicom_adapter.core.model import Batch, BatchState, Instance
from dicom_adapter.core.snapshot import ClaraAeTitle
from dicom_adapter.processors.registry import GROUP, resolve

EXAMPLE = Path(__file__).parents[3] / "examples" / "processors" / "group_by_tag"
CT = "1.2.840.10008.5.1.4.1.1.2"
CANARIES = ("CANARY^ONE", "CANARY^TWO", "")


@dataclass
class Context:
    ae_title: ClaraAeTitle
    folder: Path
    instances: Sequence[Instance]
    submitted: list[tuple[str, list[int], str]] = field(default_factory=list)

    def path(self, instance: Instance) -> Path:
        return self.folder / f"{instance.number}.dcm"

    def submit_job(self, pipeline_id: str, instances: Sequence[Instance] | None = None, *, key: str = "") -> None:
        self.submitted.append((pipeline_id, [each.number for each in instances or ()], key))


@pytest.fixture
def batch_folder(tmp_path: Path) -> Path:
    """Six slices: patients and series alternate, the last patient has no name."""
    for number in range(6):
        dataset = Dataset()
        dataset.PatientName = CANARIES[number % 3]
        dataset.SeriesInstanceUID = f"1.2.3.{number % 2}"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = UID(CT)
        dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.9.{number}")
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dcmwrite(tmp_path / f"{number}.dcm", dataset, enforce_file_format=True)
    return tmp_path


def process(
    folder: Path, settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, list[int], str]]:
    """Run the processor as the adapter does: found by the name that its own pyproject gives it."""
    monkeypatch.syspath_prepend(EXAMPLE)
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    processor = resolve(project["entry-points"][GROUP]["group-by-tag"])
    ae_title = ClaraAeTitle("lung", "LUNG", pipelines=("p1", "p2"), settings=settings)
    instances = [
        Instance("a1", number, CT, f"1.2.3.9.{number}", "1.2.3", None, ExplicitVRLittleEndian, 1, 0.0)
        for number in range(6)
    ]
    context = Context(ae_title, folder, instances)
    batch = Batch("0123456789abcdef", "LUNG", BatchState.CLOSED, 0.0, ae_title)
    asyncio.run(processor.process(batch, context))
    return context.submitted


@pytest.mark.parametrize("setting", [{}, {"group-by-tag": "SeriesInstanceUID"}, {"group-by-tag": "(0020,000E)"}])
def test_one_job_for_each_value_and_pipeline(
    batch_folder: Path, setting: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = process(batch_folder, setting, monkeypatch)
    assert [(pipeline, numbers) for pipeline, numbers, _ in submitted] == [
        ("p1", [0, 2, 4]),
        ("p2", [0, 2, 4]),
        ("p1", [1, 3, 5]),
        ("p2", [1, 3, 5]),
    ]
    assert len({key for _, _, key in submitted}) == 2


def test_the_same_jobs_at_every_call(batch_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert process(batch_folder, {}, monkeypatch) == process(batch_folder, {}, monkeypatch)


def test_a_missing_value_is_a_group_and_no_key_tells_a_value(
    batch_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = process(batch_folder, {"group-by-tag": "PatientName"}, monkeypatch)
    assert [numbers for _, numbers, _ in submitted[::2]] == [[0, 3], [1, 4], [2, 5]]
    assert not any("CANARY" in key for _, _, key in submitted)


def test_a_setting_that_is_no_tag_is_for_a_person(batch_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PermanentError, match="'Patient Nam' is neither"):
        process(batch_folder, {"group-by-tag": "Patient Nam"}, monkeypatch)
