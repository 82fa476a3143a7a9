"""The clipping that makes the smallest squared error of rounding and clipping together.

Source: Choukroun et al. 2019, "Low-bit quantization of neural networks for efficient
inference", section 3; here over both ends of an asymmetric range at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.observers.bins import LEVELS, Bins, Vector, bins_of, error_of
from edgekit.calibration.observers.minmax import minmax
from edgekit.ranges import Range, Statistics

# Parts of the full width that are tried: even steps, and small ones for far outliers.
_PARTS = np.concatenate([np.geomspace(1 / 2048, 0.08, 16), np.linspace(0.1, 1.0, 91)])
_FINALISTS = 8


def mse(statistics: Statistics) -> Range:
    """Return the range of least expected squared error in 8 bits; never worse than minmax."""
    everything = minmax(statistics)
    bins = bins_of(statistics)
    candidates = [everything, *_shortlist(bins, everything)]
    errors = [error_of(bins, each) for each in candidates]
    best = candidates[int(np.argmin(errors))]
    return Range(best.low, best.high, "mse")


def _shortlist(bins: Bins, everything: Range) -> list[Range]:
    """Return the best ranges of a grid, with rounding taken as step ** 2 / 12.

    Every pair of ends is judged at once: the squared errors of what is clipped follow from
    running sums of counts, values and squares.
    """
    lows, highs = _edges(bins, 0), _edges(bins, bins.counts.size)
    below, above = _clip_low(bins, lows), _clip_high(bins, highs)
    counted = np.concatenate([[0.0], np.cumsum(bins.counts)])
    # (lows, highs)
    inside = counted[highs] - counted[lows][:, None]
    steps = (bins.edges[highs] - bins.edges[lows][:, None]) / (LEVELS - 1)
    errors = below[:, None] + above + inside * np.square(steps) / 12
    errors[steps <= 0] = np.inf
    order = np.argsort(errors, axis=None)[:_FINALISTS]
    rows, columns = np.unravel_index(order, errors.shape)
    return [
        Range(
            max(float(bins.edges[lows[row]]), everything.low),
            min(float(bins.edges[highs[column]]), everything.high),
            "mse",
        )
        for row, column in zip(rows, columns, strict=True)
        if np.isfinite(errors[row, column])
    ]


def _edges(bins: Bins, outermost: int) -> NDArray[np.int64]:
    """Return the edges to try between 0 and the outermost one."""
    ends = np.rint(bins.zero + (outermost - bins.zero) * _PARTS)
    return np.unique(ends.astype(np.int64))


def _clip_high(bins: Bins, ends: NDArray[np.int64]) -> Vector:
    """Return the summed squared distance of what lies above each end."""
    values = bins.centres
    counts, firsts, squares = (
        np.concatenate([np.cumsum(part[::-1])[::-1], [0.0]])[ends]
        for part in (bins.counts, bins.counts * values, bins.counts * np.square(values))
    )
    limits = bins.edges[ends]
    errors: Vector = squares - 2 * limits * firsts + np.square(limits) * counts
    return np.maximum(errors, 0.0)


def _clip_low(bins: Bins, ends: NDArray[np.int64]) -> Vector:
    """Return the summed squared distance of what lies below each end."""
    mirrored = Bins(-bins.edges[::-1], bins.counts[::-1], bins.counts.size - bins.zero, bins.zeros)
    return _clip_high(mirrored, bins.counts.size - ends)
