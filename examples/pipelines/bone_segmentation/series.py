"""From a folder of DICOM files to CT volumes in Hounsfield units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage

_NEEDED = (
    "FrameOfReferenceUID",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
)


class InputError(Exception):
    """The batch holds nothing that this pipeline can work on; in words, without patient data."""


@dataclass(frozen=True)
class CtSeries:
    """Parallel slices of one series, in order along their common normal."""

    slices: list[FileDataset]
    hounsfield: NDArray[np.int16]  # slice, row, column
    spacing: tuple[float, float, float]  # millimetres between slices, rows, columns

    @property
    def voxel_millilitres(self) -> float:
        return float(np.prod(self.spacing)) / 1000

    @property
    def shape_in_words(self) -> str:
        depth, down, across = self.spacing
        rows, columns = self.hounsfield.shape[1:]
        return f"{rows} x {columns} pixels of {down:.2f} x {across:.2f} mm, every {depth:.2f} mm"


def read_ct_series(folder: Path, *, skipped: Callable[[str], None]) -> list[CtSeries]:
    """Every CT series below `folder` that makes a volume; the others are named to `skipped` with the reason.

    Raises InputError when there is none.
    """
    by_series: dict[str, list[FileDataset]] = {}
    found = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            dataset = pydicom.dcmread(path)
        except InvalidDicomError:
            continue  # job.json, and whatever else is no DICOM file
        found += 1
        if dataset.get("SOPClassUID") == CTImageStorage:
            by_series.setdefault(str(dataset.SeriesInstanceUID), []).append(dataset)
    if not by_series:
        raise InputError(f"no CT image among the {found} DICOM files of the batch; this pipeline takes CT series only")
    volumes = []
    for slices in by_series.values():
        try:
            volumes.append(_volume(slices))
        except InputError as error:
            skipped(f"a series of {len(slices)} CT images: {error}")
    if not volumes:
        raise InputError("no CT series of the batch makes a volume; the reasons are in the output above")
    return volumes


def _volume(slices: list[FileDataset]) -> CtSeries:
    if len(slices) < 2:
        raise InputError("a single slice is no volume")
    first = slices[0]
    for dataset in slices:
        missing = [keyword for keyword in _NEEDED if dataset.get(keyword) in (None, "")]
        if missing:
            raise InputError(f"lacks {', '.join(missing)}")
        if "LOCALIZER" in dataset.get("ImageType", []):
            raise InputError("a localizer")
        if not np.allclose(dataset.ImageOrientationPatient, first.ImageOrientationPatient, atol=1e-3):
            raise InputError("its slices are not parallel")
        if (dataset.Rows, dataset.Columns) != (first.Rows, first.Columns):
            raise InputError("its slices differ in size")
    orientation = np.array(first.ImageOrientationPatient, dtype=float)
    normal = np.cross(orientation[:3], orientation[3:])
    along = [float(np.dot(normal, np.array(dataset.ImagePositionPatient, dtype=float))) for dataset in slices]
    order = np.argsort(along)
    steps = [along[upper] - along[lower] for lower, upper in pairwise(order)]
    if min(steps) < 0.01:
        raise InputError("two of its slices lie at the same position")
    ordered = [slices[index] for index in order]
    return CtSeries(
        slices=ordered,
        hounsfield=np.stack([_hounsfield(dataset) for dataset in ordered]),
        spacing=(float(np.median(steps)), float(first.PixelSpacing[0]), float(first.PixelSpacing[1])),
    )


def _hounsfield(dataset: FileDataset) -> NDArray[np.int16]:
    try:
        stored = dataset.pixel_array
    except (AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        syntax = dataset.file_meta.TransferSyntaxUID.name
        raise InputError(f"its pixels cannot be decoded here ({syntax})") from error
    values = stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)
