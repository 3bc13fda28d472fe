"""A finished job's result files: read, judged, and put where exports and quarantine take them from.

Why here: the judgement is `core.results_policy`, the eyes are `result_heads`; these are the hands, which know neither
engines nor the store. SECURITY: links are not followed. A Patient ID is compared in memory and goes nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_adapter.core.errors import TemporaryError
from dicom_adapter.core.results_policy import ResultFacts, ResultsCheck, Unreadable, quarantine_reasons
from dicom_adapter.dicom.part10 import Part10Error
from dicom_adapter.links import copy, link_or_copy

if TYPE_CHECKING:
    from dicom_adapter.result_heads import Head


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
    files: Sequence[Path],
    studies: Mapping[str, Path],
    source_uids: Container[str],
    check: ResultsCheck,
    numbers: Sequence[int] = (),
) -> list[Result]:
    """Judge every result file of a job. Blocking: reads the head of each file.

    `studies`: for each study of the batch, by Study Instance UID, one of its files.
    `source_uids`: the SOP Instance UIDs of the batch. `numbers`: what the files are called in errors, else from 1.

    Raises TemporaryError when the storage cannot be read.
    """
    patients = {study: _patient_of(path) for study, path in studies.items()}
    found = [_read(number, path, patients) for number, path in zip(numbers or count(1), files, strict=False)]
    reasons = quarantine_reasons(found, source_uids, check)
    return [
        Result(path, facts if isinstance(facts, ResultFacts) else None, reason)
        for path, facts, reason in zip(files, found, reasons, strict=True)
    ]


def stage_results(results: Sequence[Result], output: Path, accepted: Path, quarantine: Path) -> list[StagedResult]:
    """Put accepted results into the folder `accepted` as `<n>.dcm`, the others into `quarantine` as `<n>`.

    Hard links (copies, where those are impossible) under our own numbers, durable when this returns. The same results
    give the same numbers and files, so a crash in between is repaired by calling again. `quarantine/reasons.json` says
    why, for each number; `output` is the folder that names are shown relative to. Folders are made where there is
    something to put into them.

    Raises TemporaryError when the storage cannot be written.
    """
    numbered = list(enumerate(results, start=1))
    kept = [each for each in numbered if each[1].quarantine_reason is None]
    refused = [each for each in numbered if each[1].quarantine_reason is not None]
    staged = []
    with _storage_errors():
        if kept:
            with _durable_folder(accepted) as directory:
                for number, result in kept:
                    assert result.facts is not None
                    path = accepted / f"{number}.dcm"
                    _put(number, result.path, path.name, directory)
                    staged.append(StagedResult(number, path, result.facts))
        if refused:
            reasons = [
                {"number": number, "name": _displayed(result.path, output), "reason": result.quarantine_reason}
                for number, result in refused
            ]
            with _durable_folder(quarantine) as directory:
                for number, result in refused:
                    _put(number, result.path, str(number), directory)
                _write(quarantine / "reasons.json", json.dumps(reasons, indent=1).encode())
    return staged


def unstage(*folders: Path) -> None:
    """Remove what `stage_results` put there, of a run that was given up; the folder around too, if it is empty then."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


def _read(number: int, path: Path, patients: Mapping[str, str | None]) -> ResultFacts | Unreadable:
    try:
        head = _head(path, _called(number))
    except Part10Error as error:
        return Unreadable(f"is not DICOM: {error}")
    study = head.study_instance_uid
    same_patient = None
    if study in patients:
        same_patient = patients[study] is not None and head.patient_id == patients[study]
    return ResultFacts(
        sop_class_uid=head.sop_class_uid,
        sop_instance_uid=head.sop_instance_uid,
        study_instance_uid=study,
        series_instance_uid=head.series_instance_uid,
        transfer_syntax_uid=head.transfer_syntax_uid,
        size=head.size,
        same_patient=same_patient,
    )


def _patient_of(path: Path) -> str | None:
    """The Patient ID of a source; None when it cannot be read, which no result then equals."""
    try:
        return _head(path).patient_id
    except Part10Error:
        return None


def _head(path: Path, called: str | None = None) -> Head:
    from dicom_adapter.result_heads import read_head  # noqa: PLC0415 - pydicom takes a third of a second, and starts wait

    with _storage_errors(called):
        return read_head(path)


def _called(number: int) -> str:
    """A result file in an error. Its path is not for logs: a program may have named it after a patient."""
    return f"result file {number}"


def _displayed(path: Path, output: Path) -> str:
    """A program chose the name: no more of it than can do no harm in a log or a page."""
    return re.sub(r"[^A-Za-z0-9._/-]", "_", str(path.relative_to(output)))[:200]


def _put(number: int, source: Path, name: str, directory: int) -> None:
    """Put a regular file there, its bytes synced first: nobody else does that for a command's output."""
    with _storage_errors(_called(number)):
        if not stat.S_ISREG(source.lstat().st_mode):
            return
        _sync(source)
        try:
            link_or_copy(source, name, directory)
        except FileExistsError:  # of an earlier try: this file, or one that may have been another then
            if not os.path.samestat(source.lstat(), os.stat(name, dir_fd=directory, follow_symlinks=False)):
                copy(source, name, directory)


@contextlib.contextmanager
def _durable_folder(path: Path) -> Iterator[int]:
    """The folder, made where it is not there, and open. It, its parent and what is in it are durable afterwards."""
    for folder in (path.parent, path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield directory
        os.fsync(directory)
    finally:
        os.close(directory)
    for folder in (path.parent, path.parent.parent):
        _sync(folder)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    _sync(part)
    part.rename(path)


@contextlib.contextmanager
def _storage_errors(called: str | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TemporaryError(f"{error.strerror} at {called or error.filename or 'the storage folder'}") from error
