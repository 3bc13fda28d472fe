"""Senders for the memory row: one instance of any size, and an association that stays open."""

from __future__ import annotations

import socket
import struct

from . import sender, wire
from .receivers import AE_TITLE
from .samples import ct_slice, instance_uid, small_instance

_PIXEL_DATA_LENGTH = struct.Struct("<I")


def send_giant(port: int, run: int, size: int) -> None:
    """One C-STORE of `size` bytes of Pixel Data, all zeros, then A-RELEASE."""
    sample = small_instance()
    contexts = [(sample.sop_class_uid, wire.EXPLICIT_VR_LITTLE_ENDIAN)]
    sock, max_pdu_length = wire.establish(port, AE_TITLE, sender.CALLING_AE_TITLE, contexts)
    pixels = 2 * 16 * 16
    head = sample.encode(run, 0)[: -pixels - _PIXEL_DATA_LENGTH.size] + _PIXEL_DATA_LENGTH.pack(size)
    command = wire.c_store_rq(1, sample.sop_class_uid, instance_uid(run, 0))
    for part in wire.p_data(1, command, max_pdu_length, command=True):
        sock.sendall(part)
    sock.sendall(wire.p_data_header(1, len(head), 0) + head)
    room = max_pdu_length - wire.PDV_HEADER
    pdu = wire.p_data_header(1, room, 0) + bytes(room)
    whole, rest = divmod(size, room)
    for _ in range(whole):
        sock.sendall(pdu)
    sock.sendall(wire.p_data_header(1, rest, wire.LAST) + bytes(rest))
    sender.expect_success(sock)
    wire.release(sock)


def store_one_and_stay(port: int, run: int) -> socket.socket:
    """An association that has stored one CT slice, and so has made whatever it makes on the way, and now is idle."""
    sample = ct_slice()
    contexts = [(sample.sop_class_uid, wire.EXPLICIT_VR_LITTLE_ENDIAN)]
    sock, max_pdu_length = wire.establish(port, AE_TITLE, sender.CALLING_AE_TITLE, contexts)
    encoded = sender.encode(sample, run, range(1), max_pdu_length)
    sender.transmit(sock, encoded)
    encoded.close()
    return sock
