"""A histogram as the arrays that observers compute with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.ranges import Range, Statistics

Vector = NDArray[np.float64]

LEVELS = 256
"""Codes of an 8-bit tensor."""

_POINTS = 2
"""Points inside a bin at which the rounding error is taken."""


@dataclass(frozen=True)
class Bins:
    """Bins over at least the observed values and 0.

    Args:
        edges: Shape (n + 1,); one of them is 0, within rounding.
        counts: Shape (n,).
        zero: Index of the edge at 0.
        zeros: Elements taken to be exactly 0, not among ``counts``: what the bin above 0
            holds more than the fuller one of its neighbours (Relu leaves such a spike).
    """

    edges: Vector
    counts: Vector
    zero: int
    zeros: float

    @property
    def width(self) -> float:
        """Of each bin."""
        return float(self.edges[1] - self.edges[0])

    @property
    def centres(self) -> Vector:
        """Shape (n,)."""
        return (self.edges[1:] + self.edges[:-1]) / 2


def bins_of(statistics: Statistics) -> Bins:
    """Return the histogram, extended to 0 where it lies on one side of it."""
    histogram = statistics.histogram
    counts: Vector = np.array(histogram.counts, np.float64)
    width = (histogram.high - histogram.low) / counts.size
    first = round(histogram.low / width)
    before, after = max(first, 0), max(-(first + counts.size), 0)
    counts = np.concatenate([np.zeros(before), counts, np.zeros(after)])
    zero = max(-first, 0) if first < 0 else 0
    edges: Vector = (np.arange(counts.size + 1, dtype=np.float64) - zero) * width
    zeros = _spike(counts, zero)
    if zeros:
        counts[zero] -= zeros
    return Bins(edges, counts, zero, zeros)


def quantize(values: Vector, chosen: Range) -> Vector:
    """Return the values after 8-bit quantization in the range and back.

    Source: the code that all targets share: scale = (high - low) / 255, zero point =
    round(-128 - low / scale), as ONNX QuantizeLinear-19 rounds.
    """
    scale = (chosen.high - chosen.low) / (LEVELS - 1)
    # A range so narrow that its step underflows stores nothing but 0.
    if scale <= np.finfo(np.float32).tiny:
        return np.zeros_like(values)
    zero_point = np.clip(np.rint(-LEVELS / 2 - chosen.low / scale), -128, 127)
    codes = np.clip(np.rint(values / scale) + zero_point, -128, 127)
    quantized: Vector = (codes - zero_point) * scale
    return quantized


def expected_error(statistics: Statistics, chosen: Range) -> float:
    """Return the mean squared error that 8 bits in this range make, by the histogram.

    Clipping and rounding together, in the tensor's own units squared; values are taken as
    evenly spread inside a bin, but for those that are exactly 0.
    """
    return error_of(bins_of(statistics), chosen)


def error_of(bins: Bins, chosen: Range) -> float:
    """Return ``expected_error`` for a histogram that is already an array."""
    offsets = (np.arange(_POINTS) + 0.5) / _POINTS * bins.width
    # (n, 1) + (points,) -> (n, points)
    values = bins.edges[:-1, None] + offsets
    squared = np.square(values - quantize(values, chosen)).mean(axis=1)
    total = bins.counts.sum() + bins.zeros
    return float(bins.counts @ squared / total)


def _spike(counts: Vector, zero: int) -> float:
    if zero >= counts.size:
        return 0.0
    beside = [counts[index] for index in (zero - 1, zero + 1) if 0 <= index < counts.size]
    return float(max(counts[zero] - max(beside, default=0.0), 0.0))
