"""Command sets: bytes both ways, odd peers, what is refused (PS3.7 6.3.1, Annex E)."""

from __future__ import annotations

import struct

import pytest

from dicom_adapter.dicom.command_set import CommandField, CommandSet, Priority, decode, encode
from dicom_adapter.dicom.errors import RemoteProtocolError
from dicom_adapter.dicom.pdu import AbortReason, AbortSource


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHI", group, number, len(value)) + value


STORE = CommandSet(
    command_field=CommandField.C_STORE_RQ,
    has_data_set=True,
    message_id=7,
    affected_sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    affected_sop_instance_uid="1.2.3",
    priority=Priority.MEDIUM,
)
STORE_ELEMENTS = (
    element(0x0002, b"1.2.840.10008.5.1.4.1.1.2\0")
    + element(0x0100, b"\x01\x00")
    + element(0x0110, b"\x07\x00")
    + element(0x0700, b"\x00\x00")
    + element(0x0800, b"\x01\x00")
    + element(0x1000, b"1.2.3\0")
)
STORE_BYTES = element(0x0000, struct.pack("<I", len(STORE_ELEMENTS))) + STORE_ELEMENTS

RESPONSE = CommandSet(
    command_field=CommandField.C_ECHO_RSP, message_id_being_responded_to=7, status=0x0110, error_comment="why"
)
RESPONSE_ELEMENTS = (
    element(0x0100, b"\x30\x80")
    + element(0x0120, b"\x07\x00")
    + element(0x0800, b"\x01\x01")
    + element(0x0900, b"\x10\x01")
    + element(0x0902, b"why ")
)
RESPONSE_BYTES = element(0x0000, struct.pack("<I", len(RESPONSE_ELEMENTS))) + RESPONSE_ELEMENTS

CASES = [(STORE, STORE_BYTES), (RESPONSE, RESPONSE_BYTES)]


@pytest.mark.parametrize(("command", "data"), CASES)
def test_encode(command: CommandSet, data: bytes) -> None:
    assert encode(command) == data


@pytest.mark.parametrize(("command", "data"), CASES)
def test_decode(command: CommandSet, data: bytes) -> None:
    assert decode(data) == command


def test_missing_or_wrong_group_length_does_not_matter() -> None:
    assert decode(STORE_ELEMENTS) == STORE
    assert decode(element(0, b"\xff\xff\xff\xff") + STORE_ELEMENTS) == STORE


def test_uids_padded_with_spaces() -> None:
    assert decode(STORE_BYTES.replace(b"1.2.3\0", b"1.2.3 ")) == STORE


def test_any_order_of_elements() -> None:
    elements = element(0x0800, b"\1\1") + element(0x0110, b"\1\0") + element(0x0100, b"\x30\0")
    assert decode(elements) == CommandSet(command_field=CommandField.C_ECHO_RQ, message_id=1)


def test_unknown_elements_are_kept_and_sent_back() -> None:
    command = decode(STORE_ELEMENTS + element(0x1030, b"CALLER") + element(0x1031, b"\x05\x00"))
    assert command.others == {0x1030: b"CALLER", 0x1031: b"\x05\x00"}
    assert decode(encode(command)) == command


@pytest.mark.parametrize("value", [0x0000, 0x0001, 0x0102, 0xFFFF])
def test_every_data_set_type_but_one_announces_a_data_set(value: int) -> None:
    data = element(0x0100, b"\1\0") + element(0x0800, struct.pack("<H", value))
    assert decode(data).has_data_set


@pytest.mark.parametrize("field", list(CommandField))
def test_is_response(field: CommandField) -> None:
    assert CommandSet(command_field=field).is_response == field.name.endswith("_RSP")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "lacks"),
        (element(0x0100, b"\1\0"), "lacks"),
        (element(0x0800, b"\1\1"), "lacks"),
        (b"\0\0\0\1\2\0\0", "ends inside the header"),
        (struct.pack("<HHI", 0, 0x0002, 0xFFFFFFFF), "longer than what is left"),
        (STORE_BYTES[:-1], "longer than what is left"),
        (element(0x0010, b"NAME", group=0x0010), "group 0010H"),
        (element(0x0100, b"\1\0\0\0"), "2 are allowed"),
        (element(0x0110, b""), "2 are allowed"),
    ],
)
def test_malformed(data: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words) as raised:
        decode(data)
    assert raised.value.abort_source is AbortSource.SERVICE_USER
    assert raised.value.abort_reason is AbortReason.REASON_NOT_SPECIFIED
