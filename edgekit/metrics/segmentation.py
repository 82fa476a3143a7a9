"""Which share of each class's pixels is right?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.metrics.base import Counts, Metric

_MAX_CLASSES = 4096


class MeanIoU(Metric):
    """Mean over the classes of true positives / (true positives + false ones + missed ones).

    Pixels of all samples are counted together, per class; a class that nobody has and nobody
    finds is left out of the mean. A sample is scores (classes, height, width), whose best
    class counts, or a map of classes (height, width); its label is a map (height, width).

    Args:
        ignore: Pixels with this label do not exist; usually void, such as 255.
        uncounted: Classes left out of the mean. Their pixels still count as false ones of
            whatever class is found there, as in the benchmarks that keep a void class.

    Source: Everingham et al. 2015, "The PASCAL Visual Object Classes Challenge: A
        Retrospective", section 3.4 (segmentation accuracy).
    """

    kind = "map"

    def __init__(self, ignore: int | None = None, uncounted: tuple[int, ...] = ()) -> None:
        self.ignore = ignore
        self.uncounted = uncounted
        self._pixels: list[NDArray[np.int64]] = []

    @property
    def count(self) -> int:
        """How many samples were added."""
        return len(self._pixels)

    def scores(self) -> tuple[float, ...]:
        """Return each picture's own mean over the classes that are in it or found in it."""
        return tuple(self._mean(pixels) for pixels in self._pixels)

    def per_class(self, counts: Counts | None = None) -> NDArray[np.float64]:
        """Return each class's figure, shape (classes,); NaN where it is nowhere."""
        weights = np.ones(self.count, np.int64) if counts is None else counts
        classes = max((pixels.shape[1] for pixels in self._pixels), default=0)
        total = np.zeros((2, classes), np.int64)
        for pixels, weight in zip(self._pixels, weights, strict=True):
            total[:, : pixels.shape[1]] += weight * pixels
        return _ratio(total)

    def _add(self, actual: Any, expected: Any) -> None:
        label = np.asarray(expected)
        found = class_map(np.asarray(actual))
        if found.shape != label.shape:
            raise InputError(
                f"a map of {found.shape} against a mask of {label.shape}; "
                "both need the same height and width"
            )
        if self.ignore is not None:
            kept = label != self.ignore
            found, label = found[kept], label[kept]
        self._pixels.append(_count_pixels(found.ravel(), label.ravel()))

    def _value(self, counts: Counts) -> float:
        return self._mean_of(self.per_class(counts))

    def _mean(self, pixels: NDArray[np.int64]) -> float:
        return self._mean_of(_ratio(pixels))

    def _mean_of(self, ratios: NDArray[np.float64]) -> float:
        counted = np.isfinite(ratios)
        counted[[index for index in self.uncounted if index < ratios.size]] = False
        return float(ratios[counted].mean()) if counted.any() else float("nan")


def class_map(scores: NDArray[Any]) -> NDArray[Any]:
    """Return the best class of each pixel, (height, width); maps pass as they are.

    Raises:
        InputError: It is neither scores (classes, height, width) nor a map of integers.
    """
    while scores.ndim > 3 and scores.shape[0] == 1:
        scores = scores[0]
    if scores.ndim == 3 and scores.shape[0] > 1:
        return np.asarray(scores.argmax(axis=0))
    if scores.ndim == 3:
        scores = scores[0]
    if scores.ndim != 2 or scores.dtype.kind not in "iu":
        raise InputError(
            f"an output of {scores.dtype} {scores.shape} is neither scores (classes, height, "
            "width) nor an integer map (height, width)"
        )
    return scores


def _count_pixels(found: NDArray[Any], label: NDArray[Any]) -> NDArray[np.int64]:
    """Return intersection and union of each class, shape (2, classes)."""
    if not label.size:
        return np.zeros((2, 0), np.int64)
    low, classes = min(found.min(), label.min()), int(max(found.max(), label.max())) + 1
    if low < 0 or classes > _MAX_CLASSES:
        raise InputError(
            f"a map holds classes {low} to {classes - 1}; 0 to {_MAX_CLASSES - 1} are expected: "
            "set the label to ignore"
        )
    both = np.bincount(label[found == label], minlength=classes)
    either = np.bincount(found, minlength=classes) + np.bincount(label, minlength=classes) - both
    return np.stack([both, either]).astype(np.int64)


def _ratio(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    both, either = pixels.astype(np.float64)
    return np.asarray(np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0))
