"""Fuzz the scan of a data set's head: it never raises, and chunks change nothing where the bytes are not deflated.

A deflate stream that breaks gives back what it held before the break only if that was asked for earlier.
"""

from __future__ import annotations

import random
import zlib
from pathlib import Path

from dicom_adapter.dicom.dataset_head import HeadScanner
from fuzz import harness

DEFLATED = "1.2.840.10008.1.2.1.99"
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    DEFLATED,
    "1.2.840.10008.1.2.4.90",
    "1.2.3",
)
_CAPTURE = (Path(__file__).parents[1] / "tests" / "captures" / "dcmtk_storescu.requestor.bin").read_bytes()
_DATA_SET = _CAPTURE[-334:-10]  # Explicit VR Little Endian, before the A-RELEASE-RQ
_DEFLATE = zlib.compressobj(wbits=-15)
SEEDS = [_DATA_SET, _DEFLATE.compress(_DATA_SET) + _DEFLATE.flush()]


def scan(transfer_syntax: str, chunks: list[bytes]) -> tuple[object, ...]:
    scanner = HeadScanner(transfer_syntax)
    for chunk in chunks:
        if scanner.feed(memoryview(chunk)):
            break
    scanner.finish()
    return (
        scanner.sop_class_uid,
        scanner.sop_instance_uid,
        scanner.study_instance_uid,
        scanner.series_instance_uid,
    )


def check(data: bytes, chance: random.Random) -> None:
    """It never raises; it finds the same UIDs however the bytes are cut."""
    transfer_syntax = chance.choice(TRANSFER_SYNTAXES)
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(6)))
    chunks = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    if scan(transfer_syntax, chunks) != scan(transfer_syntax, [data]) and transfer_syntax != DEFLATED:
        raise AssertionError(f"{transfer_syntax} cut at {cuts}, the UIDs differ")


if __name__ == "__main__":
    harness.main(check, SEEDS)
