"""What the PACS must have got, checked as a PACS administrator would: by opening the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage

_SHARED = ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "AccessionNumber")


@dataclass(frozen=True)
class Delivery:
    """The objects that reached the PACS, and what is wrong with them (nothing, one hopes)."""

    segmentation: FileDataset | None
    picture: FileDataset | None
    faults: Sequence[str]


def inspect(folder: Path, sent: Sequence[Path]) -> Delivery:
    """Compare what lies in the PACS's `folder` with what was `sent`."""
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in sent]
    received = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    by_class = {str(dataset.SOPClassUID): dataset for dataset in received}
    segmentation, picture = by_class.get(SegmentationStorage), by_class.get(SecondaryCaptureImageStorage)
    return Delivery(segmentation, picture, list(_faults(received, segmentation, picture, sources)))


def _faults(
    received: Sequence[FileDataset],
    segmentation: FileDataset | None,
    picture: FileDataset | None,
    sources: Sequence[FileDataset],
) -> Iterator[str]:
    if len(received) != 2:
        yield f"the PACS got {len(received)} objects instead of 2"
    for kind, dataset in (("Segmentation", segmentation), ("picture", picture)):
        if dataset is None:
            yield f"the PACS got no {kind}"
            continue
        for keyword in _SHARED:
            if dataset.get(keyword) != sources[0].get(keyword):
                yield f"the {kind} has another {keyword} than the images that were sent"
        if dataset.SeriesInstanceUID == sources[0].SeriesInstanceUID:
            yield f"the {kind} is in the series of the images that were sent"
        if dataset.SOPInstanceUID in {source.SOPInstanceUID for source in sources}:
            yield f"the {kind} has the SOP Instance UID of an image that was sent"
        if references(dataset) != {source.SOPInstanceUID for source in sources}:
            yield f"the {kind} does not reference the images that were sent"
        if not dataset.pixel_array.any():
            yield f"the {kind} is empty"


def references(dataset: Dataset) -> set[str]:
    """SOP Instance UIDs of the source images that a Segmentation or a Secondary Capture names."""
    items = list(dataset.get("SourceImageSequence", []))
    for series in dataset.get("ReferencedSeriesSequence", []):
        items.extend(series.ReferencedInstanceSequence)
    return {str(item.ReferencedSOPInstanceUID) for item in items}
