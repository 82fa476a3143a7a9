"""YuNet's heads: faces with five landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.runtimes.decoders.grid import cells, corners

STRIDES = (8, 16, 32)
_LARGEST_LOG = 20.0


def decode_yunet(
    outputs: Mapping[str, NDArray[Any]], canvas_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Return a row for each cell, shape (cells, 6); the class is 0, a face.

    Args:
        outputs: ``cls_S``, ``obj_S``, ``bbox_S`` and ``kps_S`` for the strides S of 8, 16, 32,
            each (1, cells, channels).
        canvas_hw: Height and width of the model's input.

    Raises:
        InputError: An output is missing or of another size.
    """
    return decode_faces(outputs, canvas_hw)[:, :6]


def decode_faces(
    outputs: Mapping[str, NDArray[Any]], canvas_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Return rows as ``decode_yunet``, then the landmarks: shape (cells, 16).

    The last ten columns are x, y of right eye, left eye, nose, right and left mouth corner
    (right as the person has it), in pixels of the model's input.

    Source: Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector", and its decoder
        in OpenCV (modules/objdetect/src/face_detect.cpp, ``postProcess``).
    """
    parts = []
    for stride in STRIDES:
        grid = cells(canvas_hw, stride)
        box = _head(outputs, f"bbox_{stride}", (len(grid), 4))
        points = _head(outputs, f"kps_{stride}", (len(grid), 10))
        chances = [
            np.clip(_head(outputs, f"{word}_{stride}", (len(grid), 1)), 0, 1)
            for word in ("cls", "obj")
        ]
        size = np.exp(np.minimum(box[:, 2:], _LARGEST_LOG)) * stride
        boxes = corners((box[:, :2] + grid) * stride, size)
        landmarks = (points + np.tile(grid, 5)) * stride
        score = np.sqrt(chances[0] * chances[1])
        parts.append(np.hstack([boxes, score, np.zeros_like(score), landmarks]))
    return np.concatenate(parts)


def _head(
    outputs: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, int]
) -> NDArray[np.float64]:
    if name not in outputs or outputs[name].size != shape[0] * shape[1]:
        got = outputs[name].shape if name in outputs else "missing"
        raise InputError(
            f"YuNet's output {name!r} is {got}; (1, {shape[0]}, {shape[1]}) is expected at this "
            f"input size; the model gives: {', '.join(outputs)}"
        )
    return outputs[name].reshape(shape).astype(np.float64)
