"""The registry is compared with pydicom's own transcription of PS3.6; the rules with what devices send."""

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID, AllTransferSyntaxes

from dicom_adapter.dicom import uid
from dicom_adapter.dicom.uid_registry import NON_STORAGE_SOP_CLASSES, STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES

REGISTERED = {
    key: name for key, (name, kind, *_) in UID_dictionary.items() if name and kind in ("SOP Class", "Meta SOP Class")
}
NOT_STORED_DESPITE_ITS_NAME = {
    "1.2.840.10008.1.3.10",  # Media Storage Directory: a DICOMDIR is never sent by C-STORE
    "1.2.840.10008.1.20.1",  # Storage Commitment Push Model
    "1.2.840.10008.1.20.2",
}


def test_every_registered_sop_class_is_in_exactly_one_table() -> None:
    assert not STORAGE_SOP_CLASSES.keys() & NON_STORAGE_SOP_CLASSES.keys()
    assert REGISTERED.keys() <= STORAGE_SOP_CLASSES.keys() | NON_STORAGE_SOP_CLASSES.keys()


def test_the_non_storage_table_is_what_the_registry_does_not_call_storage() -> None:
    expected = {key for key, name in REGISTERED.items() if "Storage" not in name} | NOT_STORED_DESPITE_ITS_NAME
    assert NON_STORAGE_SOP_CLASSES.keys() == expected


def test_every_transfer_syntax_is_known() -> None:
    assert {str(syntax) for syntax in AllTransferSyntaxes} <= TRANSFER_SYNTAXES.keys()


def test_deflated_ones_are_those_of_the_registry() -> None:
    assert {key for key, name in TRANSFER_SYNTAXES.items() if "Deflate" in name} == {
        key for key in TRANSFER_SYNTAXES if uid.is_deflated(key)
    }
    assert uid.is_deflated("1.2.840.10008.1.2.1.99")
    assert UID("1.2.840.10008.1.2.1.99").is_deflated


@pytest.mark.parametrize(
    ("sop_class", "storage"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", True),  # CT
        ("1.2.840.10008.5.1.4.1.1.6", True),  # retired ultrasound
        ("1.3.12.2.1107.5.9.1", True),  # private: Siemens CSA non-image
        ("1.2.840.10008.5.1.4.1.1.9999", True),  # not yet in the standard
        (uid.VERIFICATION, False),
        ("1.2.840.10008.5.1.4.1.2.2.1", False),  # Study Root FIND
        ("1.2.840.10008.1.20.1", False),  # Storage Commitment
        ("1.2.840.10008.5.1.4.31", False),  # Modality Worklist
    ],
)
def test_storage_is_what_is_not_known_to_be_something_else(sop_class: str, storage: bool) -> None:
    assert uid.is_storage_sop_class(sop_class) is storage


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("1.2.840.10008.1.1", True),
        ("1.02.3", True),  # against PS3.5 9.1, but sent by real devices
        ("1" * 64, True),
        ("1" * 65, False),
        ("", False),
        ("1.2.x", False),
        ("../../etc", False),
        ("1.2\n", False),
        ("1.٢", False),  # digits of another alphabet
    ],
)
def test_valid_uids(text: str, valid: bool) -> None:
    assert uid.is_valid_uid(text) is valid


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", "CT Image Storage"),
        ("1.2.840.10008.1.2.5", "RLE Lossless"),
        ("1.2.840.10008.1.1", "Verification"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_names(number: str, name: str) -> None:
    assert uid.name_of(number) == name
