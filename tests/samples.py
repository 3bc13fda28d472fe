"""DICOM files for tests: real ones that packages ship, and series, compressed and odd forms made from them.

Nothing here is committed data: `examples/sample_data.py` says where it comes from.
"""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from examples.sample_data import ct_datasets, ct_series, pydicom_data_folder, uid_for

__all__ = [
    "ct_datasets",
    "ct_series",
    "pydicom_file",
    "pydicom_files",
    "transcoded",
    "uid_for",
]


FOLDERS = (Path(pydicom.__file__).parent / "data" / "test_files", pydicom_data_folder())


def pydicom_file(name: str) -> Path:
    """The file of that name among those that pydicom and pydicom-data ship, e.g. "CT_small.dcm"."""
    for folder in FOLDERS:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"neither pydicom nor pydicom-data ships {name}")


def pydicom_files(modality: str | None = None, transfer_syntax_uid: str | None = None) -> list[Path]:
    """Files that pydicom and pydicom-data ship, whole enough to be sent, with this Modality and transfer syntax."""
    return [
        path
        for path, (found_modality, found_syntax) in _catalogue().items()
        if modality in (None, found_modality) and transfer_syntax_uid in (None, found_syntax)
    ]


@cache
def _catalogue() -> dict[Path, tuple[str, str]]:
    return {path: facts for folder in FOLDERS for path, facts in _sendable(folder)}


def _sendable(folder: Path) -> Iterator[tuple[Path, tuple[str, str]]]:
    tags = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"]
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.stat().st_size < 132:
            continue
        try:
            dataset = _read_quietly(path, tags)
        except (InvalidDicomError, EOFError, ValueError, OSError, AttributeError):
            continue  # test files are broken on purpose in many ways
        meta = dataset.file_meta
        if all(tag in dataset for tag in tags) and meta.get("TransferSyntaxUID") and "MediaStorageSOPClassUID" in meta:
            yield path, (str(dataset.Modality), str(meta.TransferSyntaxUID))


def _read_quietly(path: Path, tags: list[str]) -> FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, specific_tags=list(tags), stop_before_pixels=True)


_GDCMCONV = {JPEG2000Lossless: "--j2k", JPEGLosslessSV1: "--jpeg"}


def transcoded(source: Path, target: Path, transfer_syntax_uid: str) -> Path:
    """Write the uncompressed Explicit VR Little Endian image `source` to `target` in another transfer syntax.

    Skips the test where that takes `gdcmconv` and this machine has none.
    """
    syntax = UID(transfer_syntax_uid)
    if syntax in _GDCMCONV:
        program = shutil.which("gdcmconv")
        if program is None:
            pytest.skip("gdcmconv is not installed (Debian: libgdcm-tools)")
        subprocess.run([program, _GDCMCONV[syntax], source, target], check=True, capture_output=True, timeout=60)
        return target
    dataset = pydicom.dcmread(source)
    if syntax in (RLELossless, JPEGLSLossless):
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, dtype="<u2").byteswap().tobytes()
    elif syntax not in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        raise ValueError(f"no encoder here for {syntax.name}")
    dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        target,
        dataset,
        enforce_file_format=True,
        little_endian=syntax != ExplicitVRBigEndian,
        implicit_vr=syntax == ImplicitVRLittleEndian,
    )
    return target
