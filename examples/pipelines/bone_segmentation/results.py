"""The DICOM objects that go back: a Segmentation and a Secondary Capture in the source study.

Every UID follows from the source images, the pipeline's version and the object, so that a batch that runs again
(after a crash, or by hand) gives the same objects under the same names, and a PACS sees no doubles.
"""

from __future__ import annotations

import uuid

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from . import VERSION
from .components import Mask
from .series import CtSeries

_MANUFACTURER = "DICOM Adapter examples"
_MODEL = "bone_segmentation"
_SEGMENTATION_SERIES, _PICTURE_SERIES = 9001, 9002  # Series Number: far above those of scanners


def segmentation(series: CtSeries, mask: Mask) -> Dataset:
    """A binary DICOM Segmentation of one segment, "Bone" (PS3.3 A.51)."""
    bone = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Bone",
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.Bone,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=_MODEL, family=codes.DCM.ArtificialIntelligence, version=VERSION
        ),
        tracking_uid=_uid(series, "bone"),
        tracking_id="Bone",
        display_color=hd.color.CIELabColor.from_rgb(255, 150, 50),
    )
    dataset = hd.seg.Segmentation(
        source_images=series.slices,
        pixel_array=mask,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[bone],
        series_instance_uid=_uid(series, "segmentation series"),
        series_number=_SEGMENTATION_SERIES,
        series_description="Bone segmentation",
        sop_instance_uid=_uid(series, "segmentation"),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        manufacturer_model_name=_MODEL,
        software_versions=VERSION,
        device_serial_number="1",
        content_label="BONE",
        content_description="Bone by threshold",
    )
    _set_dimension_organization(dataset, _uid(series, "dimensions"))
    return dataset


def source_picture(series: CtSeries, picture: NDArray[np.uint8]) -> Dataset:
    """An RGB Secondary Capture (PS3.3 A.8.1) that names the images it was made from (PS3.3 C.7.6.1)."""
    dataset = hd.sc.SCImage.from_ref_dataset(
        series.slices[0],
        pixel_array=picture,
        photometric_interpretation=hd.PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=hd.CoordinateSystemNames.PATIENT,
        patient_orientation=("L", "P"),
        series_instance_uid=_uid(series, "picture series"),
        series_number=_PICTURE_SERIES,
        series_description="Bone picture",
        sop_instance_uid=_uid(series, "picture"),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        manufacturer_model_name=_MODEL,
        software_versions=VERSION,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    dataset.PatientOrientation = []  # type 2C: several planes in one picture have none in common (PS3.3 C.7.6.1.1.1)
    dataset.Laterality = ""  # type 2C, of the series (PS3.3 C.7.3.1)
    dataset.DerivationDescription = "Bone above a threshold in colour; planes and projection"
    dataset.BurnedInAnnotation = "NO"
    dataset.SourceImageSequence = [_reference(image) for image in series.slices]
    return dataset


def _reference(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return item


def _set_dimension_organization(dataset: Dataset, uid: str) -> None:
    """highdicom invents this UID anew each time (PS3.3 C.7.6.17); ours has to follow from the input as all others."""
    for item in [*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence]:
        item.DimensionOrganizationUID = uid


def _uid(series: CtSeries, what: str) -> str:
    """A UUID-derived UID (PS3.5 B.2) of `what` made from exactly these images by this version."""
    images = sorted(str(image.SOPInstanceUID) for image in series.slices)
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join([_MODEL, VERSION, what, *images])).int}"
