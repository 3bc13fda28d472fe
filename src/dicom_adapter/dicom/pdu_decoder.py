"""Bytes -> PDUs, and P-DATA-TF as fragments of PDVs as they arrive (PS3.8 9.3).

Why streaming: a data set may be gigabytes long and a P-DATA-TF PDU as long as we announced, yet nothing of either is
kept: a fragment is a view of the bytes just handed over. Nothing is allocated by a length field: what is kept (headers,
the four bytes of the short PDUs, the items of an association PDU up to 1 MiB) grows only with bytes that really came.

A fragment tells how many bytes of its PDV remain: then all input is used up, and the shell may move those that follow
from the socket to a file without touching them, and only tell how many went by (`bypassed`).

SECURITY: reads whatever a peer sends; the invariant (fuzzed) is: it parses, or it raises RemoteProtocolError.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator

from dicom_adapter.dicom import ae_title
from dicom_adapter.dicom.errors import RemoteProtocolError
from dicom_adapter.dicom.pdu import (
    DEFAULT_MAX_PDU_LENGTH,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AbortReason,
    AReleaseRP,
    AReleaseRQ,
    AsynchronousOperationsWindow,
    ContextResult,
    ContextResultReason,
    DecodedEvent,
    ItemType,
    PDataTFStart,
    PduType,
    PdvFragment,
    ProposedContext,
    RoleSelection,
    SopClassCommonExtended,
    SopClassExtended,
    UserIdentity,
    UserIdentityResponse,
    UserInformation,
)
from dicom_adapter.dicom.pdu_encoder import COMMAND_BIT, LAST_BIT, PDV_OVERHEAD

MAX_ASSOCIATE_LENGTH = 1 << 20  # bytes of an A-ASSOCIATE-RQ or -AC: 128 contexts with 60 transfer syntaxes fit well

_PDU_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_BOTH_HEADERS = struct.Struct(">BxIIBB").unpack_from  # of a P-DATA-TF and its first PDV
_HEADER_LENGTH = 6  # bytes, of each
_SHORT = struct.Struct(">H")
_EMPTY = memoryview(b"")
_P_DATA_TF = int(PduType.P_DATA_TF)  # compared for every PDU
_fragment_of: Callable[[tuple[int, bool, bool, memoryview, int]], PdvFragment] = functools.partial(
    tuple.__new__, PdvFragment
)  # what PdvFragment(...) comes to in the end, in half the time


class PduDecoder:
    """One direction of one association. Give it bytes, then take events until there are none.

    `max_pdu_length`: the longest P-DATA-TF that we announced, in bytes (PS3.8 Annex D.1); 0: no limit.
    `announces_p_data`: whether a `PDataTFStart` comes before the fragments of each P-DATA-TF. Who takes every fragment
    needs none; it may be set between two PDUs.
    `pdus_completed`: how many PDUs arrived whole: what an inactivity limit counts.
    """

    __slots__ = (
        "_context_id",
        "_data",
        "_is_command",
        "_is_last",
        "_kept",
        "_max_pdu_length",
        "_offset",
        "_pdu_length",
        "_pdu_type",
        "_pdv_remaining",
        "_pdv_unfinished",
        "_remaining",
        "announces_p_data",
        "pdus_completed",
    )

    def __init__(self, max_pdu_length: int) -> None:
        self._max_pdu_length = max_pdu_length
        self._data = _EMPTY  # borrowed from the shell until it is used up
        self._offset = 0
        self._kept = bytearray()  # a header or a whole short PDU, in part
        self._pdu_type: int | None = None  # None: between two PDUs
        self._pdu_length = 0
        self._remaining = 0  # bytes of the PDU still to come
        self._pdv_remaining = 0  # bytes of the PDV still to come
        self._pdv_unfinished = False  # the fragment with `remaining` 0 is still to be given
        self._context_id = 0
        self._is_command = False
        self._is_last = False
        self.announces_p_data = True
        self.pdus_completed = 0

    @property
    def pdu_length(self) -> int:
        """Length field of the PDU that is arriving, in bytes; 0 between two PDUs or before its header is complete."""
        return self._pdu_length if self._pdu_type is not None else 0

    def bypassed(self, count: int) -> bool:
        """`count` of the bytes that remain of the last fragment's PDV were moved by the shell.

        True: that ended a last PDV, and the next event is an empty fragment that says so.
        """
        self._remaining -= count
        self._pdv_remaining -= count
        if self._pdv_remaining:
            return False
        if not self._is_last:
            self._end_pdv()
        return self._is_last

    def receive_data(self, data: memoryview) -> None:
        """Hand over bytes. They are borrowed until `next_event` returns None; only then may they change."""
        self._data = data
        self._offset = 0

    def next_event(self) -> DecodedEvent | None:
        """The next PDU, start of a P-DATA-TF or fragment; None: more bytes are needed. Raises RemoteProtocolError."""
        while True:
            if self._pdv_unfinished:
                return self._fragment()
            if self._offset == len(self._data) and (self._pdu_type is None or self._remaining):
                return None
            if self._pdu_type is None:
                if not self.announces_p_data and (fragment := self._first_fragment()) is not None:
                    return fragment
                header = self._take(_HEADER_LENGTH)
                if header is None:
                    return None
                self._begin_pdu(*_PDU_HEADER.unpack(header))
                if self._pdu_type == _P_DATA_TF and self.announces_p_data:
                    return PDataTFStart(self._pdu_length)
            elif self._pdu_type != _P_DATA_TF:
                return self._short_pdu(self._pdu_type)
            elif self._remaining == 0:
                self._end_pdu()
            else:
                header = self._take(_HEADER_LENGTH)
                if header is None:
                    return None
                self._begin_pdv(*_PDV_HEADER.unpack(header))
                return self._fragment(begins=True)

    def _short_pdu(self, kind: int) -> DecodedEvent | None:
        """A PDU other than P-DATA-TF, when all of it is there."""
        body = self._take(self._pdu_length)
        if body is None:
            return None
        self._end_pdu()
        return _BODY_DECODERS[kind](bytes(body))

    def _first_fragment(self) -> PdvFragment | None:
        """The first fragment of a P-DATA-TF whose two headers are there in one piece and good; None: look step by step.

        Nearly every PDU of a data set comes so, and each step is time that a scanner waits.
        """
        data, offset = self._data, self._offset
        if self._kept or len(data) - offset < 2 * _HEADER_LENGTH:
            return None
        kind, pdu_length, item_length, context_id, control = _BOTH_HEADERS(data, offset)
        most = self._max_pdu_length
        if kind != _P_DATA_TF or (most and pdu_length > most) or not 2 <= item_length <= pdu_length - 4:
            return None
        start = offset + 2 * _HEADER_LENGTH
        end = min(start + item_length - 2, len(data))
        remaining = item_length - 2 - (end - start)
        self._offset = end
        self._remaining = pdu_length - _HEADER_LENGTH - (end - start)
        self._is_command = is_command = control & COMMAND_BIT != 0
        self._is_last = is_last = control & LAST_BIT != 0
        if remaining or self._remaining:
            self._pdu_type = kind
            self._pdu_length = pdu_length
            self._pdv_unfinished = remaining > 0
            self._pdv_remaining = remaining
            self._context_id = context_id
        else:
            self.pdus_completed += 1
        return _fragment_of((context_id, is_command, is_last, data[start:end], remaining))

    def _take(self, length: int) -> memoryview | bytearray | None:
        """The next `length` bytes in one piece, or None after keeping what there is of them."""
        data, offset, kept = self._data, self._offset, self._kept
        end = offset + length - len(kept)
        if end > len(data):
            kept += data[offset:]
            self._data, self._offset = _EMPTY, 0
            return None
        self._offset = end
        if not kept:
            return data[offset:end]
        kept += data[offset:end]
        self._kept = bytearray()
        return kept

    def _begin_pdu(self, kind: int, length: int) -> None:
        if kind == _P_DATA_TF:
            if length < _HEADER_LENGTH:
                raise RemoteProtocolError(f"P-DATA-TF PDU of {length} bytes holds no PDV (PS3.8 9.3.5)")
            if self._max_pdu_length and length > self._max_pdu_length:
                raise RemoteProtocolError(
                    f"P-DATA-TF PDU of {length} bytes; at most the {self._max_pdu_length} that we announced are allowed"
                )
        elif kind in (PduType.A_ASSOCIATE_RQ, PduType.A_ASSOCIATE_AC):
            if length > MAX_ASSOCIATE_LENGTH:
                raise RemoteProtocolError(
                    f"association PDU of {length} bytes; at most {MAX_ASSOCIATE_LENGTH} are allowed"
                )
        elif kind in _BODY_DECODERS:
            if length != 4:
                raise RemoteProtocolError(f"{PduType(kind).name} PDU of {length} bytes; its length is 4 (PS3.8 9.3)")
        else:
            raise RemoteProtocolError(
                f"PDU of type {kind:02X}H; types 01H to 07H are allowed (PS3.8 9.3)", AbortReason.UNRECOGNIZED_PDU
            )
        self._pdu_type = kind
        self._pdu_length = self._remaining = length

    def _end_pdu(self) -> None:
        self._pdu_type = None
        self.pdus_completed += 1

    def _begin_pdv(self, item_length: int, context_id: int, control: int) -> None:
        # item_length counts the context id and the control header, not itself (PS3.8 9.3.5.1).
        if item_length < 2 or item_length + 4 > self._remaining:
            raise RemoteProtocolError(
                f"PDV of {item_length} bytes where {self._remaining} bytes of its P-DATA-TF are left (PS3.8 9.3.5.1)"
            )
        self._pdv_unfinished = True
        self._pdv_remaining = item_length - 2
        self._remaining -= _HEADER_LENGTH
        self._context_id = context_id
        self._is_command = bool(control & COMMAND_BIT)
        self._is_last = bool(control & LAST_BIT)  # other bits are not tested, PS3.8 Annex E.2

    def _fragment(self, *, begins: bool = False) -> PdvFragment | None:
        """What is there of the PDV. One that begins is told even when it has no bytes yet: its header can be judged."""
        available = min(self._pdv_remaining, len(self._data) - self._offset)
        if not available and self._pdv_remaining and not begins:
            return None
        data = self._data[self._offset : self._offset + available]
        self._offset += available
        self._remaining -= available
        remaining = self._pdv_remaining = self._pdv_remaining - available
        if not remaining:
            self._end_pdv()
        return _fragment_of((self._context_id, self._is_command, self._is_last, data, remaining))

    def _end_pdv(self) -> None:
        self._pdv_unfinished = False
        if not self._remaining:
            self._end_pdu()


def text(field: bytes) -> str:
    """A UID or version name without its padding. latin-1: every byte has a character, so reading never fails."""
    return field.strip(b" \0").decode("latin-1")


def _items(body: bytes, where: str) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each item or sub-item of `body`."""
    offset = 0
    while offset < len(body):
        end = offset + 4
        if end <= len(body):
            end += _SHORT.unpack_from(body, offset + 2)[0]
        if end > len(body):
            raise RemoteProtocolError(f"an item reaches beyond the end of the {where} that holds it (PS3.8 9.3.2)")
        yield body[offset], body[offset + 4 : end]
        offset = end


class _Fields:
    """Reads consecutive fields of a sub-item; one that is too short is the peer's error."""

    __slots__ = ("_body", "_offset", "_where")

    def __init__(self, body: bytes, where: str) -> None:
        self._body, self._offset, self._where = body, 0, where

    def __bool__(self) -> bool:
        return self._offset < len(self._body)

    def take(self, length: int) -> bytes:
        field = self._body[self._offset : self._offset + length]
        if len(field) < length:
            raise RemoteProtocolError(f"{self._where} ends too early")
        self._offset += length
        return field

    def byte(self) -> int:
        return self.take(1)[0]

    def short(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def counted(self) -> bytes:
        return self.take(self.short())

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._offset)


_ASSOCIATE_FIXED = 68  # bytes before the items, PS3.8 Table 9-11


def _associate_rq(body: bytes) -> AAssociateRQ:
    contexts: dict[int, ProposedContext] = {}
    name, user = "", UserInformation()
    for kind, value in _associate_items(body):
        if kind == ItemType.APPLICATION_CONTEXT:
            name = text(value)
        elif kind == ItemType.PRESENTATION_CONTEXT_RQ:
            context = _proposed_context(value)
            if context.id in contexts:
                raise RemoteProtocolError(f"presentation context id {context.id} is proposed twice (PS3.8 9.3.2.2)")
            contexts[context.id] = context
        elif kind == ItemType.USER_INFORMATION:
            user = _user_information(value)
    if not contexts:
        raise RemoteProtocolError("A-ASSOCIATE-RQ without a presentation context (PS3.8 9.3.2)")
    return AAssociateRQ(
        called_ae_title=ae_title.decode(body[4:20]),
        calling_ae_title=ae_title.decode(body[20:36]),
        presentation_contexts=tuple(contexts.values()),
        user_information=user,
        application_context_name=name,
        protocol_version=_SHORT.unpack_from(body)[0],
    )


def _associate_ac(body: bytes) -> AAssociateAC:
    contexts: dict[int, ContextResult] = {}
    name, user = "", UserInformation()
    for kind, value in _associate_items(body):
        if kind == ItemType.APPLICATION_CONTEXT:
            name = text(value)
        elif kind == ItemType.PRESENTATION_CONTEXT_AC:
            context = _context_result(value)
            if context.id in contexts:
                raise RemoteProtocolError(f"presentation context id {context.id} is answered twice (PS3.8 9.3.3.2)")
            contexts[context.id] = context
        elif kind == ItemType.USER_INFORMATION:
            user = _user_information(value)
    return AAssociateAC(
        called_ae_title=ae_title.decode(body[4:20]),
        calling_ae_title=ae_title.decode(body[20:36]),
        presentation_contexts=tuple(contexts.values()),
        user_information=user,
        application_context_name=name,
        protocol_version=_SHORT.unpack_from(body)[0],
    )


def _associate_items(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Items of an association PDU. Unknown ones are left to the caller to skip (PS3.8 9.3.1)."""
    if len(body) < _ASSOCIATE_FIXED:
        raise RemoteProtocolError(f"association PDU of {len(body)} bytes; at least {_ASSOCIATE_FIXED} are needed")
    return _items(body[_ASSOCIATE_FIXED:], "association PDU")


def _context_id(value: bytes) -> int:
    if len(value) < 4:
        raise RemoteProtocolError("presentation context item ends too early (PS3.8 9.3.2.2)")
    if not value[0] & 1:
        raise RemoteProtocolError(f"presentation context id {value[0]}; odd numbers 1 to 255 are allowed")
    return value[0]


def _proposed_context(value: bytes) -> ProposedContext:
    context_id = _context_id(value)
    abstract_syntax, transfer_syntaxes = "", []
    for kind, uid in _items(value[4:], "presentation context"):
        if kind == ItemType.ABSTRACT_SYNTAX:
            abstract_syntax = text(uid)
        elif kind == ItemType.TRANSFER_SYNTAX:
            transfer_syntaxes.append(text(uid))
    if not abstract_syntax or not transfer_syntaxes:
        raise RemoteProtocolError(
            f"presentation context {context_id} lacks its abstract syntax or a transfer syntax (PS3.8 9.3.2.2)"
        )
    return ProposedContext(context_id, abstract_syntax, tuple(transfer_syntaxes))


def _context_result(value: bytes) -> ContextResult:
    context_id = _context_id(value)
    try:
        result = ContextResultReason(value[2])
    except ValueError:
        raise RemoteProtocolError(
            f"presentation context {context_id} has result {value[2]}; 0 to 4 are allowed (PS3.8 9.3.3.2)"
        ) from None
    syntax = ""
    for kind, uid in _items(value[4:], "presentation context"):
        if kind == ItemType.TRANSFER_SYNTAX:
            syntax = text(uid)
    return ContextResult(context_id, result, syntax)


def _user_information(value: bytes) -> UserInformation:
    max_pdu_length = DEFAULT_MAX_PDU_LENGTH
    class_uid = version_name = ""
    window: AsynchronousOperationsWindow | None = None
    roles: list[RoleSelection] = []
    extended: list[SopClassExtended] = []
    common: list[SopClassCommonExtended] = []
    identity: UserIdentity | None = None
    response: UserIdentityResponse | None = None
    for kind, body in _items(value, "user information"):
        fields = _Fields(body, f"user information sub-item {kind:02X}H")
        if kind == ItemType.MAXIMUM_LENGTH:
            max_pdu_length = int.from_bytes(fields.take(4), "big")
            if 0 < max_pdu_length <= PDV_OVERHEAD + 1:
                # A fragment has an even number of bytes (PS3.8 Annex F), so 8 is the least that carries any.
                raise RemoteProtocolError(f"maximum length of {max_pdu_length} bytes cannot carry a PDV (PS3.8 D.1)")
        elif kind == ItemType.IMPLEMENTATION_CLASS_UID:
            class_uid = text(body)
        elif kind == ItemType.IMPLEMENTATION_VERSION_NAME:
            version_name = text(body)
        elif kind == ItemType.ASYNCHRONOUS_OPERATIONS_WINDOW:
            window = AsynchronousOperationsWindow(fields.short(), fields.short())
        elif kind == ItemType.ROLE_SELECTION:
            roles.append(RoleSelection(text(fields.counted()), bool(fields.byte()), bool(fields.byte())))
        elif kind == ItemType.SOP_CLASS_EXTENDED_NEGOTIATION:
            extended.append(SopClassExtended(text(fields.counted()), fields.rest()))
        elif kind == ItemType.SOP_CLASS_COMMON_EXTENDED_NEGOTIATION:
            common.append(_common_extended(fields))
        elif kind == ItemType.USER_IDENTITY_RQ:
            identity = UserIdentity(fields.byte(), bool(fields.byte()), fields.counted(), fields.counted())
        elif kind == ItemType.USER_IDENTITY_AC:
            response = UserIdentityResponse(fields.counted())
        # any other sub-item is not for us, and skipped (PS3.8 9.3.1)
    return UserInformation(
        max_pdu_length=max_pdu_length,
        implementation_class_uid=class_uid,
        implementation_version_name=version_name,
        asynchronous_operations_window=window,
        role_selections=tuple(roles),
        sop_class_extended=tuple(extended),
        sop_class_common_extended=tuple(common),
        user_identity=identity,
        user_identity_response=response,
    )


def _common_extended(fields: _Fields) -> SopClassCommonExtended:
    sop_class, service_class = text(fields.counted()), text(fields.counted())
    related = _Fields(fields.counted(), "related general SOP class list")
    uids = []
    while related:
        uids.append(text(related.counted()))
    return SopClassCommonExtended(sop_class, service_class, tuple(uids))


_BODY_DECODERS: dict[
    int, Callable[[bytes], AAssociateRQ | AAssociateAC | AAssociateRJ | AReleaseRQ | AReleaseRP | AAbort]
] = {
    PduType.A_ASSOCIATE_RQ: _associate_rq,
    PduType.A_ASSOCIATE_AC: _associate_ac,
    PduType.A_ASSOCIATE_RJ: lambda body: AAssociateRJ(body[1], body[2], body[3]),
    PduType.A_RELEASE_RQ: lambda body: AReleaseRQ(),
    PduType.A_RELEASE_RP: lambda body: AReleaseRP(),
    PduType.A_ABORT: lambda body: AAbort(body[2], body[3]),
}
