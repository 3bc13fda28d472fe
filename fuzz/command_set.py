"""Fuzz command sets: they parse, or raise RemoteProtocolError; what parses can be written, and reads the same again."""

from __future__ import annotations

import random

from dicom_adapter.dicom.command_set import decode, encode
from dicom_adapter.dicom.dimse import c_echo_rq, c_store_rq, response, unrecognized_operation
from dicom_adapter.dicom.errors import RemoteProtocolError
from fuzz import harness

SEEDS = [
    encode(command)
    for command in (
        c_echo_rq(1),
        c_store_rq(2, "1.2.840.10008.5.1.4.1.1.2", "1.2.3"),
        response(c_store_rq(2, "1.2.840.10008.5.1.4.1.1.2", "1.2.3"), 0xA700, "Out of resources"),
    )
]


def check(data: bytes, chance: random.Random) -> None:
    """It parses, or it raises RemoteProtocolError; and decode(encode(x)) == x."""
    try:
        command = decode(data)
    except RemoteProtocolError:
        return
    if decode(encode(command)) != command:
        raise AssertionError("written and read again, it is another command")
    unrecognized_operation(command)


if __name__ == "__main__":
    harness.main(check, SEEDS)
