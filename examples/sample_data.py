"""Realistic DICOM input for the demo and the tests, made from a real image that a package ships.

Nobody ships a full-size multi-slice CT, so a head is rebuilt from one real, de-identified 512 x 512 slice of
`pydicom-data`: the slice keeps its header and its tissue, and is bent over an ellipsoid up to the vertex, so that a
skull is a skull in every plane. The patient is invented. Why here and not under `tests/`: `make demo` needs it too.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path

import data_store  # type: ignore[import-untyped]  # of pydicom-data
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

_HEAD_CENTRE = (130.0, 127.5)  # of the head in that slice, in millimetres from its first corner: across, down
_BONE = 300  # Hounsfield units
_REACH = 1.2  # the scalp ends, and the head rest begins, beyond this multiple of the skull's radius
_VERTEX_HEIGHT = 76.0  # how far above that slice the skull ends, in millimetres
_SCAN_HEIGHT = 85.0  # a little air above the vertex, as a technologist would scan
_AIR = -1024


def pydicom_data_folder() -> Path:
    """Where the package `pydicom-data` keeps its files."""
    return Path(data_store.__file__).parent / "data"


def uid_for(*words: object) -> str:
    """A UID below 2.25 that is always the same for the same words (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(map(str, words))).int}"


def ct_series(folder: Path, *, slices: int = 34, rows: int = 512, seed: str = "demo") -> list[Path]:
    """Write an axial CT series of a head, vertex last, into `folder` and return its files in order.

    `rows`: rows and columns; the field of view stays 245 mm. The same `seed` gives the same study, byte for byte.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(ct_datasets(slices=slices, rows=rows, seed=seed), start=1):
        paths.append(folder / f"CT{number:04}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def ct_datasets(*, slices: int, rows: int = 512, seed: str = "demo") -> Iterator[FileDataset]:
    """The slices of `ct_series`, one after the other, without writing them."""
    source, tissue = _head_slice()
    millimetres = tissue.shape[0] * float(source.PixelSpacing[0])
    spacing = round(_SCAN_HEIGHT / slices, 3)
    left, top, height = (float(value) for value in source.ImagePositionPatient)
    for index in range(slices):
        dataset = _new_instance(source, seed, index)
        hounsfield = _head_at(tissue, millimetres, rows, above=index * spacing)
        position = [left, top, round(height + index * spacing, 3)]
        dataset.PixelSpacing = [round(millimetres / rows, 6)] * 2
        dataset.SliceThickness = dataset.SpacingBetweenSlices = spacing
        dataset.ImagePositionPatient = position
        dataset.SliceLocation = position[2]
        dataset.FrameOfReferenceUID = uid_for(seed, "frame of reference")
        dataset.BodyPartExamined = "HEAD"
        dataset.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
        dataset.DerivationDescription = "Head rebuilt from one slice"
        dataset.SeriesDescription = "Head, plain, rebuilt"
        _set_pixels(dataset, hounsfield - int(source.RescaleIntercept))
        yield dataset


@cache
def _head_slice() -> tuple[FileDataset, NDArray[np.float32]]:
    """The real slice, and its tissue in Hounsfield units."""
    source = pydicom.dcmread(pydicom_data_folder() / "693_UNCR.dcm")
    hounsfield = source.pixel_array.astype(np.float32) * float(source.RescaleSlope) + float(source.RescaleIntercept)
    return source, np.maximum(hounsfield, _AIR)  # the corners outside the reconstruction circle are padding


def _head_at(tissue: NDArray[np.float32], millimetres: float, rows: int, *, above: float) -> NDArray[np.float32]:
    """The head `above` millimetres over the real slice, in Hounsfield units.

    With the skull's outer surface as the unit sphere, a voxel at distance rho from the centre takes the tissue at rho
    in its direction within the real slice, so scalp, bone and brain keep their depth. Towards the pole, where all
    directions meet, their mean takes over. What is outside the head (the head rest) stays where it is.
    """
    across = (np.arange(rows, dtype=np.float32) + 0.5) * millimetres / rows
    x, y = across[None, :] - _HEAD_CENTRE[0], across[:, None] - _HEAD_CENTRE[1]
    angles, radii = _skull_outline()
    radius = np.interp(np.arctan2(y, x), angles, radii, period=2 * np.pi).astype(np.float32)
    in_plane = np.maximum(np.hypot(x, y) / radius, 1e-3)
    rho = np.hypot(in_plane, above / _VERTEX_HEIGHT)
    directional = _tissue_at(x * rho / in_plane, y * rho / in_plane)
    weight = np.clip(in_plane / rho / 0.6, 0, 1)
    head = weight * directional + (1 - weight) * np.interp(rho, *_mean_profile())
    around = np.where(in_plane < _REACH, _AIR, _resample(tissue, rows))
    return np.maximum(np.where(rho < _REACH, head, _AIR), around).astype(np.float32)


def _tissue_at(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float32]:
    """The real slice `x` millimetres right and `y` below the head's centre."""
    source, tissue = _head_slice()
    down, right = (float(value) for value in source.PixelSpacing)
    return _bilinear(tissue, (y + _HEAD_CENTRE[1]) / down - 0.5, (x + _HEAD_CENTRE[0]) / right - 0.5)


@cache
def _skull_outline() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Angles, and how far from the head's centre the bone ends at each, in millimetres."""
    angles = np.linspace(-np.pi, np.pi, 720, endpoint=False, dtype=np.float32)
    distances = np.arange(20, 88, 0.25, dtype=np.float32)  # the head rest begins at 90
    bone = _tissue_at(np.cos(angles)[:, None] * distances, np.sin(angles)[:, None] * distances) > _BONE
    radii = distances[bone.shape[1] - 1 - np.argmax(bone[:, ::-1], axis=1)]
    return angles, radii


@cache
def _mean_profile() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Multiples of the skull's radius, and the mean tissue over all directions at each."""
    angles, radii = _skull_outline()
    rho = np.linspace(0, _REACH, 600, dtype=np.float32)
    distances = radii[:, None] * rho
    tissue = _tissue_at(np.cos(angles)[:, None] * distances, np.sin(angles)[:, None] * distances)
    return rho, tissue.mean(axis=0)


def _resample(image: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    along = (np.arange(rows, dtype=np.float32) + 0.5) * image.shape[0] / rows - 0.5
    return _bilinear(image, along[:, None], along[None, :])


def _bilinear(image: NDArray[np.float32], y: NDArray[np.floating], x: NDArray[np.floating]) -> NDArray[np.float32]:
    """`image` at fractional rows `y` and columns `x`, the border repeated outside."""
    y, x = np.clip(y, 0, image.shape[0] - 1), np.clip(x, 0, image.shape[1] - 1)
    row, column = np.minimum(y.astype(int), image.shape[0] - 2), np.minimum(x.astype(int), image.shape[1] - 2)
    down, right = y - row, x - column
    upper = image[row, column] * (1 - right) + image[row, column + 1] * right
    lower = image[row + 1, column] * (1 - right) + image[row + 1, column + 1] * right
    result: NDArray[np.float32] = upper * (1 - down) + lower * down
    return result


def _new_instance(source: FileDataset, seed: str, index: int) -> FileDataset:
    """A copy of a real header with an invented patient and UIDs of our own; retired group lengths left out."""
    dataset = FileDataset("", Dataset(), preamble=b"\0" * 128, file_meta=FileMetaDataset())
    for element in source:
        if element.tag.element != 0 and element.tag != 0x7FE00010:
            dataset.add(deepcopy(element))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid_for(seed, "instance", index)
    dataset.StudyInstanceUID = uid_for(seed, "study")
    dataset.SeriesInstanceUID = uid_for(seed, "series")
    dataset.InstanceNumber = index + 1
    dataset.PatientName = "Sample^Patient"
    dataset.PatientID = "SAMPLE-1"
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "O"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Invented patient"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20261122"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "120000"
    dataset.StudyID = "1"
    dataset.StudyDescription = "Sample study"
    dataset.AccessionNumber = "SAMPLE"
    dataset.ReferringPhysicianName = ""
    dataset.Manufacturer = dataset.get("Manufacturer") or "Sample"
    return dataset


def _set_pixels(dataset: FileDataset, stored: NDArray[np.float32]) -> None:
    """Signed 14-bit pixels, as the source has them."""
    pixels = np.rint(stored).astype("<i2")
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 14, 13
    dataset.PixelRepresentation = 1
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
