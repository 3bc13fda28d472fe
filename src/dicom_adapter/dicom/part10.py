"""DICOM Part 10 files: the preamble and the File Meta Information, written and read. Group 0002 only (PS3.10 7.1).

Why here: the data set behind it is stored and sent untouched, so this is all of a file that we ever make or parse.
SECURITY: the preamble is ours (zeros), so a stored file can never pass for an executable or another format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

PREAMBLE: Final = bytes(128) + b"DICM"
_GROUP_LENGTH: Final = struct.Struct("<HH2sHI")  # (0002,0000) UL 4 n
_SHORT_HEADER: Final = struct.Struct("<HH2sH")  # PS3.5 7.1.2: tag, VR, 16-bit length
_LONG_LENGTH: Final = struct.Struct("<I")
_LONG_VRS: Final = frozenset(
    {b"OB", b"OW", b"UN", b"UT", b"SQ", b"OD", b"OF", b"OL", b"OV", b"UC", b"UR", b"SV", b"UV"}
)
_VERSION: Final = struct.pack("<HH2sHI2s", 0x0002, 0x0001, b"OB", 0, 2, b"\x00\x01")

_UID_ELEMENTS: Final = {
    0x0002: "sop_class_uid",
    0x0003: "sop_instance_uid",
    0x0010: "transfer_syntax_uid",
    0x0012: "implementation_class_uid",
}
_TEXT_ELEMENTS: Final = {
    0x0013: "implementation_version_name",
    0x0016: "source_ae_title",
    0x0017: "sending_ae_title",
    0x0018: "receiving_ae_title",
}
_FIELDS: Final = _UID_ELEMENTS | _TEXT_ELEMENTS
_LONGEST_VALUE: Final = 1024  # bytes kept of any element we read; longer ones are no UID and no AE Title


class Part10Error(ValueError):
    """The bytes are not the head of a DICOM Part 10 file; the message says why, fit for a person."""


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the File Meta Information of a file says; "" for what it leaves out.

    `data_set_offset`: bytes from the start of the file to its data set.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    implementation_class_uid: str
    implementation_version_name: str
    source_ae_title: str
    sending_ae_title: str
    receiving_ae_title: str
    data_set_offset: int


def file_meta(
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    implementation_class_uid: str,
    implementation_version_name: str,
    source_ae_title: str,
    sending_ae_title: str,
    receiving_ae_title: str,
) -> bytes:
    """The head of a Part 10 file up to its data set (PS3.10 Table 7.1-1). Empty texts leave their element out."""
    before, after = _around_sop_instance(
        sop_class_uid,
        transfer_syntax_uid,
        implementation_class_uid,
        implementation_version_name,
        source_ae_title,
        sending_ae_title,
        receiving_ae_title,
    )
    sop_instance = _element(0x0003, b"UI", sop_instance_uid, b"\0")
    length = len(before) + len(sop_instance) + len(after)
    return b"".join((PREAMBLE, _GROUP_LENGTH.pack(0x0002, 0, b"UL", 4, length), before, sop_instance, after))


@lru_cache(maxsize=64)
def _around_sop_instance(
    sop_class_uid: str,
    transfer_syntax_uid: str,
    implementation_class_uid: str,
    implementation_version_name: str,
    source_ae_title: str,
    sending_ae_title: str,
    receiving_ae_title: str,
) -> tuple[bytes, bytes]:
    """The elements before and after (0002,0003): the same for every instance of a series."""
    before = _VERSION + _element(0x0002, b"UI", sop_class_uid, b"\0")
    after = b"".join(
        (
            _element(0x0010, b"UI", transfer_syntax_uid, b"\0"),
            _element(0x0012, b"UI", implementation_class_uid, b"\0"),
            _element(0x0013, b"SH", implementation_version_name[:16], b" "),
            _element(0x0016, b"AE", source_ae_title[:16], b" "),
            _element(0x0017, b"AE", sending_ae_title[:16], b" "),
            _element(0x0018, b"AE", receiving_ae_title[:16], b" "),
        )
    )
    return before, after


def _element(number: int, vr: bytes, text: str, pad: bytes) -> bytes:
    if not text:
        return b""
    value = text.encode("ascii", "replace")
    if len(value) & 1:
        value += pad
    return _SHORT_HEADER.pack(0x0002, number, vr, len(value)) + value


def read_file_meta(head: bytes) -> FileMeta:
    """Read the File Meta Information from the first bytes of a file.

    The group length is not believed: the group ends where its elements end, as some writers get the number wrong.

    Raises Part10Error when `head` is not the start of a Part 10 file, is cut off inside group 0002, or names no
    transfer syntax. Writers do forget the SOP UIDs; `dataset_head` finds them in the data set.
    """
    if head[128:132] != b"DICM":
        raise Part10Error("no DICM prefix at byte 128: not a DICOM Part 10 file")
    found: dict[str, str] = {}
    offset = 132
    while len(head) - offset >= 2 and head[offset : offset + 2] == b"\x02\x00":
        number, start, end = _element_bounds(head, offset)
        name = _FIELDS.get(number)
        if name is not None:
            found[name] = head[start : min(end, start + _LONGEST_VALUE)].decode("ascii", "replace").strip("\0 ")
        offset = end
    if not found.get("transfer_syntax_uid"):
        raise Part10Error("the File Meta Information names no transfer syntax")
    return FileMeta(**{name: found.get(name, "") for name in _FIELDS.values()}, data_set_offset=offset)


def _element_bounds(head: bytes, offset: int) -> tuple[int, int, int]:
    """(element number, start of its value, end of its value) of the element of group 0002 at `offset`."""
    start = offset + 8
    if start > len(head):
        raise Part10Error("cut off inside the File Meta Information")
    _, number, vr, length = _SHORT_HEADER.unpack_from(head, offset)
    if vr in _LONG_VRS:
        if start + 4 > len(head):
            raise Part10Error("cut off inside the File Meta Information")
        (length,) = _LONG_LENGTH.unpack_from(head, start)
        start += 4
    elif not vr.isalpha():
        raise Part10Error("the File Meta Information is not in Explicit VR Little Endian")
    if length > len(head) - start:
        raise Part10Error("cut off inside the File Meta Information")
    return number, start, start + length
