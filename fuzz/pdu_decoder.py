"""Fuzz the PDU decoder: a stream parses, or it raises RemoteProtocolError, nothing else; and chunks change nothing."""

from __future__ import annotations

import random
from pathlib import Path

from dicom_adapter.dicom.errors import RemoteProtocolError
from dicom_adapter.dicom.pdu import AAssociateAC, AAssociateRQ, PdvFragment
from dicom_adapter.dicom.pdu_decoder import PduDecoder
from dicom_adapter.dicom.pdu_encoder import encode
from fuzz import harness

CAPTURES = Path(__file__).parents[1] / "tests" / "captures"
SEEDS = [path.read_bytes() for path in sorted(CAPTURES.glob("*.bin"))]
MAX_PDU_LENGTH = 16384


def decode(chunks: list[bytes]) -> list[object]:
    """What the chunks mean; the fragments of a PDV joined; at the end the error, if there is one."""
    decoder = PduDecoder(MAX_PDU_LENGTH)
    events: list[object] = []
    inside = False
    for chunk in chunks:
        decoder.receive_data(memoryview(chunk))
        while True:
            try:
                event = decoder.next_event()
            except RemoteProtocolError as error:
                events.append((error.abort_source, error.abort_reason, str(error)))
                return events
            if event is None:
                break
            if isinstance(event, PdvFragment):
                if inside:
                    (head, *_, data) = events.pop()  # type: ignore[misc]
                else:
                    head, data = event[:3], b""
                events.append((head, event.remaining, data + bytes(event.data)))
                inside = event.remaining > 0
                continue
            if isinstance(event, AAssociateRQ | AAssociateAC):
                encode(event)  # what was read can be sent back
            events.append(event)
    return events


def check(data: bytes, chance: random.Random) -> None:
    """It parses, or it raises RemoteProtocolError, whole as well as in chunks."""
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(6)))
    chunks = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    if decode(chunks) != decode([data]):
        raise AssertionError(f"cut at {cuts}, the events differ")


if __name__ == "__main__":
    harness.main(check, SEEDS)
