"""A finished job's result files: read, judged, and put where exports and quarantine take them from.

Why here: the judgement is `core.results_policy`, the eyes are `result_heads`; these are the hands, which know neither
engines nor the store. SECURITY: links are not followed. A Patient ID is compared in memory and goes nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_adapter.core.errors import TemporaryError
from dicom_adapter.core.results_policy import ResultFacts, ResultsCheck, Unreadable, quarantine_reasons
from dicom_adapter.dicom.part10 import Part10Error

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
        head = _head(path)
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


def _head(path: Path) -> Head:
    from dicom_adapter.result_heads import read_head  # noqa: PLC0415 - pydicom takes a third of a second, and starts wait

    with _storage_errors():
        return read_head(path)


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
