"""Draw what was seen onto the frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.apps.face_unlock.recognise import View
from edgekit.apps.vision.draw import AMBER, GREEN, GREY, RED, draw_banner, draw_box, draw_points

Frame = NDArray[np.uint8]


def draw_view(frame: Frame, view: View, *, banner: str = "", is_open: bool = False) -> Frame:
    """Return a copy of the frame with its faces, who it is, and a line below.

    Args:
        frame: uint8, (height, width, 3), blue first.
        view: What was made of it.
        banner: The line; ``""`` is the view's verdict.
        is_open: Whether the lock is open, which makes the line green.
    """
    drawn: Frame = frame.copy()
    colour = GREEN if view.is_known else RED if view.cosine is not None else AMBER
    for face in view.faces[1:]:
        draw_box(drawn, face.box_xyxy, "", GREY)
    for face in view.faces[:1]:
        draw_box(drawn, face.box_xyxy, _caption(view), colour)
        draw_points(drawn, face.landmarks_xy, colour)
    draw_banner(drawn, banner or view.verdict, GREEN if is_open or view.is_known else colour)
    return drawn


def _caption(view: View) -> str:
    parts = []
    if view.cosine is not None:
        parts.append(f"{view.name} {view.cosine:.2f}")
    if view.live is not None:
        parts.append(f"live {view.live:.2f}")
    return ", ".join(parts)
