"""Which result files of a job may go to a destination, and why the others go to quarantine (`results.check`).

A result that carries another patient's name into an archive, or overwrites the images it was made from, does harm that
nobody sees; so it is kept aside for a person. Pure: reading the files is `dicom_adapter.results`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dicom_adapter.dicom.uid import is_storage_sop_class, is_valid_uid

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR: PS3.10 8.6


class ResultsCheck(StrEnum):
    """`results.check`."""

    STRICT = "strict"  # a result belongs to the patient and a study of its batch, as an instance of its own
    OFF = "off"  # whatever C-STORE can carry


@dataclass(frozen=True, slots=True)
class ResultFacts:
    """What the head of a result file says. "" for an element that is missing or empty.

    `same_patient`: its Patient ID is that of the batch's instances in the same study; None where there are none.
    The Patient ID itself is never kept.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    size: int  # bytes of the whole file
    same_patient: bool | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A result file without facts, and why: words that complete "the file ..."."""

    reason: str


def quarantine_reasons(
    results: Sequence[ResultFacts | Unreadable], source_uids: Container[str], check: ResultsCheck
) -> list[str | None]:
    """For each result the reason for its quarantine, or None: it may be exported. No reason has patient data.

    `source_uids`: the SOP Instance UIDs of the batch.
    """
    uses = Counter(each.sop_instance_uid for each in results if isinstance(each, ResultFacts))
    reasons: list[str | None] = []
    for result in results:
        if isinstance(result, Unreadable):
            reasons.append(f"the file {result.reason}")
            continue
        reason = _not_storable(result)
        if reason is None and check is ResultsCheck.STRICT:
            reason = _not_of_the_batch(result, source_uids, uses[result.sop_instance_uid])
        reasons.append(reason)
    return reasons


def _not_storable(result: ResultFacts) -> str | None:
    """Why C-STORE cannot carry it, whatever the setting."""
    if result.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        return "a DICOMDIR is the directory of a medium, not an instance to store"
    for name, uid in (("SOP Class UID", result.sop_class_uid), ("SOP Instance UID", result.sop_instance_uid)):
        if not uid:
            return f"it has no {name}"
        if not is_valid_uid(uid):
            return f"its {name} is not a valid UID"
    if not is_storage_sop_class(result.sop_class_uid):
        return f"its SOP Class {result.sop_class_uid} is not one of the Storage Service"
    return None


def _not_of_the_batch(result: ResultFacts, source_uids: Container[str], uses: int) -> str | None:
    if result.sop_instance_uid in source_uids:
        return "it has the SOP Instance UID of an instance of the batch: a result needs its own"
    if uses > 1:
        return f"{uses} result files have the same SOP Instance UID: which of them is meant cannot be told"
    if not is_valid_uid(result.series_instance_uid):
        return "it has no valid Series Instance UID"
    if result.same_patient is None:
        return "its study is not in the batch: a result belongs to a study of the images it was made from"
    if not result.same_patient:
        return "its patient differs from the batch's"
    return None
