"""Connected components of a volume, in numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def keep_components(mask: Mask, *, at_least: int) -> Mask:
    """`mask` without the components (6-connected) of fewer than `at_least` voxels."""
    runs, component = _components(mask)
    sizes = np.bincount(component[runs[mask]], minlength=len(component))
    kept: Mask = mask & (sizes >= at_least)[component[runs]]
    return kept


def largest_component(mask: Mask) -> Mask:
    """The component (6-connected) of the most voxels; an empty mask stays empty."""
    if not mask.any():
        return mask
    runs, component = _components(mask)
    sizes = np.bincount(component[runs[mask]], minlength=len(component))
    kept: Mask = mask & (component[runs] == sizes.argmax())
    return kept


def _components(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """The number of the run along x that each voxel of `mask` is in, and the component of each run.

    Runs are few where voxels are many: only touching runs of neighbouring rows and slices need to be joined.
    """
    starts = mask.copy()
    starts[..., 1:] &= ~mask[..., :-1]
    runs = np.cumsum(starts, dtype=np.int32).reshape(mask.shape)
    parent = np.arange(int(starts.sum()) + 1)
    touching = np.concatenate([_touching(runs, mask, axis) for axis in (0, 1)], axis=1)
    while True:
        left, right = parent[touching]
        joined = left != right
        if not joined.any():
            return runs, parent
        # Hook the later root below the earlier one, then let every run point at its root again.
        np.minimum.at(parent, np.maximum(left, right)[joined], np.minimum(left, right)[joined])
        while not np.array_equal(parent, shorter := parent[parent]):
            parent = shorter


def _touching(runs: NDArray[np.int32], mask: Mask, axis: int) -> NDArray[np.int64]:
    """Pairs of runs that share a voxel's face along `axis`, each pair once."""
    size = mask.shape[axis]
    before, after = np.arange(size - 1), np.arange(1, size)
    both = mask.take(before, axis) & mask.take(after, axis)
    first, second = runs.take(before, axis)[both], runs.take(after, axis)[both]
    count = np.int64(runs[-1, -1, -1]) + 1
    pairs = np.unique(first * count + second)
    return np.stack(np.divmod(pairs, count))
