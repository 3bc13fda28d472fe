"""Fuzz the File Meta Information reader: it reads the head of a file, or raises Part10Error, nothing else."""

from __future__ import annotations

import random

from dicom_adapter.dicom.part10 import Part10Error, file_meta, read_file_meta
from fuzz import harness

SEEDS = [
    file_meta(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.7",
        sop_instance_uid="2.25.1001",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        implementation_class_uid="1.2.3",
        implementation_version_name="FUZZ",
        source_ae_title="SOURCE",
        sending_ae_title="SENDING",
        receiving_ae_title="RECEIVING",
    )
]


def check(data: bytes, chance: random.Random) -> None:
    """It reads, or it raises Part10Error."""
    try:
        meta = read_file_meta(data)
    except Part10Error:
        return
    if not 0 < meta.data_set_offset <= len(data):
        raise AssertionError(f"the data set begins at {meta.data_set_offset} of {len(data)} bytes")


if __name__ == "__main__":
    harness.main(check, SEEDS)
