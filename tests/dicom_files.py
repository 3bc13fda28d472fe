"""Every DICOM Part 10 file that pydicom and pydicom-data ship on this machine, and how pydicom splits one."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pydicom
from pydicom.filereader import _read_file_meta_info, read_file_meta_info, read_preamble


def _folders() -> list[Path]:
    folders = []
    for package, inside in (
        ("pydicom", "data/test_files"),
        ("data_store", "data"),
        ("pynetdicom", "tests/dicom_files"),
    ):
        spec = find_spec(package)
        for location in (spec.submodule_search_locations or []) if spec else []:
            folders.append(Path(location, inside))
    return folders


@cache
def readable_files() -> tuple[Path, ...]:
    """The files with a File Meta Information and a SOP Instance UID in the data set, sorted; DICOMDIRs left out."""
    found = []
    for folder in _folders():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and _is_part10(path):
                found.append(path)
    return tuple(found)


def _is_part10(path: Path) -> bool:
    try:
        if "TransferSyntaxUID" not in read_file_meta_info(path):
            return False
        return "SOPInstanceUID" in pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
    except Exception:
        return False


HEAD = 256 << 10  # bytes; every file here has its Series Instance UID well before


def head_of(path: Path) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(HEAD)


def data_set_head(path: Path) -> bytes:
    """The first bytes of a file's encoded data set, which pydicom found, not we."""
    with path.open("rb") as file:
        read_preamble(file, False)
        _read_file_meta_info(file)
        return file.read(HEAD)
