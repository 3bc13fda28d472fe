"""A finished job's result files: read, judged, and put where exports and quarantine take them from.

Why here: the judgement is `core.results_policy`; this is its eyes and hands, and knows neither engines nor the store.
SECURITY: result files are a program's output and sources are a peer's: links are not followed, only heads are read,
inflated bytes are bounded. A Patient ID is compared in memory and goes nowhere else.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import stat
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from dicom_adapter.core.errors import TemporaryError
from dicom_adapter.core.results_policy import ResultFacts, ResultsCheck, Unreadable, quarantine_reasons
from dicom_adapter.dicom.part10 import FileMeta, Part10Error, read_file_meta
from dicom_adapter.dicom.uid import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, is_deflated

MAX_FILE_META = 64 << 10  # bytes
MAX_INFLATED = 16 << 20  # bytes of a deflated data set that are inflated for its head
MAX_VALUE = 4096  # bytes of an element that is read

_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE = 0x00080005, 0x00080016, 0x00080018
_PATIENT_ID, _STUDY, _SERIES = 0x00100020, 0x0020000D, 0x0020000E
_WANTED = frozenset({_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE, _PATIENT_ID, _STUDY, _SERIES})


@dataclass(frozen=True, slots=True)
class Result:
    """One result file with its verdict. `facts` is None only with a reason; a reason means quarantine."""

    path: Path
    facts: ResultFacts | None
    quarantine_reason: str | None


@dataclass(frozen=True, slots=True)
class StagedResult:
    """A result that waits for its export."""

    number: int
    path: Path
    facts: ResultFacts


def check_results(
    files: Sequence[Path], studies: Mapping[str, Path], source_uids: Container[str], check: ResultsCheck
) -> list[Result]:
    """Judge every result file of a job. Blocking: reads the head of each file.

    `studies`: for each study of the batch, by Study Instance UID, one of its files.
    `source_uids`: the SOP Instance UIDs of the batch.

    Raises TemporaryError when the storage cannot be read.
    """
    patients = {study: _patient_of(path) for study, path in studies.items()}
    found = [_read(path, patients) for path in files]
    reasons = quarantine_reasons(found, source_uids, check)
    return [
        Result(path, facts if isinstance(facts, ResultFacts) else None, reason)
        for path, facts, reason in zip(files, found, reasons, strict=True)
    ]


def stage_results(results: Sequence[Result], output: Path, accepted: Path, quarantine: Path) -> list[StagedResult]:
    """Put accepted results into the folder `accepted` as `<n>.dcm`, the others into `quarantine` as `<n>`.

    Hard links under our own numbers, durable when this returns. The same results give the same numbers and files, so a
    crash in between is repaired by calling again. `quarantine/reasons.json` says why, for each number; `output` is the
    folder that names are shown relative to. Folders are made where there is something to put into them.

    Raises TemporaryError when the storage cannot be written.
    """
    numbered = list(enumerate(results, start=1))
    kept = [each for each in numbered if each[1].quarantine_reason is None]
    refused = [each for each in numbered if each[1].quarantine_reason is not None]
    with _storage_errors():
        staged = []
        for number, result in kept:
            assert result.facts is not None
            path = accepted / f"{number}.dcm"
            _link(result.path, path)
            staged.append(StagedResult(number, path, result.facts))
        for number, result in refused:
            _link(result.path, quarantine / str(number))
        if refused:
            reasons = [
                {"number": number, "name": _displayed(result.path, output), "reason": result.quarantine_reason}
                for number, result in refused
            ]
            _write(quarantine / "reasons.json", json.dumps(reasons, indent=1).encode())
        for folder in (accepted, quarantine):
            if folder.exists():
                _sync(folder)
                _sync(folder.parent)
    return staged


def _read(path: Path, patients: Mapping[str, str | None]) -> ResultFacts | Unreadable:
    try:
        meta, head, size = _read_head(path)
    except Part10Error as error:
        return Unreadable(f"is not DICOM: {error}")
    study = _uid(head, _STUDY)
    same_patient = None
    if study in patients:
        same_patient = patients[study] is not None and _text(head, _PATIENT_ID) == patients[study]
    return ResultFacts(
        sop_class_uid=_uid(head, _SOP_CLASS),
        sop_instance_uid=_uid(head, _SOP_INSTANCE),
        study_instance_uid=study,
        series_instance_uid=_uid(head, _SERIES),
        transfer_syntax_uid=meta.transfer_syntax_uid,
        size=size,
        same_patient=same_patient,
    )


def _patient_of(path: Path) -> str | None:
    """The Patient ID of a source; None when it cannot be read, which no result then equals."""
    try:
        return _text(_read_head(path)[1], _PATIENT_ID)
    except Part10Error:
        return None


def _read_head(path: Path) -> tuple[FileMeta, Dataset, int]:
    """File Meta Information, data set up to the Series Instance UID, size in bytes. Raises Part10Error."""
    with _storage_errors(), _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise Part10Error("it is empty")
        meta = read_file_meta(file.read(MAX_FILE_META))
        file.seek(meta.data_set_offset)
        stream = _inflated(file) if is_deflated(meta.transfer_syntax_uid) else file
        try:
            head = read_dataset(
                stream,
                is_implicit_VR=meta.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
                is_little_endian=meta.transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
                stop_when=_behind_head,
                specific_tags=list(_WANTED),
            )
        except OSError:
            raise
        except Exception as error:  # whatever pydicom trips over, it is the file
            raise Part10Error("its data set cannot be read") from error
    return meta, head, size


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise Part10Error("it is a link or a special file")
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        yield file


def _behind_head(tag: int, _vr: str | None, length: int) -> bool:
    number = int(tag)  # pydicom's own comparisons of tags take most of the time otherwise
    if length > MAX_VALUE and number in _WANTED:
        raise ValueError("a value of the head is too long")
    return number > _SERIES  # tags ascend: PS3.5 7.1


def _inflated(file: BinaryIO) -> BinaryIO:
    try:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        return io.BytesIO(inflater.decompress(file.read(MAX_INFLATED), MAX_INFLATED))
    except zlib.error as error:
        raise Part10Error("its deflated data set cannot be inflated") from error


def _value(head: Dataset, tag: int) -> bytes:
    """The element as it stands in the file: pydicom's own conversion validates, and warns."""
    element = head.get_item(tag)
    return element.value or b"" if isinstance(element, RawDataElement) else b""


def _uid(head: Dataset, tag: int) -> str:
    return _value(head, tag).decode("ascii", "replace").strip("\0 ")


def _text(head: Dataset, tag: int) -> str:
    character_sets = _value(head, _CHARACTER_SET).decode("ascii", "replace").split("\\")
    encodings = convert_encodings([each.strip("\0 ") for each in character_sets])
    return decode_bytes(_value(head, tag), encodings, set()).strip("\0 ")


def _displayed(path: Path, output: Path) -> str:
    """A program chose the name: no more of it than can do no harm in a log or a page."""
    return re.sub(r"[^A-Za-z0-9._/-]", "_", str(path.relative_to(output)))[:200]


def _link(source: Path, target: Path) -> None:
    """Link a regular file, its bytes synced first: nobody else does that for a command's output."""
    if not stat.S_ISREG(source.lstat().st_mode):
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sync(source)
    with contextlib.suppress(FileExistsError):
        os.link(source, target, follow_symlinks=False)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    _sync(part)
    part.rename(path)


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TemporaryError(f"{error.strerror} at {error.filename or 'the storage folder'}") from error
