"""The cells of a detector's feature maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def cells(canvas_hw: tuple[int, int], stride: int) -> Float64:
    """Return column and row of every cell, row by row.

    Args:
        canvas_hw: Height and width of the model's input.
        stride: Pixels of a cell's side.

    Returns:
        Shape (rows * columns, 2): x, y in cells.
    """
    rows, columns = canvas_hw[0] // stride, canvas_hw[1] // stride
    y, x = np.mgrid[:rows, :columns]
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)


def corners(centre: Float64, size: Float64) -> Float64:
    """Return left, top, right, bottom, shape (n, 4), of boxes given by centre and size."""
    return np.hstack([centre - size / 2, centre + size / 2])
