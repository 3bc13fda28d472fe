"""Helpers for tests of byte streams: feed a decoder in any chunks, and join the fragments it gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from dicom_adapter.dicom.pdu import DecodedEvent, PDataTF, Pdu, Pdv, PdvFragment
from dicom_adapter.dicom.pdu_decoder import PduDecoder

T = TypeVar("T")


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def decode_events(chunks: Iterable[bytes], max_pdu_length: int = 0) -> list[DecodedEvent]:
    """All events, the fragments of each PDV joined. What was borrowed is overwritten, as a shell does."""
    decoder = PduDecoder(max_pdu_length)
    events: list[DecodedEvent] = []
    for chunk in chunks:
        buffer = bytearray(chunk)
        decoder.receive_data(memoryview(buffer))
        while (event := decoder.next_event()) is not None:
            if isinstance(event, PdvFragment):
                event = event._replace(data=memoryview(bytes(event.data)))
            events.append(event)
        buffer[:] = b"\xaa" * len(buffer)
    return join_fragments(events)


def join_fragments(events: Iterable[T]) -> list[T]:
    """Consecutive fragments of one PDV as one."""
    joined: list[T] = []
    inside = False
    for event in events:
        if isinstance(event, PdvFragment):
            if inside:
                last = joined[-1]
                assert isinstance(last, PdvFragment)
                joined[-1] = event._replace(data=memoryview(bytes(last.data) + bytes(event.data)))
            else:
                joined.append(event)
            inside = event.remaining > 0
        else:
            assert not inside
            joined.append(event)
    return joined


def to_pdus(events: Iterable[DecodedEvent]) -> list[Pdu]:
    """Events as whole PDUs again, to compare with what was encoded."""
    pdus: list[Pdu] = []
    for event in events:
        if isinstance(event, PdvFragment):
            last = pdus[-1]
            assert isinstance(last, PDataTF)
            pdv = Pdv(event.context_id, event.is_command, event.is_last, bytes(event.data))
            pdus[-1] = PDataTF((*last.pdvs, pdv))
        elif isinstance(event, tuple):
            pdus.append(PDataTF(()))
        else:
            pdus.append(event)
    return pdus
