"""What was seen of every tensor while samples stream by, in constant memory.

The bins are all as wide as one power of two and lie on a grid through 0. A value that does
not fit doubles the width, and pairs of bins become one. Scaling by a power of two is exact,
so the counts are a function of the values alone: the order of the samples or a restart in
between change no count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekit.ranges import Histogram, Statistics

SIDE = 2048
"""Bins on each side of 0; the larger side uses more than half of its own."""
BINS = 2 * SIDE
SIDE_BITS = 11
# Below 2**-88 everything counts as 0: narrower bins would overflow float32 on scaling.
MIN_EXPONENT = -100

ARRAYS = (
    "count",
    "samples",
    "minimum",
    "maximum",
    "sum_minimum",
    "sum_maximum",
    "exponent",
    "counts",
)
"""All that the tallies hold, by attribute."""


class Piece(NamedTuple):
    """Some values of one tensor, counted.

    Args:
        row: The tensor's place.
        first: Bin that ``counts`` starts at, 0 to BINS.
        counts: int64, shape (bins,).
    """

    row: int
    first: int
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Extents:
    """How far tensors reach on one sample; arrays of shape (tensors,).

    Args:
        rows: Places of the tensors, each once; int64.
        sizes: Elements of each, at least one.
        lows: Smallest element of each; float64.
        highs: Largest.
        exponents: Bins of each are ``2 ** exponent`` wide, not narrower than those so far.
    """

    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    exponents: NDArray[np.int64]

    @classmethod
    def of(cls, tensors: Sequence[tuple[int, int, float, float, int]]) -> Extents:
        """Return those of tensors one by one: row, size, low, high, exponent."""
        # Every whole number here is exact in float64.
        rows, sizes, lows, highs, exponents = np.array(tensors, np.float64).reshape(-1, 5).T
        return cls(
            rows.astype(np.int64), sizes.astype(np.int64), lows, highs, exponents.astype(np.int64)
        )

    def joined(self, other: Extents) -> Extents:
        """Return both, one after the other."""
        return Extents(
            *(
                np.concatenate([getattr(one, item.name) for one in (self, other)])
                for item in fields(self)
            )
        )

    def only(self, chosen: NDArray[np.bool_]) -> Extents:
        """Return those of some tensors."""
        return Extents(*(getattr(self, item.name)[chosen] for item in fields(self)))


@dataclass(frozen=True)
class Seen:
    """What one sample adds, complete before any of it is added.

    Args:
        extents: Of every tensor that has elements.
        pieces: Values that are counted already.
        places: The others, each as an index into the flat counts of all tensors.
    """

    extents: Extents
    pieces: Sequence[Piece]
    places: NDArray[np.int64]


class Tallies:
    """One row for each tensor.

    Attributes:
        names: Of the tensors.
        count: Elements; int64, shape (tensors,), as all but ``counts``.
        samples: Samples in which the tensor had elements.
        minimum, maximum: Over all elements; float64.
        sum_minimum, sum_maximum: Sums over the samples of each sample's own.
        exponent: Bins are ``2 ** exponent`` wide.
        counts: int64, shape (tensors, BINS); bin ``i`` starts at ``(i - SIDE) * 2 ** exponent``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        size = len(self.names)
        self.count = np.zeros(size, np.int64)
        self.samples = np.zeros(size, np.int64)
        self.minimum = np.full(size, math.inf)
        self.maximum = np.full(size, -math.inf)
        self.sum_minimum, self.sum_maximum = np.zeros(size), np.zeros(size)
        self.exponent = np.full(size, MIN_EXPONENT, np.int64)
        self.counts: NDArray[np.int64] = np.zeros((size, BINS), np.int64)

    def add(self, seen: Seen) -> None:
        """Add one sample."""
        extents, rows = seen.extents, seen.extents.rows
        wider = extents.exponents > self.exponent[rows]
        for row, exponent in zip(rows[wider], extents.exponents[wider], strict=True):
            self.counts[row] = _widened(self.counts[row], int(exponent - self.exponent[row]))
            self.exponent[row] = exponent
        for piece in seen.pieces:
            counts = self.counts[piece.row, piece.first : piece.first + piece.counts.size]
            np.add(counts, piece.counts, out=counts)
        np.add.at(self.counts.reshape(-1), seen.places, 1)
        self.count[rows] += extents.sizes
        self.samples[rows] += 1
        self.minimum[rows] = np.minimum(self.minimum[rows], extents.lows)
        self.maximum[rows] = np.maximum(self.maximum[rows], extents.highs)
        self.sum_minimum[rows] += extents.lows
        self.sum_maximum[rows] += extents.highs

    def copy(self) -> Tallies:
        """Return an independent copy."""
        result = Tallies(self.names)
        for name in ARRAYS:
            setattr(result, name, getattr(self, name).copy())
        return result

    def statistics(self, parts: Mapping[int, Sequence[int]] | None = None) -> dict[str, Statistics]:
        """Return the figures by tensor name; a tensor without elements is left out.

        Args:
            parts: By the row of a tensor that was never counted, the rows of those that
                together hold its values, each as often as it does.
        """
        known = parts or {}
        return {
            name: self._statistics_of(row, known.get(row, (row,)))
            for row, name in enumerate(self.names)
            if self.count[row]
        }

    def _statistics_of(self, row: int, parts: Sequence[int]) -> Statistics:
        """Return one tensor's figures, with the empty bins at both ends left out."""
        exponent = int(self.exponent[row])
        counts = np.zeros(BINS, np.int64)
        for part in parts:
            counts += _widened(self.counts[part], exponent - int(self.exponent[part]))
        used = np.flatnonzero(counts)
        first, last = int(used[0]), int(used[-1]) + 1
        width = math.ldexp(1.0, exponent)
        histogram = Histogram(
            low=(first - SIDE) * width,
            high=(last - SIDE) * width,
            counts=tuple(counts[first:last].tolist()),
        )
        samples = int(self.samples[row])
        return Statistics(
            count=int(self.count[row]),
            minimum=float(self.minimum[row]),
            maximum=float(self.maximum[row]),
            mean_minimum=float(self.sum_minimum[row]) / samples,
            mean_maximum=float(self.sum_maximum[row]) / samples,
            histogram=histogram,
        )


def _widened(counts: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    """Return counts in bins that are ``2 ** shift`` times as wide."""
    if shift == 0:
        return counts
    step = 1 << min(shift, SIDE_BITS)
    # (BINS,) -> (BINS / step, step): floor division keeps each side of 0 to itself.
    merged = counts.reshape(-1, step).sum(axis=1)
    start = SIDE - SIDE // step
    result = np.zeros(BINS, np.int64)
    result[start : start + merged.size] = merged
    return result
