"""Pictures in files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError, UsageError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm")

Frame = NDArray[np.uint8]


def read_frame(path: Path) -> Frame:
    """Return a picture as a camera gives it: uint8, (height, width, 3), blue first, upright.

    Raises:
        UsageError: There is no such file.
        InputError: OpenCV cannot read it.
    """
    if not path.is_file():
        raise UsageError(f"{path} is not a file; check the path of the picture")
    frame: Frame | None = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if frame is None:
        raise InputError(f"{path} is not a picture that can be read; expected a JPEG or PNG file")
    return frame


def write_frame(path: Path, frame: Frame) -> None:
    """Write a picture, beside its final name first.

    Raises:
        UsageError: Its suffix is not that of a picture, or it cannot be written there.
    """
    if path.suffix.lower() not in PICTURES:
        raise UsageError(f"{path} is no name of a picture; expected one of {', '.join(PICTURES)}")
    _, data = cv2.imencode(path.suffix, frame)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(data.tobytes())
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
