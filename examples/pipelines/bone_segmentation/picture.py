"""The picture: three planes through the bone with the bone in colour, and its projection from the front."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .components import Mask
from .series import CtSeries

_SIDE = 768  # pixels of the axial panel; the three others share as much height beside it
_WINDOW = (-350.0, 1150.0)  # Hounsfield units, a usual bone window
_BONE_COLOUR = np.array([255, 150, 50])
_OPACITY = 0.55
_TEXT_COLOUR = (190, 210, 230)

Rgb = NDArray[np.uint8]


def paint(series: CtSeries, mask: Mask, caption: str) -> Rgb:
    """An RGB picture (rows, columns, 3). No patient data is burned in."""
    volume, (depth, down, across) = series.hounsfield, series.spacing
    slice_, row, column = (int(np.median(where)) for where in np.nonzero(mask))
    head_first = slice(None, None, -1)  # slices run from the feet up; a picture starts at the top
    sides = ("R", "L", "A", "P") if _is_axial(series) else ("", "", "", "")
    right, left, front, back = sides
    panels = [
        (_blend(volume[slice_], mask[slice_]), (down, across), f"Axial {slice_ + 1}/{len(volume)}", right, left),
        (_blend(volume[head_first, row], mask[head_first, row]), (depth, across), "Coronal", right, left),
        (_blend(volume[head_first, :, column], mask[head_first, :, column]), (depth, down), "Sagittal", front, back),
        (_projection(volume, mask)[head_first], (depth, across), "Bone, projected", right, left),
    ]
    canvas = Image.new("RGB", (2 * _SIDE, _SIDE))
    height = _SIDE // 3
    boxes = [(0, 0, _SIDE, _SIDE), *((_SIDE, index * height, _SIDE, height) for index in range(3))]
    for (image, spacing, title, at_left, at_right), box in zip(panels, boxes, strict=True):
        _place(canvas, image, spacing, box)
        _label(canvas, box, title, at_left, at_right)
    draw = ImageDraw.Draw(canvas)
    draw.text((12, _SIDE - 12), f"{caption}\nNot for diagnosis", _TEXT_COLOUR, _font(18), anchor="ld")
    return np.asarray(canvas)


def _is_axial(series: CtSeries) -> bool:
    return np.allclose(series.slices[0].ImageOrientationPatient, [1, 0, 0, 0, 1, 0], atol=0.1)


def _grey(hounsfield: NDArray[np.int16]) -> NDArray[np.float64]:
    low, high = _WINDOW
    grey = np.clip((hounsfield - low) / (high - low), 0, 1) * 255
    return np.stack([grey] * 3, axis=-1)


def _blend(hounsfield: NDArray[np.int16], mask: Mask) -> Rgb:
    grey = _grey(hounsfield)
    coloured = (1 - _OPACITY) * grey + _OPACITY * _BONE_COLOUR
    blended: Rgb = np.where(mask[..., None], coloured, grey).astype(np.uint8)
    return blended


def _projection(volume: NDArray[np.int16], mask: Mask) -> Rgb:
    """How much bone lies behind each other, seen from the front, as a radiograph would show it."""
    thickness = mask.sum(axis=1)
    density = np.where(mask, volume, 0).sum(axis=1, dtype=np.float64)
    shade = 1 - np.exp(-density / max(float(np.percentile(density[thickness > 0], 75)), 1.0))
    coloured: Rgb = (shade[..., None] * (0.35 * 255 + 0.65 * _BONE_COLOUR)).astype(np.uint8)
    return coloured


def _place(canvas: Image.Image, image: Rgb, spacing: tuple[float, float], box: tuple[int, int, int, int]) -> None:
    """`image` in the middle of `box`, as large as fits, in true proportions."""
    left, top, width, height = box
    tall, wide = image.shape[0] * spacing[0], image.shape[1] * spacing[1]
    scale = min(width / wide, height / tall)
    size = max(1, round(wide * scale)), max(1, round(tall * scale))
    picture = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    canvas.paste(picture, (left + (width - size[0]) // 2, top + (height - size[1]) // 2))


def _label(canvas: Image.Image, box: tuple[int, int, int, int], title: str, at_left: str, at_right: str) -> None:
    left, top, width, height = box
    draw, font = ImageDraw.Draw(canvas), _font(18)
    draw.rectangle((left, top, left + width - 1, top + height - 1), outline=(40, 48, 56))
    draw.text((left + 12, top + 10), title, _TEXT_COLOUR, font)
    draw.text((left + 12, top + height // 2), at_left, _TEXT_COLOUR, font, anchor="lm")
    draw.text((left + width - 12, top + height // 2), at_right, _TEXT_COLOUR, font, anchor="rm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
