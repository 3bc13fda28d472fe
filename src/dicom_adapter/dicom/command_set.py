"""Command sets: group 0000, Implicit VR Little Endian (PS3.7 6.3.1, Annex E).

Why a codec of its own: a command set is a dozen short elements, once in each direction for every instance. Reading it
with a general data set library costs more than receiving the image.

SECURITY: reads what a peer sends, at most `MAX_LENGTH` bytes; unknown elements are kept as they are, never interpreted.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

from dicom_adapter.dicom.errors import RemoteProtocolError
from dicom_adapter.dicom.pdu import AbortReason, AbortSource
from dicom_adapter.dicom.pdu_decoder import text

MAX_LENGTH = 64 * 1024  # bytes; the longest that the standard's own elements make is far below 2 KiB
NO_DATA_SET = 0x0101  # Command Data Set Type, PS3.7 Annex E.1
DATA_SET = 0x0001  # any other value would do; every peer we recorded sends this one
RESPONSE_BIT = 0x8000  # of the Command Field


class CommandField(IntEnum):
    """PS3.7 Table E.1-1."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    C_CANCEL_RQ = 0x0FFF


class Priority(IntEnum):
    """PS3.7 Table E.1-1."""

    LOW = 0x0002
    MEDIUM = 0x0000
    HIGH = 0x0001


class Element(IntEnum):
    """Element numbers of group 0000 that have a field in `CommandSet` (PS3.7 Annex E)."""

    COMMAND_GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    PRIORITY = 0x0700
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001


class CommandSet(NamedTuple):
    """One command. Fields have the element keywords; None: element absent. `others`: the rest, raw, by number."""

    command_field: int
    has_data_set: bool = False  # Command Data Set Type
    message_id: int | None = None
    message_id_being_responded_to: int | None = None
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    requested_sop_class_uid: str | None = None
    requested_sop_instance_uid: str | None = None
    priority: int | None = None
    status: int | None = None
    error_comment: str | None = None  # LO, at most 64 characters
    others: Mapping[int, bytes] = MappingProxyType({})

    @property
    def is_response(self) -> bool:
        return bool(self.command_field & RESPONSE_BIT)


_HEADER = struct.Struct("<HHI")
_US = struct.Struct("<H")

# Element -> field of CommandSet, in the order in which they are sent: ascending (PS3.7 6.3.1).
_NUMBERS: dict[int, str] = {
    Element.COMMAND_FIELD: "command_field",
    Element.MESSAGE_ID: "message_id",
    Element.MESSAGE_ID_BEING_RESPONDED_TO: "message_id_being_responded_to",
    Element.PRIORITY: "priority",
    Element.COMMAND_DATA_SET_TYPE: "has_data_set",
    Element.STATUS: "status",
}
_TEXTS: dict[int, str] = {
    Element.AFFECTED_SOP_CLASS_UID: "affected_sop_class_uid",
    Element.REQUESTED_SOP_CLASS_UID: "requested_sop_class_uid",
    Element.ERROR_COMMENT: "error_comment",
    Element.AFFECTED_SOP_INSTANCE_UID: "affected_sop_instance_uid",
    Element.REQUESTED_SOP_INSTANCE_UID: "requested_sop_instance_uid",
}
_ASCENDING = sorted({**_NUMBERS, **_TEXTS}.items())
_command_of: Callable[[tuple[object, ...]], CommandSet] = functools.partial(tuple.__new__, CommandSet)


def _malformed(what: str) -> RemoteProtocolError:
    # PS3.8 names no answer for a PDV it does not look into: the DIMSE service user aborts.
    return RemoteProtocolError(
        f"command set {what} (PS3.7 6.3.1)", AbortReason.REASON_NOT_SPECIFIED, AbortSource.SERVICE_USER
    )


def decode(data: bytes) -> CommandSet:
    """A command set from the joined bytes of its PDVs. A missing or wrong Command Group Length does not matter.

    Raises RemoteProtocolError when elements do not fit, or when Command Field or Command Data Set Type is missing.
    """
    fields: dict[str, int | str] = {}
    others: dict[int, bytes] = {}
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < _HEADER.size:
            raise _malformed("ends inside the header of an element")
        group, number, length = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        value = data[offset : offset + length]
        offset += length
        if group != 0:
            raise _malformed(f"holds an element of group {group:04X}H")
        if offset > end:
            raise _malformed(f"has element (0000,{number:04X}) of {length} bytes, longer than what is left")
        if name := _NUMBERS.get(number):
            if length != _US.size:
                raise _malformed(f"has element (0000,{number:04X}) of {length} bytes; 2 are allowed")
            fields[name] = _US.unpack(value)[0]
        elif name := _TEXTS.get(number):
            fields[name] = text(value)
        elif number != Element.COMMAND_GROUP_LENGTH:
            others[number] = value
    if "command_field" not in fields or "has_data_set" not in fields:
        raise _malformed("lacks Command Field (0000,0100) or Command Data Set Type (0000,0800)")
    fields["has_data_set"] = fields["has_data_set"] != NO_DATA_SET
    return CommandSet(**fields, others=others)  # type: ignore[arg-type]  # each name has its type by its table


class CommandReader:
    """Reads the commands of one association, one after the other.

    They differ in Message ID and Affected SOP Instance UID only, nearly always: what has the bytes of the last command
    everywhere else, its headers among them, is that command with these two values.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: _Pattern | None = None

    def read(self, data: bytes) -> CommandSet:
        """As `decode`."""
        command = self._last.read(data) if self._last is not None else None
        if command is None:
            command = decode(data)
            self._last = _pattern(data, command, Element.MESSAGE_ID)
        return command


class CommandWriter:
    """Makes the responses of one association, which differ as the commands do."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: _Pattern | None = None

    def write(self, command: CommandSet) -> bytes:
        """As `encode`."""
        data = self._last.write(command) if self._last is not None else None
        if data is None:
            data = encode(command)
            self._last = _pattern(data, command, Element.MESSAGE_ID_BEING_RESPONDED_TO)
        return data


class _Pattern:
    """A command and its bytes, and where in both the two values lie that the next one may have otherwise.

    `message`: (place in the command, offset in the bytes) of the one, `instance`: (offset, length) of the other.
    """

    __slots__ = ("_fields", "_instance_length", "_length", "_message_place", "_plan", "_same")

    def __init__(self, data: bytes, command: CommandSet, message: tuple[int, int], instance: tuple[int, int]) -> None:
        (message_place, message_at), (instance_at, instance_length) = message, instance
        between, after = instance_at - message_at - _US.size, len(data) - instance_at - instance_length
        self._plan = struct.Struct(f"<{message_at}sH{between}s{instance_length}s{after}s")
        self._same = self._plan.unpack(data)[::2]
        self._length = len(data)
        self._instance_length = instance_length
        self._message_place = message_place
        self._fields = self._split(command)

    def _split(self, command: CommandSet) -> tuple[tuple[object, ...], ...]:
        place = self._message_place
        return command[:place], command[place + 1 : _INSTANCE], command[_INSTANCE + 1 :]

    def read(self, data: bytes) -> CommandSet | None:
        """The command in `data`; None: it is made in another way."""
        if len(data) != self._length:
            return None
        before, message_id, between, instance, after = self._plan.unpack(data)
        if (before, between, after) != self._same:
            return None
        first, middle, last = self._fields
        return _command_of((*first, message_id, *middle, text(instance), *last))

    def write(self, command: CommandSet) -> bytes | None:
        """The bytes of `command`; None: it has to be made in another way."""
        message_id, instance = command[self._message_place], command.affected_sop_instance_uid
        if message_id is None or instance is None or self._split(command) != self._fields:
            return None
        raw = _value(Element.AFFECTED_SOP_INSTANCE_UID, instance)
        if len(raw) != self._instance_length:
            return None
        before, between, after = self._same
        return self._plan.pack(before, message_id, between, raw, after)


_INSTANCE = CommandSet._fields.index("affected_sop_instance_uid")


def _pattern(data: bytes, command: CommandSet, message_id: Element) -> _Pattern | None:
    """None: one of the two values is missing or there twice, or they come in another order."""
    values: dict[int, tuple[int, int]] = {}
    offset = 0
    while offset < len(data):
        _, number, length = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        if number in values:
            return None
        values[number] = offset, length
        offset += length
    message_at, _ = values.get(message_id, (0, 0))
    instance = values.get(Element.AFFECTED_SOP_INSTANCE_UID, (0, 0))
    if not 0 < message_at < instance[0]:
        return None
    return _Pattern(data, command, (CommandSet._fields.index(_NUMBERS[message_id]), message_at), instance)


def encode(command: CommandSet) -> bytes:
    """The bytes of a command set: elements in ascending order, values padded to even length, group length first."""
    elements = [
        (number, _value(number, value)) for number, name in _ASCENDING if (value := getattr(command, name)) is not None
    ]
    if command.others:
        elements = sorted([*elements, *command.others.items()])
    body = b"".join([_HEADER.pack(0, number, len(raw)) + raw for number, raw in elements])
    return _HEADER.pack(0, Element.COMMAND_GROUP_LENGTH, 4) + struct.pack("<I", len(body)) + body


def _value(number: int, value: int | str) -> bytes:
    if isinstance(value, bool):
        return _US.pack(DATA_SET if value else NO_DATA_SET)
    if isinstance(value, int):
        return _US.pack(value)
    raw = value.encode("latin-1")
    padding = b" " if number == Element.ERROR_COMMENT else b"\0"  # PS3.5 6.2
    return raw + padding if len(raw) % 2 else raw
