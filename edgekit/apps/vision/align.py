"""Turn, scale and shift a picture so that points in it come to lie on a template."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError

Array = NDArray[Any]
Float64 = NDArray[np.float64]


def fit_similarity(source_xy: Array, target_xy: Array) -> Float64:
    """Return the similarity that brings points closest to others, in the sense of least squares.

    Args:
        source_xy: Shape (n, 2), n >= 2.
        target_xy: Shape (n, 2), where each is to come.

    Returns:
        Shape (2, 3): ``matrix @ (x, y, 1)`` is the point's new place. It turns, scales and
        shifts, and never mirrors.

    Raises:
        InputError: The points are too few, not finite, or all in one place.

    Source: Umeyama 1991, "Least-Squares Estimation of Transformation Parameters Between Two
        Point Patterns", equations 38 to 43.
    """
    source, target = np.asarray(source_xy, np.float64), np.asarray(target_xy, np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 2:
        raise InputError(
            f"points of shape {source.shape} onto {target.shape}; both need the same shape (n, 2), "
            "n at least 2"
        )
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise InputError("a point is not finite, so nothing can be aligned to it")
    mean_source, mean_target = source.mean(axis=0), target.mean(axis=0)
    centred = source - mean_source
    variance = (centred**2).sum() / len(source)
    if variance < np.finfo(np.float64).tiny:
        raise InputError(f"all points are at {mean_source.round(1)}; they have no size or angle")
    covariance = (target - mean_target).T @ centred / len(source)
    left, stretch, right = np.linalg.svd(covariance)
    keeps_hand = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    turn = left @ np.diag(keeps_hand) @ right
    scale = (stretch * keeps_hand).sum() / variance
    shift = mean_target - scale * turn @ mean_source
    return np.column_stack([scale * turn, shift])


def warp(frame: Array, matrix: Float64, side: int) -> NDArray[np.uint8]:
    """Return the square that the similarity cuts out of a frame.

    Args:
        frame: uint8, (height, width, 3).
        matrix: As ``fit_similarity`` returns it, from frame to square.
        side: Of the square, in pixels.

    Returns:
        uint8, (side, side, 3); black where the frame ends.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        # Bilinear sampling looks at 2 x 2 pixels; what shrinks more would skip some of them.
        frame, matrix = _shrunk(*_cropped(frame, matrix, side), 2 * scale)
    return np.asarray(cv2.warpAffine(frame, matrix, (side, side)), np.uint8)


def _cropped(frame: Array, matrix: Float64, side: int) -> tuple[Array, Float64]:
    """Return the part of the frame that the square is cut out of, and the matrix from there."""
    ends = np.array([(0, 0), (side, 0), (0, side), (side, side)], np.float64)
    corners = np.linalg.solve(matrix[:, :2], (ends - matrix[:, 2]).T)
    margin = np.ceil(2 * np.linalg.norm(corners[:, 1] - corners[:, 0]) / side)  # two of its pixels
    size = np.array(frame.shape[1::-1])
    first = np.clip(np.floor(corners.min(axis=1) - margin), 0, size - 1).astype(int)
    last = np.clip(np.ceil(corners.max(axis=1) + margin), first + 1, size).astype(int)
    part = frame[first[1] : last[1], first[0] : last[0]]
    return part, np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ first])


def _shrunk(frame: Array, matrix: Float64, factor: float) -> tuple[Array, Float64]:
    """Return the frame made smaller, each pixel the mean of those it was, and its matrix."""
    height, width = (max(1, round(length * factor)) for length in frame.shape[:2])
    ratio = np.array([width / frame.shape[1], height / frame.shape[0]])
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    # Pixel centres: x_small = (x + 0.5) * ratio - 0.5.
    turn = matrix[:, :2] / ratio
    return small, np.column_stack([turn, matrix[:, 2] + turn @ (0.5 - 0.5 * ratio)])
