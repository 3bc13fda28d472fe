"""The sample pipeline, run as the adapter runs it, and its rules on volumes small enough to see through."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless, RLELossless, SecondaryCaptureImageStorage, SegmentationStorage

from examples.pipelines.bone_segmentation.components import keep_components, largest_component
from examples.pipelines.bone_segmentation.series import InputError, read_ct_series
from tests.samples import ct_series, pydicom_file, transcoded

PIPELINES = Path(__file__).parents[3] / "examples" / "pipelines"
SLICES = 12


def run_pipeline(input_folder: Path, output_folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bone_segmentation", input_folder, output_folder],
        env=os.environ | {"PYTHONPATH": str(PIPELINES)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the adapter would lay into the input folder: CT slices and job.json."""
    folder = tmp_path_factory.mktemp("input")
    ct_series(folder, slices=SLICES, rows=96)
    (folder / "job.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def results(batch: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    run = run_pipeline(batch, folder)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert "12 slices" in run.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["picture-1.dcm", "seg-1.dcm"]
    return folder


def test_results_belong_to_the_source_study_and_name_its_images(batch: Path, results: Path) -> None:
    source = [pydicom.dcmread(path) for path in batch.glob("*.dcm")]
    uids = {one.SOPInstanceUID for one in source}
    seg, picture = pydicom.dcmread(results / "seg-1.dcm"), pydicom.dcmread(results / "picture-1.dcm")
    assert seg.SOPClassUID == SegmentationStorage
    assert picture.SOPClassUID == SecondaryCaptureImageStorage
    for result in (seg, picture):
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyDate"):
            assert result[keyword].value == source[0][keyword].value
        assert result.SeriesInstanceUID != source[0].SeriesInstanceUID
        assert result.SOPInstanceUID not in uids
    assert seg.SeriesInstanceUID != picture.SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in picture.SourceImageSequence} == uids
    [referenced] = seg.ReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} == uids


def test_segments_the_skull_and_not_the_head_rest(batch: Path, results: Path) -> None:
    seg = pydicom.dcmread(results / "seg-1.dcm")
    [series] = read_ct_series(batch, skipped=pytest.fail)
    positions = [
        frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in seg.PerFrameFunctionalGroupsSequence
    ]
    lowest = seg.pixel_array[positions.index(min(positions))].astype(bool)
    above = series.hounsfield[0] > 300
    assert not lowest[:, :16].any()  # the head rest's left arm
    assert above[:, :16].any()
    assert (lowest & ~above).sum() == 0
    assert lowest.sum() > 0.9 * above[:, 20:76].sum()


def test_the_same_batch_again_gives_the_same_objects(batch: Path, results: Path, tmp_path: Path) -> None:
    assert run_pipeline(batch, tmp_path / "again").returncode == 0
    for name in ("seg-1.dcm", "picture-1.dcm"):
        first, again = pydicom.dcmread(results / name), pydicom.dcmread(tmp_path / "again" / name)
        for dataset in (first, again):
            dataset.walk(_forget_time)
        assert first == again


def _forget_time(dataset: pydicom.Dataset, element: pydicom.DataElement) -> None:
    """Objects say when they were made."""
    if element.VR in ("DA", "TM", "DT"):
        del dataset[element.tag]


def test_another_batch_gives_other_objects(results: Path, tmp_path: Path) -> None:
    ct_series(tmp_path / "input", slices=SLICES, rows=96, seed="other")
    assert run_pipeline(tmp_path / "input", tmp_path / "output").returncode == 0
    for name in ("seg-1.dcm", "picture-1.dcm"):
        first, other = pydicom.dcmread(results / name), pydicom.dcmread(tmp_path / "output" / name)
        assert first.SOPInstanceUID != other.SOPInstanceUID
        assert first.SeriesInstanceUID != other.SeriesInstanceUID


@pytest.mark.parametrize("name", ["seg-1.dcm", "picture-1.dcm"])
def test_results_are_valid_objects(results: Path, name: str) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    report = subprocess.run([program, results / name], capture_output=True, text=True, timeout=60, check=False)
    said = report.stdout + report.stderr
    assert "Error" not in said, said


@pytest.mark.parametrize("transfer_syntax_uid", [RLELossless, JPEGLSLossless])
def test_reads_compressed_series(batch: Path, results: Path, tmp_path: Path, transfer_syntax_uid: str) -> None:
    (tmp_path / "input").mkdir()
    for path in batch.glob("*.dcm"):
        transcoded(path, tmp_path / "input" / path.name, transfer_syntax_uid)
    run = run_pipeline(tmp_path / "input", tmp_path / "output")
    assert run.returncode == 0, run.stderr
    first, again = (pydicom.dcmread(folder / "seg-1.dcm") for folder in (results, tmp_path / "output"))
    assert np.array_equal(first.pixel_array, again.pixel_array)


def test_no_ct_in_the_batch(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    shutil.copy(pydicom_file("MR_small.dcm"), tmp_path / "input" / "00000001.dcm")
    run = run_pipeline(tmp_path / "input", tmp_path / "output")
    assert run.returncode == 1
    assert run.stderr == (
        "bone_segmentation: no CT image among the 1 DICOM files of the batch; this pipeline takes CT series only\n"
    )


def test_wrong_use() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bone_segmentation"],
        env=os.environ | {"PYTHONPATH": str(PIPELINES)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("usage:")


Spoil = Callable[[pydicom.Dataset], None]


def _localizer(dataset: pydicom.Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def _no_frame_of_reference(dataset: pydicom.Dataset) -> None:
    del dataset.FrameOfReferenceUID


def _same_position(dataset: pydicom.Dataset) -> None:
    dataset.ImagePositionPatient = [0, 0, 0]


def _tilted(dataset: pydicom.Dataset) -> None:
    if dataset.InstanceNumber == 2:
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_localizer, "a series of 3 CT images: a localizer"),
        (_no_frame_of_reference, "a series of 3 CT images: lacks FrameOfReferenceUID"),
        (_same_position, "a series of 3 CT images: two of its slices lie at the same position"),
        (_tilted, "a series of 3 CT images: its slices are not parallel"),
    ],
)
def test_series_that_make_no_volume_are_named(tmp_path: Path, spoil: Spoil, reason: str) -> None:
    for path in ct_series(tmp_path, slices=3, rows=32):
        dataset = pydicom.dcmread(path)
        spoil(dataset)
        dataset.save_as(path)
    reasons: list[str] = []
    with pytest.raises(InputError, match="no CT series of the batch makes a volume"):
        read_ct_series(tmp_path, skipped=reasons.append)
    assert reasons == [reason]


def test_components_touch_by_faces_in_three_directions() -> None:
    mask = np.zeros((3, 4, 5), dtype=bool)
    mask[0, 0, 0:2] = mask[0, 1, 1] = mask[1, 1, 1] = True  # one component of 4, over x, y and z
    mask[2, 3, 3:5] = True  # one of 2
    mask[2, 2, 2] = True  # one of 1: it touches the last by an edge only
    assert largest_component(mask).sum() == 4
    assert keep_components(mask, at_least=2).sum() == 6
    assert not keep_components(mask, at_least=2)[2, 2, 2]
    assert keep_components(mask, at_least=5).sum() == 0


def test_a_winding_component_stays_one() -> None:
    """A snake whose rows are joined at alternating ends: labels have to travel its whole length."""
    mask = np.zeros((1, 41, 30), dtype=bool)
    mask[0, ::2] = True
    mask[0, 1::4, -1] = mask[0, 3::4, 0] = True
    assert np.array_equal(largest_component(mask), mask)


def test_nothing_has_no_components() -> None:
    empty = np.zeros((2, 2, 2), dtype=bool)
    assert not largest_component(empty).any()
    assert not keep_components(empty, at_least=1).any()
