"""What the samples themselves tell, without the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.calibration.finding import Finding
from edgekit.graph import Array
from edgekit.preprocess import Preprocess
from edgekit.preprocess.normalise import lookup_table
from edgekit.tensor import TensorSpec

_ALIKE = 0.15  # of the samples' own deviation; photos of different things differ by about 1
_GRID = 16
_FAR_MEAN, _FAR_SPREAD = 2.0, 3.0


def constant(arrays: Sequence[Array], spec: TensorSpec) -> list[Finding]:
    """Return whether pictures are blank."""
    flat = sum(1 for array in arrays if array.size and array.min() == array.max())
    if not flat:
        return []
    return [
        Finding(
            "constant",
            f"{flat} of {len(arrays)} samples that were looked at are one constant value in "
            f"input {spec.name!r}: blank pictures teach no range; take them out",
            {"constant": flat, "looked_at": len(arrays)},
        )
    ]


def alike(arrays: Sequence[Array], spec: TensorSpec) -> list[Finding]:
    """Return whether the samples show one thing only."""
    small = [_thumbnail(array) for array in arrays]
    if len(small) < 2 or len({item.shape for item in small}) != 1:
        return []
    stack = np.stack(small)
    spread = float(stack.std())
    if spread == 0:
        return []
    pairs = [
        float(np.abs(stack[i] - stack[j]).mean()) / spread
        for i in range(len(small))
        for j in range(i)
    ]
    typical = float(np.median(pairs))
    if typical >= _ALIKE:
        return []
    return [
        Finding(
            "alike",
            f"the samples are all alike: two of them differ by {typical:.2f} of their deviation "
            f"in input {spec.name!r} (different photos: about 1); neighbouring frames of one "
            "video show one scene: take them from many",
            {"difference": typical},
        )
    ]


def outside_contract(
    arrays: Sequence[Array], spec: TensorSpec, steps: Preprocess | None
) -> list[Finding]:
    """Return whether the values are not those that the preprocessing gives."""
    if steps is None:
        return []
    table = lookup_table(steps).astype(np.float64)
    lowest, highest = float(table.min()), float(table.max())
    low, high = float(min(a.min() for a in arrays)), float(max(a.max() for a in arrays))
    span = highest - lowest
    is_outside = low < lowest - 0.02 * span or high > highest + 0.02 * span
    is_tiny = high - low < 0.02 * span and high > low
    if not (is_outside or is_tiny):
        return []
    return [
        Finding(
            "range",
            f"the samples hold {low:.4g} to {high:.4g} in input {spec.name!r}, where the "
            f"preprocessing gives {lowest:.4g} to {highest:.4g}: they were made in another way; "
            "give pictures or uint8 frames, or change --preprocess",
            {"low": low, "high": high, "lowest": lowest, "highest": highest},
        )
    ]


def far_from(arrays: Sequence[Array], goldens: Sequence[Array], spec: TensorSpec) -> list[Finding]:
    """Return whether the goldens look otherwise."""
    if not goldens or not arrays:
        return []
    (mean, spread), (golden_mean, golden_spread) = map(_mean_spread, (arrays, goldens))
    if golden_spread == 0:
        return []
    distance = abs(mean - golden_mean) / golden_spread
    ratio = max(spread / golden_spread, golden_spread / max(spread, 1e-30))
    if distance <= _FAR_MEAN and ratio <= _FAR_SPREAD:
        return []
    return [
        Finding(
            "goldens",
            f"the samples are far from what the goldens look like: in input {spec.name!r} their "
            f"mean is {mean:.4g} and deviation {spread:.4g}, the goldens' {golden_mean:.4g} and "
            f"{golden_spread:.4g}",
            {"distance": distance, "ratio": ratio},
        )
    ]


def _mean_spread(arrays: Sequence[Array]) -> tuple[float, float]:
    values = np.concatenate([array.reshape(-1)[:: max(array.size // 65536, 1)] for array in arrays])
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def _thumbnail(array: Array) -> Array:
    """Return about 16 x 16 values along the last two long axes, in the samples' units."""
    small = array
    for axis, size in enumerate(array.shape):
        if size > _GRID:
            cells = size // _GRID
            kept = np.take(small, range(cells * _GRID), axis=axis)
            shape = (*kept.shape[:axis], _GRID, cells, *kept.shape[axis + 1 :])
            # (..., size, ...) -> (..., 16, cells, ...)
            small = kept.reshape(shape).mean(axis=axis + 1)
    return small
