"""The verdict on result files, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_adapter.core.results_policy import (
    MEDIA_STORAGE_DIRECTORY,
    ResultFacts,
    ResultsCheck,
    Unreadable,
    quarantine_reasons,
)

STRICT, OFF = ResultsCheck.STRICT, ResultsCheck.OFF
SOURCE = "1.2.3.1"
GOOD = ResultFacts(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
    sop_instance_uid="1.2.3.100",
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.99",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    size=1000,
    same_patient=True,
)

# what differs from GOOD | part of the reason when strict | part of the reason when off; None: exported
TABLE = [
    ({}, None, None),
    ({"sop_class_uid": "1.2.3.4.5.6"}, None, None),  # a private SOP Class counts as storage
    ({"sop_instance_uid": SOURCE}, "SOP Instance UID of an instance", None),
    ({"same_patient": False}, "patient differs", None),
    ({"same_patient": None}, "study is not in the batch", None),
    ({"same_patient": None, "study_instance_uid": ""}, "study is not in the batch", None),
    ({"series_instance_uid": ""}, "Series Instance UID", None),
    ({"series_instance_uid": "1.2.x"}, "Series Instance UID", None),
    ({"sop_class_uid": ""}, "no SOP Class UID", "no SOP Class UID"),
    ({"sop_instance_uid": ""}, "no SOP Instance UID", "no SOP Instance UID"),
    ({"sop_instance_uid": "1.2.3/../4"}, "not a valid UID", "not a valid UID"),
    ({"sop_class_uid": MEDIA_STORAGE_DIRECTORY}, "DICOMDIR", "DICOMDIR"),
    ({"sop_class_uid": "1.2.840.10008.1.1"}, "Storage Service", "Storage Service"),
]


@pytest.mark.parametrize("check", [STRICT, OFF])
@pytest.mark.parametrize(("changes", "strict", "off"), TABLE)
def test_verdict(changes: dict[str, str], strict: str | None, off: str | None, check: ResultsCheck) -> None:
    expected = strict if check is STRICT else off
    (reason,) = quarantine_reasons([replace(GOOD, **changes)], {SOURCE}, check)  # type: ignore[arg-type]
    if expected is None:
        assert reason is None
    else:
        assert reason is not None
        assert expected in reason


@pytest.mark.parametrize("check", [STRICT, OFF])
def test_an_unreadable_file_is_never_exported(check: ResultsCheck) -> None:
    assert quarantine_reasons([Unreadable("is not DICOM"), GOOD], {SOURCE}, check) == ["the file is not DICOM", None]


def test_results_with_one_sop_instance_uid_are_all_kept_back() -> None:
    other = replace(GOOD, sop_instance_uid="1.2.3.7")
    first, second, third = quarantine_reasons([GOOD, other, GOOD], {SOURCE}, STRICT)
    assert first == third is not None
    assert "2 result files have the same SOP Instance UID" in str(first)
    assert second is None
    assert quarantine_reasons([GOOD, other, GOOD], {SOURCE}, OFF) == [None, None, None]
