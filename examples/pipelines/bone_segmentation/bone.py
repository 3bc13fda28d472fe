"""What is bone: a threshold, and just enough cleaning for a picture that a radiologist would not laugh at."""

from __future__ import annotations

import math

from .components import Mask, keep_components, largest_component
from .series import CtSeries, InputError

BONE = 300  # Hounsfield units; cortical bone lies well above, contrast medium and calcification may too
_BODY = -300  # skin and everything denser
_SPECK = 0.1  # millilitres: smaller islands are noise or calcification


def bone_mask(series: CtSeries) -> Mask:
    """The voxels of bone. Raises InputError when there is none."""
    body = largest_component(series.hounsfield > _BODY)  # without the table, the head rest and what lies on it
    mask = body & (series.hounsfield > BONE)
    mask = keep_components(mask, at_least=math.ceil(_SPECK / series.voxel_millilitres))
    if not mask.any():
        raise InputError(
            f"no bone (nothing above {BONE} HU within the body) in a series of {len(series.slices)} slices"
        )
    return mask
