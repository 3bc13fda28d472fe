"""File Meta Information: what we write, pydicom reads; what others wrote, we read."""

import contextlib
import io
import struct
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_file_meta_info

from dicom_adapter.dicom.part10 import FileMeta, Part10Error, file_meta, read_file_meta
from tests.dicom_files import head_of, readable_files

FIELDS = ("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2.1", "1.2.3", "VERSION_1", "CT01", "CT02", "CLARA")


def test_pydicom_reads_what_we_write() -> None:
    head = file_meta(*FIELDS)
    meta = pydicom.dcmread(io.BytesIO(head)).file_meta
    assert meta.FileMetaInformationGroupLength == len(head) - 144
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
        meta.TransferSyntaxUID,
        meta.ImplementationClassUID,
        meta.ImplementationVersionName,
        meta.SourceApplicationEntityTitle,
        meta.SendingApplicationEntityTitle,
        meta.ReceivingApplicationEntityTitle,
    ) == FIELDS
    assert head[:128] == bytes(128)


def test_we_read_what_we_write() -> None:
    head = file_meta(*FIELDS)
    assert read_file_meta(head + b"\x08\x00") == FileMeta(*FIELDS, data_set_offset=len(head))


def test_an_empty_text_leaves_its_element_out() -> None:
    head = file_meta(*FIELDS[:4], "", "", "", "")
    meta = pydicom.dcmread(io.BytesIO(head)).file_meta
    assert "SourceApplicationEntityTitle" not in meta
    assert read_file_meta(head).source_ae_title == ""


def test_values_that_would_not_fit_are_cut_not_believed() -> None:
    meta = read_file_meta(file_meta(*FIELDS[:4], "V" * 40, "\\x1b" * 10, "é", ""))
    assert meta.implementation_version_name == "V" * 16
    assert len(meta.source_ae_title) == 16
    assert meta.sending_ae_title == "?"


@pytest.mark.filterwarnings("ignore:Invalid value for VR")  # pydicom, about UIDs in these files
@pytest.mark.parametrize("path", readable_files(), ids=lambda path: path.name)
def test_real_files(path: Path) -> None:
    expected = read_file_meta_info(path)
    meta = read_file_meta(head_of(path))
    assert meta.transfer_syntax_uid == expected.TransferSyntaxUID
    assert meta.sop_instance_uid == expected.get("MediaStorageSOPInstanceUID", "")
    assert meta.implementation_class_uid == expected.get("ImplementationClassUID", "")


def with_element(number: int, vr: bytes, length: int, value: bytes) -> bytes:
    return file_meta(*FIELDS) + struct.pack("<HH2sHI", 2, number, vr, 0, length) + value


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "no DICM prefix"),
        (bytes(200), "no DICM prefix"),
        (file_meta(*FIELDS)[:200], "cut off"),
        (file_meta(*FIELDS)[:-1], "cut off"),
        (with_element(0x0102, b"OB", 0xFFFFFFFF, b"x" * 100), "cut off"),
        (with_element(0x0102, b"OB", 2_000_000_000, b"x" * 100), "cut off"),
        (file_meta("1.2", "1.3", "", "1.4", "", "", "", ""), "names no transfer syntax"),
        (bytes(128) + b"DICM" + b"\x02\x00\x10\x00\x12\x00\x00\x00" + b"1.2.840.10008.1.2.1", "Explicit VR"),
        (bytes(128) + b"DICM" + b"\x08\x00\x16\x00UI\x02\x001.", "names no transfer syntax"),
    ],
)
def test_what_is_no_part_10_file_says_why(head: bytes, words: str) -> None:
    with pytest.raises(Part10Error, match=words):
        read_file_meta(head)


@given(st.binary(max_size=200), st.integers(0, 160))
def test_no_bytes_raise_anything_else(junk: bytes, position: int) -> None:
    head = bytearray(file_meta(*FIELDS))
    head[132 + position : 132 + position + len(junk)] = junk
    with contextlib.suppress(Part10Error):
        assert read_file_meta(bytes(head)).data_set_offset <= len(head)


def test_a_wrong_group_length_is_not_believed() -> None:
    head = bytearray(file_meta(*FIELDS))
    head[140:144] = struct.pack("<I", 0xFFFFFFF0)
    assert read_file_meta(bytes(head)).data_set_offset == len(head)


def test_a_long_private_element_is_passed_over() -> None:
    head = with_element(0x0102, b"OB", 5000, b"x" * 5000)
    assert read_file_meta(head).data_set_offset == len(head)
