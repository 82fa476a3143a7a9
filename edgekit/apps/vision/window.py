"""A window, where there is a display and an OpenCV that can open one."""

from __future__ import annotations

import os
import re
import sys
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

_QUIT = (ord("q"), 27)  # q, Esc


def why_no_window() -> str:
    """Return why no window can be shown here, or ``""``.

    Without a display, a window of Qt ends the process; so that is asked first.
    """
    found = re.search(r"^\s*GUI:\s+(\S+)", cv2.getBuildInformation(), re.M)
    if found is None or found[1] == "NONE":
        return (
            f"OpenCV {cv2.__version__} is built without windows (opencv-python and "
            "JetPack's have them)"
        )
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not has_display:
        return "there is no display (DISPLAY is not set)"
    return ""


class Window:
    """Shows frames under one title until it is left; q or Esc ends.

    Args:
        title: Of the window.
    """

    def __init__(self, title: str) -> None:
        self._title = title

    def show(self, frame: NDArray[np.uint8]) -> bool:
        """Show a frame; return whether the person wants to end."""
        cv2.imshow(self._title, frame)
        return (cv2.waitKey(1) & 0xFF) in _QUIT

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        cv2.destroyAllWindows()
