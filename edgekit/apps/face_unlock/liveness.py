"""Tell a face from a picture of one, printed or on a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.apps.vision.model import FrameModel, open_frame_model
from edgekit.errors import InputError, UsageError

Frame = NDArray[np.uint8]

LIVE_LABEL = "live"
DEFAULT_SCALE = 2.7
_SUM_SLACK = 1e-3


@dataclass(frozen=True)
class LivenessModel:
    """A classifier of the face with what is around it.

    Args:
        model: With one label called ``live``.
        scale: Side of what it looks at, in sides of the face's box.
    """

    model: FrameModel
    scale: float

    def __post_init__(self) -> None:
        if not 1 <= self.scale <= 10:
            raise UsageError(f"liveness scale {self.scale}; expected 1 to 10, such as 2.7")
        if self.model.labels.count(LIVE_LABEL) != 1:
            labels = ", ".join(self.model.labels) or "none"
            raise UsageError(
                f"{self.model.name} has the labels {labels}; one must be {LIVE_LABEL!r}: convert "
                "it with --labels"
            )

    def chance(self, frame: Frame, box_xyxy: NDArray[Any]) -> float:
        """Return how sure the model is that the face is live, in 0..1.

        Args:
            frame: uint8, (height, width, 3), blue first.
            box_xyxy: Of the face, shape (4,), in pixels of the frame.

        Raises:
            InputError: The model's answer is not one score for each label.
        """
        outputs = self.model.run(cut_around(frame, box_xyxy, self.scale))
        scores = np.concatenate(
            [np.asarray(output, np.float64).ravel() for output in outputs.values()]
        )
        if len(scores) != len(self.model.labels) or not np.isfinite(scores).all():
            raise InputError(
                f"{self.model.name} gives {len(scores)} numbers for {len(self.model.labels)} "
                "labels; a finite score for each is expected"
            )
        return float(_as_chances(scores)[self.model.labels.index(LIVE_LABEL)])


def live_chance(models: Sequence[LivenessModel], frame: Frame, box_xyxy: NDArray[Any]) -> float:
    """Return the mean of what the models say, in 0..1.

    Source: minivision-ai, "Silent-Face-Anti-Spoofing", test.py, which adds up its models.
    """
    return float(np.mean([model.chance(frame, box_xyxy) for model in models]))


def cut_around(frame: Frame, box_xyxy: NDArray[Any], scale: float) -> Frame:
    """Return the face with what is around it, moved into the frame where it would leave it.

    Args:
        frame: uint8, (height, width, 3).
        box_xyxy: Shape (4,), in pixels of the frame.
        scale: Of both sides; less where the frame is too small for it.

    Source: minivision-ai, "Silent-Face-Anti-Spoofing", src/generate_patches.py.
    """
    box = np.asarray(box_xyxy, np.float64)
    size = np.maximum(box[2:] - box[:2], 1.0)
    room = np.array([frame.shape[1], frame.shape[0]], np.float64)
    size *= min(scale, *((room - 1) / size))
    corner = np.clip((box[:2] + box[2:]) / 2 - size / 2, 0, room - size)
    left, top = corner.astype(int)
    right, bottom = np.maximum((corner + size).astype(int), (left + 1, top + 1))
    return np.ascontiguousarray(frame[top:bottom, left:right])


def open_liveness(text: str, *, device: str, threads: int | None) -> LivenessModel:
    """Return the open model of ``[SCALE=]FILE``.

    Raises:
        UsageError: The scale is out of range, or the bundle has no label ``live``.
    """
    head, separator, tail = text.partition("=")
    scale = _number(head) if separator else None
    path = Path(text if scale is None else tail)
    model = open_frame_model(path, device=device, threads=threads)
    try:
        return LivenessModel(model, DEFAULT_SCALE if scale is None else scale)
    except UsageError:
        model.session.close()
        raise


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # a "=" in the file's own name
        return None


def _as_chances(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax of logits; what already is a distribution stays."""
    if (scores >= 0).all() and abs(scores.sum() - 1) < _SUM_SLACK:
        return scores
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())
