"""Finds and aligns faces, so that a face network can be measured on photos.

The alignment is the usual one of face recognition: a similarity that brings five landmarks
closest to a template for 112 x 112 pictures (InsightFace's ``arcface_dst``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.metrics.boxes import suppress
from edgekit.preprocess import Preprocess
from edgekit.runtimes.decoders.yunet import decode_faces
from edgekit.runtimes.session import Session
from edgekit.runtimes.validation.sample import LabelledSample

Array = NDArray[Any]

TEMPLATE = np.array(
    [(38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20)]
)
SIZE = 112
DETECTOR = Preprocess.parse("letterbox-topleft,bgr")


def aligned_faces(
    detector: Session, folder: Path, *, enlarge: int = 1, step: int = 1
) -> Iterator[LabelledSample]:
    """Yield the best face of each photo, aligned, with its folder's name as identity."""
    for path in sorted(folder.glob("*/*"))[::step]:
        photo = cv2.imread(str(path))
        if photo is None:
            continue
        photo = cv2.resize(photo, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC)
        face = find_face(detector, photo)
        if face is not None:
            yield LabelledSample(path.name, {"data": align(photo, face)}, path.parent.name)


def find_face(detector: Session, photo: Array) -> Array | None:
    """Return the landmarks of the surest face, shape (5, 2), in pixels of the photo."""
    spec = detector.inputs[0]
    geometry = DETECTOR.place(photo.shape, spec)
    outputs = detector.run({spec.name: DETECTOR.apply(photo, spec)})
    faces = suppress(decode_faces(outputs, geometry.canvas_hw), iou=0.3, max_boxes=1)
    if not len(faces) or faces[0, 4] < 0.5:
        return None
    return geometry.to_frame(faces[0, 6:]).reshape(5, 2)


def align(photo: Array, landmarks: Array) -> Array:
    """Return the face upright in 112 x 112 pixels (Umeyama 1991: least squares, no mirror)."""
    source, target = landmarks - landmarks.mean(0), TEMPLATE - TEMPLATE.mean(0)
    # As complex numbers, a similarity is one factor.
    a, b = source @ [1, 1j], target @ [1, 1j]
    factor = (np.conj(a) @ b) / (np.conj(a) @ a)
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    shift = TEMPLATE.mean(0) - turn @ landmarks.mean(0)
    return np.asarray(cv2.warpAffine(photo, np.column_stack([turn, shift]), (SIZE, SIZE)))
