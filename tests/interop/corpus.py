"""Real files for interoperability: every family of transfer syntax, and the kinds of objects that a hospital sends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID, ImplicitVRLittleEndian

from dicom_adapter.dicom.part10 import read_file_meta

_DATA_SET_TRAILING_PADDING = 0xFFFCFFFC


@dataclass(frozen=True)
class Sample:
    """`storescu`: the option that makes it propose this file's transfer syntax."""

    name: str
    file: str
    storescu: str


SAMPLES = (
    Sample("CT explicit", "CT_small.dcm", "-xe"),
    Sample("MR implicit", "MR_small_implicit.dcm", "-xi"),
    Sample("MR big endian", "MR_small_bigendian.dcm", "-xb"),
    Sample("deflated", "image_dfl.dcm", "-xd"),
    Sample("SC JPEG baseline", "SC_rgb_jpeg_dcmtk.dcm", "-xy"),
    Sample("JPEG lossless", "JPGLosslessP14SV1_1s_1f_8b.dcm", "-xs"),
    Sample("MR JPEG-LS", "MR_small_jpeg_ls_lossless.dcm", "-xt"),
    Sample("MR JPEG 2000", "MR_small_jp2klossless.dcm", "-xv"),
    Sample("MR RLE", "MR_small_RLE.dcm", "-xr"),
    Sample("SR", "test-SR.dcm", "-xe"),
    Sample("SEG", "liver_1frame.dcm", "-xe"),
    Sample("RT plan", "rtplan.dcm", "-xi"),
    Sample("RT structure set", "rtstruct.dcm", "-xi"),
    Sample("RT dose multi-frame", "rtdose.dcm", "-xi"),
    Sample("enhanced MR multi-frame", "emri_small.dcm", "-xe"),
    Sample("US multi-frame JPEG", "color3d_jpeg_baseline.dcm", "-xy"),
    Sample("ECG waveform", "waveform_ecg.dcm", "-xe"),
)


@cache
def path_of(sample: Sample) -> Path:
    """Where the file is; the test is skipped when no package ships it here."""
    found = get_testdata_file(sample.file, download=False)
    if found is None:
        pytest.skip(f"{sample.file} is missing: pip install pydicom pydicom-data")
    return Path(found)


def prepare(sample: Sample, folder: Path) -> Path:
    """The file as a DICOM Part 10 file, in `folder`. Those without File Meta Information get one.

    Some samples are the same instance in several encodings: each becomes an instance of its own, by its last digit.
    """
    path = path_of(sample)
    target = folder / sample.file
    try:
        uid = instance_of(path)
        content = path.read_bytes()
        target.write_bytes(content.replace(uid.encode(), f"{uid[:-1]}{_digit(sample, uid)}".encode()))
    except pydicom.errors.InvalidDicomError:
        data_set = pydicom.dcmread(path, force=True)
        data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        data_set.save_as(target, enforce_file_format=True)
    return target


def _digit(sample: Sample, uid: str) -> str:
    same = [one for one in SAMPLES if one.file.startswith("MR_small")]
    return str(same.index(sample) + 1) if sample in same else uid[-1]


def data_set_bytes(path: Path) -> bytes:
    """The encoded data set of a Part 10 file."""
    content = path.read_bytes()
    return content[read_file_meta(content).data_set_offset :]


def instance_of(path: Path) -> str:
    """SOP Instance UID of a file, from its data set."""
    return str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)


def class_of(path: Path) -> str:
    """SOP Class UID of a file, from its data set."""
    return str(pydicom.dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).SOPClassUID)


def syntax_of(path: Path) -> UID:
    return pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID


def same_content(one: Path, other: Path) -> bool:
    """Whether two files hold the same elements, however they are encoded. Group lengths and padding do not count."""
    return _standard_elements(one) == _standard_elements(other)


def _standard_elements(path: Path) -> dict[int, object]:
    return {
        element.tag: element.value
        for element in pydicom.dcmread(path)
        if element.tag.element and not element.tag.is_private and element.tag != _DATA_SET_TRAILING_PADDING
    }
