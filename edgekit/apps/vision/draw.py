"""Draw onto frames: boxes, points, words."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Frame = NDArray[np.uint8]

GREEN, RED, AMBER, GREY = (80, 180, 60), (60, 60, 220), (40, 160, 235), (150, 150, 150)
_WHITE = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_box(frame: Frame, box_xyxy: Array, text: str, colour: tuple[int, int, int]) -> None:
    """Draw a box with words above it, or inside where there is no room above.

    Args:
        frame: Written into.
        box_xyxy: Shape (4,), in its pixels.
        text: A font of lines has ASCII only; other letters become ``?``.
        colour: Blue, green, red.
    """
    left, top, right, bottom = (round(float(value)) for value in box_xyxy)
    cv2.rectangle(frame, (left, top), (right, bottom), colour, _thickness(frame))
    if text:
        _label(frame, (left, top), text, colour)


def draw_points(frame: Frame, points_xy: Array, colour: tuple[int, int, int]) -> None:
    """Draw dots at points of shape (n, 2), in pixels of the frame."""
    for x, y in np.asarray(points_xy):
        cv2.circle(frame, (round(float(x)), round(float(y))), 1 + _thickness(frame), colour, -1)


def draw_banner(frame: Frame, text: str, colour: tuple[int, int, int]) -> None:
    """Write words on a bar along the lower edge."""
    scale, thickness = _font(frame)
    (_, height), below = cv2.getTextSize(_ascii(text), _FONT, scale, thickness)
    bar = height + below + height
    bottom = frame.shape[0]
    frame[max(0, bottom - bar) :] = colour
    place = (height // 2, bottom - below - height // 2)
    cv2.putText(frame, _ascii(text), place, _FONT, scale, _WHITE, thickness, cv2.LINE_AA)


def _label(
    frame: Frame, corner_xy: tuple[int, int], text: str, colour: tuple[int, int, int]
) -> None:
    scale, thickness = _font(frame)
    (width, height), below = cv2.getTextSize(_ascii(text), _FONT, scale, thickness)
    tall = height + below + 4
    left = max(0, min(corner_xy[0], frame.shape[1] - width - 4))
    top = corner_xy[1] - tall if corner_xy[1] >= tall else max(0, corner_xy[1])
    cv2.rectangle(frame, (left, top), (left + width + 4, top + tall), colour, -1)
    place = (left + 2, top + height + 2)
    cv2.putText(frame, _ascii(text), place, _FONT, scale, _WHITE, thickness, cv2.LINE_AA)


def _font(frame: Frame) -> tuple[float, int]:
    scale = max(0.4, min(frame.shape[:2]) / 700)
    return scale, max(1, round(2 * scale))


def _thickness(frame: Frame) -> int:
    return max(1, int(min(frame.shape[:2])) // 300)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
