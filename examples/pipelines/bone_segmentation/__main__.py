"""The command: read, segment, write. Every failure is one line on stderr and an exit status that is not 0."""

from __future__ import annotations

import sys
from pathlib import Path

from . import VERSION
from .bone import bone_mask
from .picture import paint
from .results import segmentation, source_picture
from .series import InputError, read_ct_series

FAILED, USAGE = 1, 2


def run(input_folder: Path, output_folder: Path) -> None:
    """Leave a Segmentation and a picture in `output_folder` for each CT series of `input_folder`.

    Raises InputError when there is nothing to segment.
    """
    all_series = read_ct_series(input_folder, skipped=lambda reason: say(f"skipped: {reason}"))
    output_folder.mkdir(parents=True, exist_ok=True)
    for number, series in enumerate(all_series, start=1):
        say(f"series {number} of {len(all_series)}: {len(series.slices)} slices, {series.shape_in_words}")
        mask = bone_mask(series)
        millilitres = mask.sum() * series.voxel_millilitres
        say(f"bone: {millilitres:.0f} ml on {mask.any(axis=(1, 2)).sum()} slices")
        picture = paint(series, mask, f"Bone above 300 HU: {millilitres:.0f} ml")
        results = {"seg": segmentation(series, mask), "picture": source_picture(series, picture)}
        for kind, dataset in results.items():
            path = output_folder / f"{kind}-{number}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            say(f"wrote {path.name}: {path.stat().st_size / 1024:.0f} KiB")


def say(line: str) -> None:
    print(line, flush=True)


def main(arguments: list[str]) -> int:
    """Exit status: 0 done, 1 nothing to segment, 2 wrong use. Anything unforeseen: a stack on stderr and 1."""
    if len(arguments) != 2:
        print("usage: python3 -m bone_segmentation INPUT OUTPUT", file=sys.stderr)
        return USAGE
    say(f"bone_segmentation {VERSION}")
    try:
        run(Path(arguments[0]), Path(arguments[1]))
    except InputError as error:
        print(f"bone_segmentation: {error}", file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
