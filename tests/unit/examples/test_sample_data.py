"""The sample series is a proper CT series: what the demo shows and what many tests rest on."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.samples import ct_series, pydicom_files, transcoded

SLICES = 6


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return ct_series(tmp_path_factory.mktemp("ct"), slices=SLICES, rows=64)


def test_one_study_one_series_one_frame_of_reference(series: list[Path]) -> None:
    slices = [pydicom.dcmread(path) for path in series]
    assert len(slices) == SLICES
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({getattr(one, keyword) for one in slices}) == 1
    assert len({one.SOPInstanceUID for one in slices}) == SLICES
    assert [one.InstanceNumber for one in slices] == list(range(1, SLICES + 1))


def test_slices_lie_at_equal_distances_and_differ(series: list[Path]) -> None:
    slices = [pydicom.dcmread(path) for path in series]
    for lower, upper in pairwise(slices):
        step = upper.ImagePositionPatient[2] - lower.ImagePositionPatient[2]
        assert step == pytest.approx(lower.SliceThickness, abs=0.01)
        assert not np.array_equal(lower.pixel_array, upper.pixel_array)


def test_skull_closes_towards_the_vertex(series: list[Path]) -> None:
    """The head narrows slice by slice."""
    widths = []
    for path in series:
        dataset = pydicom.dcmread(path)
        hounsfield = dataset.pixel_array * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
        widths.append(int((hounsfield[:50, 10:55] > 300).any(axis=0).sum()))  # within the head rest
    assert all(upper <= lower + 1 for lower, upper in pairwise(widths))  # one pixel for the coarse sampling
    assert widths[0] > 2 * widths[-1] > 0


def test_same_seed_same_bytes(series: list[Path], tmp_path: Path) -> None:
    again = ct_series(tmp_path / "again", slices=SLICES, rows=64)
    other = ct_series(tmp_path / "other", slices=SLICES, rows=64, seed="other")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in series]
    assert not {pydicom.dcmread(p).SOPInstanceUID for p in other} & {pydicom.dcmread(p).SOPInstanceUID for p in series}


def test_no_trace_of_the_source_patient(series: list[Path]) -> None:
    assert all(b"CQ500" not in path.read_bytes() for path in series)
    assert pydicom.dcmread(series[0]).PatientID == "SAMPLE-1"


@pytest.mark.parametrize(
    "transfer_syntax_uid",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
        JPEGLosslessSV1,
    ],
)
def test_transcoded_keeps_instance_and_says_its_syntax(
    series: list[Path], tmp_path: Path, transfer_syntax_uid: str
) -> None:
    source = pydicom.dcmread(series[0])
    target = pydicom.dcmread(transcoded(series[0], tmp_path / "out.dcm", transfer_syntax_uid))
    assert target.file_meta.TransferSyntaxUID == transfer_syntax_uid
    assert target.SOPInstanceUID == source.SOPInstanceUID
    if transfer_syntax_uid not in (JPEG2000Lossless, JPEGLosslessSV1):  # no decoder for these is installed
        assert np.array_equal(target.pixel_array, source.pixel_array)


def test_packages_ship_real_files_of_many_kinds() -> None:
    assert len(pydicom_files("CT")) >= 10
    assert len(pydicom_files("MR", ExplicitVRLittleEndian)) >= 5
    assert all(pydicom_files(transfer_syntax_uid=uid) for uid in (RLELossless, JPEGLSLossless, ExplicitVRBigEndian))
    assert all(pydicom_files(modality) for modality in ("SR", "SEG", "RTPLAN"))
