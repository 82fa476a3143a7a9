"""Leave out a fixed part of the values, half of it at each end."""

from __future__ import annotations

import numpy as np

from edgekit.calibration.observers.bins import Vector
from edgekit.ranges import Range, Statistics

KEPT_PERCENT = 99.99
"""NVIDIA's choice for int8 activations: Wu et al. 2020, "Integer quantization for deep
learning inference", table 5."""


def percentile(statistics: Statistics, *, kept_percent: float = KEPT_PERCENT) -> Range:
    """Return the range that keeps this part of the values.

    Args:
        statistics: Of the tensor.
        kept_percent: In (0, 100].

    Source: as onnxruntime.quantization's Percentile: (100 - kept) / 2 percent go at each
    end; inside a bin the values are taken as evenly spread.
    """
    histogram = statistics.histogram
    counts = np.array(histogram.counts, np.float64)
    edges: Vector = np.linspace(histogram.low, histogram.high, counts.size + 1)
    below = np.concatenate([[0.0], np.cumsum(counts)])
    cut = statistics.count * (100 - kept_percent) / 200
    # The first edge with at least that much below it, and the bin before, by proportion.
    low = float(np.interp(cut, below, edges)) if cut else statistics.minimum
    high = float(np.interp(below[-1] - cut, below, edges)) if cut else statistics.maximum
    low, high = max(low, statistics.minimum), min(high, statistics.maximum)
    return Range(min(low, 0.0), max(high, 0.0), "percentile")
