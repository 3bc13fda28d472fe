"""PDU values -> bytes (PS3.8 9.3). All numbers are big endian; reserved bytes are sent as 00H.

Why apart from the decoder: the two share only values, so a test can hold one against the other. The bytes of a data set
never pass here: `p_data_header` makes the twelve bytes in front of them, and the shell sends them from the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from dicom_adapter.dicom import ae_title
from dicom_adapter.dicom.pdu import (
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    ContextResult,
    ItemType,
    PDataTF,
    Pdu,
    PduType,
    ProposedContext,
    UserInformation,
)

PDV_OVERHEAD = 6  # bytes: item length (4), context id (1), message control header (1); PS3.8 9.3.5.1

_PDU_HEADER = struct.Struct(">BxI")
_ITEM_HEADER = struct.Struct(">BxH")
_P_DATA_HEADER = struct.Struct(">BxIIBB")
_SHORT = struct.Struct(">H")

COMMAND_BIT = 0x01  # message control header, PS3.8 Annex E.2
LAST_BIT = 0x02


def p_data_header(context_id: int, *, is_command: bool, is_last: bool, length: int) -> bytes:
    """Header of a P-DATA-TF PDU with one PDV of `length` bytes, up to where those bytes begin."""
    flags = (COMMAND_BIT if is_command else 0) | (LAST_BIT if is_last else 0)
    return _P_DATA_HEADER.pack(PduType.P_DATA_TF, length + PDV_OVERHEAD, length + 2, context_id, flags)


def encode(pdu: Pdu) -> bytes:
    """The bytes of any PDU. Raises ValueError when a value does not fit its field (an AE Title of 17 bytes)."""
    match pdu:
        case PDataTF(pdvs):
            body = b"".join(
                struct.pack(
                    ">IBB",
                    len(pdv.data) + 2,
                    pdv.context_id,
                    (COMMAND_BIT if pdv.is_command else 0) | (LAST_BIT if pdv.is_last else 0),
                )
                + pdv.data
                for pdv in pdvs
            )
            return _pdu(PduType.P_DATA_TF, body)
        case AAssociateRQ():
            return _pdu(PduType.A_ASSOCIATE_RQ, _associate(pdu, map(_proposed_context, pdu.presentation_contexts)))
        case AAssociateAC():
            return _pdu(PduType.A_ASSOCIATE_AC, _associate(pdu, map(_context_result, pdu.presentation_contexts)))
        case AAssociateRJ(result, source, reason):
            return _pdu(PduType.A_ASSOCIATE_RJ, bytes((0, result, source, reason)))
        case AReleaseRQ():
            return _pdu(PduType.A_RELEASE_RQ, bytes(4))
        case AReleaseRP():
            return _pdu(PduType.A_RELEASE_RP, bytes(4))
        case AAbort(source, reason):
            return _pdu(PduType.A_ABORT, bytes((0, 0, source, reason)))


def _pdu(kind: PduType, body: bytes) -> bytes:
    return _PDU_HEADER.pack(kind, len(body)) + body


def _item(kind: ItemType, body: bytes) -> bytes:
    if len(body) > 0xFFFF:
        raise ValueError(f"item {kind:02X}H of {len(body)} bytes; at most 65535 are allowed (PS3.8 9.3.2)")
    return _ITEM_HEADER.pack(kind, len(body)) + body


def _uid(uid: str) -> bytes:
    return uid.encode("latin-1")  # no padding in items, PS3.8 Annex F.1; latin-1 gives back what a peer sent


def _counted(field: bytes) -> bytes:
    return _SHORT.pack(len(field)) + field


def _associate(pdu: AAssociateRQ | AAssociateAC, contexts: Iterable[bytes]) -> bytes:
    return b"".join(
        (
            _SHORT.pack(pdu.protocol_version),
            bytes(2),
            ae_title.encode(pdu.called_ae_title),
            ae_title.encode(pdu.calling_ae_title),
            bytes(32),
            _item(ItemType.APPLICATION_CONTEXT, _uid(pdu.application_context_name)),
            *contexts,
            _item(ItemType.USER_INFORMATION, _user_information(pdu.user_information)),
        )
    )


def _proposed_context(context: ProposedContext) -> bytes:
    syntaxes = b"".join(_item(ItemType.TRANSFER_SYNTAX, _uid(uid)) for uid in context.transfer_syntaxes)
    abstract = _item(ItemType.ABSTRACT_SYNTAX, _uid(context.abstract_syntax))
    return _item(ItemType.PRESENTATION_CONTEXT_RQ, bytes((context.id, 0, 0, 0)) + abstract + syntaxes)


def _context_result(context: ContextResult) -> bytes:
    syntax = _item(ItemType.TRANSFER_SYNTAX, _uid(context.transfer_syntax))
    return _item(ItemType.PRESENTATION_CONTEXT_AC, bytes((context.id, 0, context.result, 0)) + syntax)


def _user_information(user: UserInformation) -> bytes:
    """Sub-items in the order of their types, as PS3.7 D.3.3 lists them."""
    items = [
        _item(ItemType.MAXIMUM_LENGTH, struct.pack(">I", user.max_pdu_length)),
        _item(ItemType.IMPLEMENTATION_CLASS_UID, _uid(user.implementation_class_uid)),
    ]
    if window := user.asynchronous_operations_window:
        items.append(
            _item(ItemType.ASYNCHRONOUS_OPERATIONS_WINDOW, struct.pack(">HH", window.invoked, window.performed))
        )
    for role in user.role_selections:
        body = _counted(_uid(role.sop_class_uid)) + bytes((role.scu_role, role.scp_role))
        items.append(_item(ItemType.ROLE_SELECTION, body))
    if user.implementation_version_name:
        items.append(_item(ItemType.IMPLEMENTATION_VERSION_NAME, _uid(user.implementation_version_name)))
    for extended in user.sop_class_extended:
        body = _counted(_uid(extended.sop_class_uid)) + extended.application_information
        items.append(_item(ItemType.SOP_CLASS_EXTENDED_NEGOTIATION, body))
    for common in user.sop_class_common_extended:
        related = b"".join(_counted(_uid(uid)) for uid in common.related_general_sop_class_uids)
        body = _counted(_uid(common.sop_class_uid)) + _counted(_uid(common.service_class_uid)) + _counted(related)
        items.append(_item(ItemType.SOP_CLASS_COMMON_EXTENDED_NEGOTIATION, body))
    if identity := user.user_identity:
        body = bytes((identity.type, identity.positive_response_requested))
        body += _counted(identity.primary_field) + _counted(identity.secondary_field)
        items.append(_item(ItemType.USER_IDENTITY_RQ, body))
    if user.user_identity_response is not None:
        items.append(_item(ItemType.USER_IDENTITY_AC, _counted(user.user_identity_response.server_response)))
    return b"".join(items)
