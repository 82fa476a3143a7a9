"""Is the right class the best one, or among the best?"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.errors import InputError, UsageError
from edgekit.metrics.base import MeanMetric


class TopK(MeanMetric):
    """Share of samples whose class is among the ``k`` with the highest scores.

    A sample is a vector of scores, any shape that flattens to (classes,), and a class from
    0. Of equal scores the lower class ranks first, as in ONNX TopK-11; scores that hold a NaN
    are wrong.

    Args:
        k: How many classes may be named, at least 1.

    Raises:
        UsageError: ``k`` is below 1.

    Source: Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge",
        section 4.1 (top-5 error).
    """

    kind = "scores"

    def __init__(self, k: int = 5) -> None:
        super().__init__()
        if k < 1:
            raise UsageError(f"k is {k}; at least 1 is needed")
        self.k = k

    def _score(self, actual: Any, expected: Any) -> float:
        scores, label = np.asarray(actual).reshape(-1), int(expected)
        if not 0 <= label < scores.size:
            raise InputError(
                f"label {label} is none of the model's {scores.size} classes, counted from 0; "
                "check the labels, or which output holds the scores"
            )
        if scores.dtype.kind == "f" and np.isnan(scores).any():
            return 0.0
        own = scores[label]
        better = int((scores > own).sum()) + int((scores[:label] == own).sum())
        return float(better < self.k)


class Top1(TopK):
    """Share of samples whose class has the highest score; ties as for ``TopK``."""

    def __init__(self) -> None:
        super().__init__(1)
