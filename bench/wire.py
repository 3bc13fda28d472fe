"""The few PDUs that the bench's own sender and sink speak.

On purpose not the adapter's codec: a mistake there must not measure itself, and the bench runs without the adapter.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterator, Sequence

A_ASSOCIATE_RQ, A_ASSOCIATE_AC, P_DATA_TF, A_RELEASE_RQ, A_RELEASE_RP = 1, 2, 4, 5, 6
RELEASE_RQ = bytes([A_RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0])
RELEASE_RP = bytes([A_RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0])

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID = b"1.2.826.0.1.3680043.8.498.1"

MAX_PDU_LENGTH = 262144  # what the sink announces: the adapter's default
PDV_HEADER = 6  # PS3.8 9.3.5.1: length (4), context id (1), message control header (1)
COMMAND, LAST = 1, 2  # PS3.8 E.2

_PDU_HEADER = struct.Struct(">BxI")
_ITEM_HEADER = struct.Struct(">BxH")


class Refused(Exception):
    """The peer did not accept the association or answered something else than Success."""


def associate_rq(called_ae_title: str, calling_ae_title: str, contexts: Sequence[tuple[str, str]]) -> bytes:
    """A-ASSOCIATE-RQ that proposes (abstract syntax, transfer syntax) pairs with the ids 1, 3, 5..."""
    items = [
        _item(0x20, bytes([2 * n + 1, 0, 0, 0]) + _item(0x30, abstract.encode()) + _item(0x40, transfer.encode()))
        for n, (abstract, transfer) in enumerate(contexts)
    ]
    return _associate(A_ASSOCIATE_RQ, called_ae_title, calling_ae_title, items)


def associate_ac(request: bytes) -> bytes:
    """Accept every context of the A-ASSOCIATE-RQ `request` with the first transfer syntax it proposes."""
    results = []
    for item_type, body in items_of(request[74:]):
        if item_type == 0x20:
            transfer = next(value for kind, value in items_of(body[4:]) if kind == 0x40)
            results.append(_item(0x21, bytes([body[0], 0, 0, 0]) + _item(0x40, transfer)))
    called, calling = request[10:26].decode("latin-1"), request[26:42].decode("latin-1")
    return _associate(A_ASSOCIATE_AC, called, calling, results)


def max_pdu_length_of(associate: bytes) -> int:
    """The maximum length that an A-ASSOCIATE-RQ or -AC announces; 0: no limit (PS3.8 D.1)."""
    for item_type, body in items_of(associate[74:]):
        if item_type == 0x50:
            for kind, value in items_of(body):
                if kind == 0x51:
                    return int.from_bytes(value, "big")
    return 0


def items_of(body: bytes) -> Iterator[tuple[int, bytes]]:
    """(item type, value) of each item, PS3.8 9.3.2."""
    offset = 0
    while offset + 4 <= len(body):
        item_type, length = _ITEM_HEADER.unpack_from(body, offset)
        yield item_type, body[offset + 4 : offset + 4 + length]
        offset += 4 + length


def c_store_rq(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Command set of PS3.7 Table 9.3-1."""
    return _command_set(
        (0x0002, _uid(sop_class_uid)),
        (0x0100, _us(0x0001)),
        (0x0110, _us(message_id)),
        (0x0700, _us(0)),
        (0x0800, _us(0x0001)),
        (0x1000, _uid(sop_instance_uid)),
    )


def c_store_rsp(message_id: int) -> bytes:
    """Success, without the optional UIDs (PS3.7 Table 9.3-2)."""
    return _command_set((0x0100, _us(0x8001)), (0x0120, _us(message_id)), (0x0800, _us(0x0101)), (0x0900, _us(0x0000)))


def p_data(context_id: int, body: bytes | memoryview, max_pdu_length: int, *, command: bool = False) -> list[bytes]:
    """`body` as P-DATA-TF PDUs of one PDV each, none longer than `max_pdu_length` (0: one PDU)."""
    room = (max_pdu_length or len(body) + PDV_HEADER) - PDV_HEADER
    parts: list[bytes] = []
    for start in range(0, len(body), room):
        part = body[start : start + room]
        control = (COMMAND if command else 0) | (LAST if start + room >= len(body) else 0)
        parts.append(p_data_header(context_id, len(part), control))
        parts.append(bytes(part))
    return parts


def p_data_header(context_id: int, length: int, control: int) -> bytes:
    """Header of a P-DATA-TF PDU with one PDV of `length` bytes."""
    return struct.pack(">BxIIBB", P_DATA_TF, length + PDV_HEADER, length + 2, context_id, control)


def receive_pdu(sock: socket.socket) -> bytes:
    """One whole PDU. Raises ConnectionError when the peer closed."""
    header = receive_exactly(sock, 6)
    return header + receive_exactly(sock, int.from_bytes(header[2:], "big"))


def receive_exactly(sock: socket.socket, count: int) -> bytes:
    received = sock.recv(count, socket.MSG_WAITALL)
    if len(received) < count:
        raise ConnectionError("the peer closed the connection")
    return received


def establish(
    port: int, called_ae_title: str, calling_ae_title: str, contexts: Sequence[tuple[str, str]]
) -> tuple[socket.socket, int]:
    """An association on 127.0.0.1: its socket and the peer's maximum PDU length. Raises Refused or OSError."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(associate_rq(called_ae_title, calling_ae_title, contexts))
    answer = receive_pdu(sock)
    if answer[0] != A_ASSOCIATE_AC:
        sock.close()
        raise Refused(f"A-ASSOCIATE answered by PDU type {answer[0]}: {answer[6:].hex(' ')}")
    for item_type, body in items_of(answer[74:]):
        if item_type == 0x21 and body[2] != 0:
            sock.close()
            raise Refused(f"presentation context {body[0]} refused with result {body[2]}")
    return sock, max_pdu_length_of(answer)


def release(sock: socket.socket) -> None:
    """A-RELEASE, then close."""
    with sock:
        sock.sendall(RELEASE_RQ)
        answer = receive_pdu(sock)
        if answer[0] != A_RELEASE_RP:
            raise Refused(f"A-RELEASE-RQ answered by PDU type {answer[0]}")


def _associate(pdu_type: int, called: str, calling: str, items: Sequence[bytes]) -> bytes:
    user_information = (
        _item(0x51, struct.pack(">I", MAX_PDU_LENGTH)) + _item(0x52, IMPLEMENTATION_CLASS_UID) + _item(0x55, b"BENCH")
    )
    body = b"".join(
        itertools.chain(
            [b"\x00\x01\x00\x00", called.encode().ljust(16), calling.encode().ljust(16), bytes(32)],
            [_item(0x10, APPLICATION_CONTEXT)],
            items,
            [_item(0x50, user_information)],
        )
    )
    return _PDU_HEADER.pack(pdu_type, len(body)) + body


def _item(item_type: int, value: bytes) -> bytes:
    return _ITEM_HEADER.pack(item_type, len(value)) + value


def _command_set(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def _uid(value: str) -> bytes:
    encoded = value.encode()
    return encoded + b"\0" * (len(encoded) % 2)
