"""What is sent: series of real headers around repeated pixels, with new UIDs for every measurement.

New UIDs matter: a receiver that knows an instance already may skip the work (Orthanc and the adapter do).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID

from .wire import EXPLICIT_VR_LITTLE_ENDIAN

UID_ROOT = "1.2.826.0.1.3680043.8.498"  # pydicom's, free for generated UIDs
_MARK = 1_000_000  # keeps the width of a UID constant, so that one can be written over another
_HEADER = 16384  # bytes; the UIDs of every sample stand within them


def instance_uid(run: int, number: int) -> str:
    return f"{UID_ROOT}.{_MARK + run}.3.{_MARK + number}"


def study_uid(run: int) -> str:
    return f"{UID_ROOT}.{_MARK + run}.1"


def series_uid(run: int) -> str:
    return f"{UID_ROOT}.{_MARK + run}.2"


@dataclass(frozen=True)
class Sample:
    """One slice, encoded in Explicit VR Little Endian with the UIDs of run 0, number 0."""

    name: str
    sop_class_uid: str
    data_set: bytes

    def head(self, run: int, number: int) -> bytes:
        """The first bytes of the data set, with the UIDs of `run` and `number`."""
        head = self.data_set[:_HEADER]
        for of_template, of_run in (
            (instance_uid(0, 0), instance_uid(run, number)),
            (study_uid(0), study_uid(run)),
            (series_uid(0), series_uid(run)),
        ):
            head = head.replace(of_template.encode(), of_run.encode())
        return head

    def encode(self, run: int, number: int) -> bytes:
        """The whole data set, with the UIDs of `run` and `number`."""
        return self.head(run, number) + self.data_set[_HEADER:]

    def file_meta(self, run: int, number: int) -> bytes:
        """Preamble and File Meta Information (PS3.10 7.1)."""
        meta = FileMetaDataset()
        meta.FileMetaInformationVersion = b"\x00\x01"
        meta.MediaStorageSOPClassUID = UID(self.sop_class_uid)
        meta.MediaStorageSOPInstanceUID = UID(instance_uid(run, number))
        meta.TransferSyntaxUID = UID(EXPLICIT_VR_LITTLE_ENDIAN)
        meta.ImplementationClassUID = UID(f"{UID_ROOT}.1")
        buffer = DicomBytesIO()
        write_file_meta_info(buffer, meta)
        return bytes(128) + b"DICM" + buffer.getvalue()


class SeriesFolder:
    """A series of `count` Part 10 files for senders that read files; written unless `folder` has them already."""

    def __init__(self, folder: Path, sample: Sample, count: int) -> None:
        self._sample = sample
        self.files: Sequence[Path] = [folder / f"{number:05}.dcm" for number in range(count)]
        if not folder.exists():
            folder.mkdir(parents=True)
            for number, path in enumerate(self.files):
                path.write_bytes(sample.file_meta(0, number) + sample.encode(0, number))

    def renew(self, run: int) -> None:
        """Write the UIDs of `run` over those of the run before."""
        for number, path in enumerate(self.files):
            with path.open("r+b") as file:
                file.write(self._sample.file_meta(run, number) + self._sample.head(run, number))


def ct_slice() -> Sample:
    """512 KiB: 512 x 512 pixels of 16 bits."""
    return _sample("CT slice, 512 KiB", "CT_small.dcm", 512)


def mr_slice() -> Sample:
    """32 KiB: 128 x 128 pixels of 16 bits."""
    return _sample("MR slice, 32 KiB", "MR_small.dcm", 128)


def small_instance() -> Sample:
    """Two KiB or so: for counting instances, not bytes."""
    return _sample("MR slice, 16 x 16", "MR_small.dcm", 16)


def _sample(name: str, file: str, side: int) -> Sample:
    source = get_testdata_file(file)
    assert isinstance(source, str), f"pydicom ships {file}"
    data_set = dcmread(source)
    pixels = data_set.PixelData
    size = 2 * side * side
    data_set.Rows = data_set.Columns = side
    data_set.PixelData = (pixels * (size // len(pixels) + 1))[:size]
    data_set.pop((0xFFFC, 0xFFFC), None)
    data_set.SOPInstanceUID = UID(instance_uid(0, 0))
    data_set.StudyInstanceUID = UID(study_uid(0))
    data_set.SeriesInstanceUID = UID(series_uid(0))
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, data_set)
    return Sample(name, str(data_set.SOPClassUID), buffer.getvalue())
