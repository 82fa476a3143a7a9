"""Boxes on pictures: overlap, and dropping those that say the same thing twice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def overlaps(boxes: NDArray[Any], others: NDArray[Any], *, of_first: bool = False) -> Float64:
    """Return the intersection over union of every pair.

    Args:
        boxes: Shape (n, 4): left, top, right, bottom.
        others: Shape (m, 4), likewise.
        of_first: Whether to divide by the area of the first box alone, as COCO does where
            the other one stands for a crowd.

    Returns:
        Shape (n, m), in [0, 1]; 0 where a union is empty.

    Source: Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", equation 4.
    """
    a, b = np.asarray(boxes, np.float64)[:, None], np.asarray(others, np.float64)[None]
    corner = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:4], b[..., 2:4])
    both = np.clip(corner[1] - corner[0], 0, None).prod(axis=-1)
    area_a = np.clip(a[..., 2:4] - a[..., :2], 0, None).prod(axis=-1)
    area_b = np.clip(b[..., 2:4] - b[..., :2], 0, None).prod(axis=-1)
    either = np.broadcast_to(area_a, both.shape) if of_first else area_a + area_b - both
    share: Float64 = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return share


def suppress(rows: NDArray[Any], *, iou: float, max_boxes: int) -> NDArray[Any]:
    """Return the rows that no better one of their class overlaps by more than ``iou``.

    Args:
        rows: Shape (n, 6): left, top, right, bottom, score, class.
        iou: Overlap from which the worse one goes.
        max_boxes: How many are kept at most, the best ones.

    Returns:
        Shape (m, 6), best score first.

    Source: Felzenszwalb et al. 2010, "Object Detection with Discriminatively Trained
        Part-Based Models", section 7.2 (non-maximum suppression), class by class.
    """
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    kept: list[int] = []
    is_open = np.ones(len(rows), bool)
    for index in range(len(rows)):
        if not is_open[index]:
            continue
        kept.append(index)
        if len(kept) == max_boxes:
            break
        rest = np.flatnonzero(is_open[index + 1 :]) + index + 1
        rest = rest[rows[rest, 5] == rows[index, 5]]
        near = overlaps(rows[index : index + 1, :4], rows[rest, :4])[0] > iou
        is_open[rest[near]] = False
    return rows[kept]
