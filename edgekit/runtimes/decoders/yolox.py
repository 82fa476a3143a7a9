"""YOLOX's raw heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.runtimes.decoders.grid import cells, corners

STRIDES = (8, 16, 32)
_LARGEST_LOG = 20.0  # e^20 cells is beyond any picture; a broken model must not overflow


def decode_yolox(
    outputs: Mapping[str, NDArray[Any]], canvas_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Return a row for each cell and its best class.

    Args:
        outputs: One tensor (1, cells, 5 + classes), which the sigmoid has been applied to but
            for the box: x, y, log width, log height in cells, objectness, classes. Where the
            model's outputs were split, box and scores are joined again.
        canvas_hw: Height and width of the model's input.

    Returns:
        Shape (cells, 6).

    Raises:
        InputError: The tensor is none of that model at that size.

    Source: Ge et al. 2021, "YOLOX: Exceeding YOLO Series in 2021", and its
        ``demo_postprocess`` (yolox/utils/demo_utils.py).
    """
    raw = np.concatenate([np.asarray(value[0], np.float64) for value in outputs.values()], axis=-1)
    grids = [cells(canvas_hw, stride) for stride in STRIDES]
    grid = np.concatenate(grids)
    stride = np.repeat(STRIDES, [len(part) for part in grids])[:, None]
    if raw.ndim != 2 or raw.shape[0] != len(grid) or raw.shape[1] < 6:
        raise InputError(
            f"outputs of {', '.join(str(value.shape) for value in outputs.values())} are not "
            f"YOLOX's for an input of {canvas_hw}: (1, {len(grid)}, 5 + classes) is expected"
        )
    centre = (raw[:, :2] + grid) * stride
    size = np.exp(np.minimum(raw[:, 2:4], _LARGEST_LOG)) * stride
    scores = raw[:, 4:5] * raw[:, 5:]
    label = scores.argmax(axis=1)
    best = scores[np.arange(len(label)), label]
    return np.column_stack([corners(centre, size), best, label])
