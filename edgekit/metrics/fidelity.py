"""How close are a model's tensors to those of the float model?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.errors import ShapeError, UsageError
from edgekit.metrics.base import Array, MeanMetric
from edgekit.metrics.tensors import cosine

_MOST_DB = 100.0


class MeanCosine(MeanMetric):
    """Mean cosine between what the model gave and what is right; see ``tensors.cosine``.

    A sample is a tensor, or several by name, whose cosines are averaged.
    """

    kind = "tensor"

    def _score(self, actual: Any, expected: Any) -> float:
        one, right = _by_name(actual), _by_name(expected)
        if one.keys() != right.keys():
            raise ShapeError(f"outputs {', '.join(one)} against {', '.join(right)}")
        return float(np.mean([cosine(one[name], right[name]) for name in one]))


class MeanPsnr(MeanMetric):
    """Mean peak signal-to-noise ratio, ``10 log10(peak^2 / mean squared error)``, in dB.

    Equal pictures count as 100 dB, so that one of them does not hide all others; a NaN or
    infinity gives minus infinity.

    Args:
        peak: Largest possible value; 0 takes 255 for integers and 1 for floating point.

    Raises:
        UsageError: ``peak`` is negative.

    Source: Huynh-Thu and Ghanbari 2008, "Scope of validity of PSNR in image/video quality
        assessment", equation 1.
    """

    kind = "tensor"

    def __init__(self, peak: float = 0.0) -> None:
        super().__init__()
        if peak < 0 or not math.isfinite(peak):
            raise UsageError(f"peak is {peak}; the largest pixel value is expected, such as 255")
        self.peak = peak

    def _score(self, actual: Any, expected: Any) -> float:
        one, right = _only(actual), _only(expected)
        if one.shape != right.shape:
            raise ShapeError(f"a picture of {one.shape} against one of {right.shape}")
        peak = self.peak or (255.0 if right.dtype.kind in "iu" else 1.0)
        error = one.astype(np.float64) - right.astype(np.float64)
        mean_square = float(np.mean(error * error)) if error.size else 0.0
        if not math.isfinite(mean_square):
            return -math.inf
        if mean_square == 0:
            return _MOST_DB
        return min(_MOST_DB, 10 * math.log10(peak * peak / mean_square))


def _by_name(given: Any) -> dict[str, Array]:
    if isinstance(given, Mapping):
        return {str(name): np.asarray(value) for name, value in given.items()}
    return {"": np.asarray(given)}


def _only(given: Any) -> Array:
    tensors = _by_name(given)
    if len(tensors) != 1:
        raise UsageError(f"the outputs {', '.join(tensors)} are not one picture; say which counts")
    return next(iter(tensors.values()))
