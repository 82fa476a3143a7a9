"""Find faces, judge whether one is fit to be known, and turn it into a vector."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.apps.vision.align import fit_similarity, warp
from edgekit.apps.vision.model import FrameModel
from edgekit.errors import InputError, UsageError
from edgekit.metrics.boxes import overlaps, suppress
from edgekit.runtimes.decoders.yunet import decode_faces

Frame = NDArray[np.uint8]
Float64 = NDArray[np.float64]
Vector = NDArray[np.float32]

TEMPLATE = np.array(
    [(38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20)]
)
"""Where face embedders expect the right eye, left eye, nose and mouth corners, in 112 x 112.

Source: InsightFace, python-package/insightface/utils/face_align.py, ``arcface_dst``."""

TEMPLATE_SIDE = 112
MIN_SCORE = 0.6
MAX_OVERLAP = 0.3  # as OpenCV's FaceDetectorYN
MAX_INSIDE = 0.6
"""Part of a box inside a larger one, from which it is that face once more."""

_SECOND = [
    np.array(rows, np.float64)
    for rows in (
        [[0, 0, 0], [1, -2, 1], [0, 0, 0]],
        [[0, 1, 0], [0, -2, 0], [0, 1, 0]],
        [[1, 0, 0], [0, -2, 0], [0, 0, 1]],
        [[0, 0, 1], [0, -2, 0], [1, 0, 0]],
    )
]


@dataclass(frozen=True)
class Face:
    """A face in a frame.

    Args:
        box_xyxy: Shape (4,), in pixels of the frame; it may reach outside.
        landmarks_xy: Shape (5, 2): right eye, left eye, nose, right and left mouth corner.
        score: How sure the detector is, in 0..1.
    """

    box_xyxy: Float64
    landmarks_xy: Float64
    score: float

    @property
    def eye_distance(self) -> float:
        """Pixels of the frame between the eyes."""
        return float(np.hypot(*(self.landmarks_xy[0] - self.landmarks_xy[1])))


def find_faces(detector: FrameModel, frame: Frame) -> list[Face]:
    """Return the faces of a frame, the largest first.

    Args:
        detector: A YuNet, or a model with its heads.
        frame: uint8, (height, width, 3), blue first.

    Raises:
        InputError: The model has other outputs.
    """
    rows = decode_faces(detector.run(frame), detector.size_hw)
    rows = suppress(rows[rows[:, 4] >= MIN_SCORE], iou=MAX_OVERLAP, max_boxes=100)
    geometry = detector.place(frame)
    faces = [
        Face(
            geometry.to_frame(row[:4]),
            geometry.to_frame(row[6:]).reshape(5, 2),
            float(row[4]),
        )
        for row in rows
    ]
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.eye_distance):
        larger = np.array([other.box_xyxy for other in kept]).reshape(-1, 4)
        if not (overlaps(face.box_xyxy[None], larger, of_first=True) > MAX_INSIDE).any():
            kept.append(face)
    return kept


def align_face(frame: Frame, face: Face, side: int = TEMPLATE_SIDE) -> Frame:
    """Return the face upright in a square, its landmarks on the template."""
    matrix = fit_similarity(face.landmarks_xy, TEMPLATE * (side / TEMPLATE_SIDE))
    return warp(frame, matrix, side)


def sharpness(aligned: Frame) -> float:
    """Return how much of an aligned face's contrast is between neighbouring pixels.

    The variance of the second derivative, a measure of focus, over that of the grey levels, so
    that a dim picture is not taken for a blurred one; of four directions the worst, so that a
    blur by motion shows too.

    Source: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy", for the
        variance of the Laplacian, which is split into its directions here.
    """
    grey = cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY).astype(np.float64)
    spread = float(grey.var())
    if spread <= 0:
        return 0.0
    return min(float(cv2.filter2D(grey, -1, kernel).var()) for kernel in _SECOND) / spread


def embed_face(embedder: FrameModel, aligned: Frame) -> Vector:
    """Return the face's direction: float32, of length 1.

    Args:
        embedder: A model with one output.
        aligned: Of the model's size.

    Raises:
        InputError: The model's answer has no direction, or it has several outputs.
    """
    outputs = embedder.run(aligned)
    if len(outputs) != 1:
        raise InputError(f"{embedder.name} has the outputs {', '.join(outputs)}; one is expected")
    (output,) = outputs.values()
    vector = np.asarray(output, np.float64).reshape(-1)
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm == 0:
        raise InputError(f"{embedder.name} gives a vector of length {norm} for a face")
    return (vector / norm).astype(np.float32)


def side_of(embedder: FrameModel) -> int:
    """Return the side of the square that an embedder takes.

    Raises:
        UsageError: It takes no square.
    """
    height, width = embedder.size_hw
    if height != width:
        raise UsageError(
            f"{embedder.name} takes {height} x {width}; a face embedder takes a square, of "
            f"{TEMPLATE_SIDE} usually"
        )
    return height
