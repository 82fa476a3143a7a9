"""Count every value of a tensor while samples stream by, in constant memory.

The bins are all as wide as one power of two and lie on a grid through 0. A value that does
not fit doubles the width, and pairs of bins become one. Scaling by a power of two is exact,
so the counts are a function of the values alone: the order of the samples, a restart in
between, or counting in two parts and merging them change no count.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.errors import CalibrationError
from edgekit.graph import Array
from edgekit.ranges import Histogram, Statistics

SIDE = 2048
"""Bins on each side of 0; the larger side uses more than half of its own."""
BINS = 2 * SIDE
_SIDE_BITS = 11
# Below 2**-88 everything counts as 0: narrower bins would overflow float32 on scaling.
_MIN_EXPONENT = -100

# A block is counted at once: OpenCV counts in float32, exact up to 2**24.
_BLOCK = 1 << 20
# It is scaled piece by piece, so that the pieces stay in the core's cache.
_PIECE = 1 << 15
# From this size on two lanes of bins cost less than they save.
_LANES_FROM = 1 << 15


class Scratch:
    """Buffers that all tallies of one pass share."""

    def __init__(self) -> None:
        self.scaled = np.empty(_PIECE, np.float32)
        self.indices = np.empty(_BLOCK, np.int16)
        # Neighbours count in bins of their own: a run of zeros, as Relu leaves them, would
        # wait for one counter at every element (1.4 against 0.95 ns, OpenCV 5.0).
        self.lanes = np.tile(np.array([0, BINS], np.int16), _BLOCK // 2)


class Tally:
    """What was seen of one tensor so far.

    Attributes:
        count: Elements.
        samples: Calls of ``add`` that had elements.
        minimum, maximum: Over all elements.
        sum_minimum, sum_maximum: Sums over the samples of each sample's own.
        exponent: Bins are ``2 ** exponent`` wide.
        counts: int64, shape (BINS,); bin ``i`` starts at ``(i - SIDE) * 2 ** exponent``.
    """

    def __init__(self) -> None:
        self.count = 0
        self.samples = 0
        self.minimum, self.maximum = math.inf, -math.inf
        self.sum_minimum = self.sum_maximum = 0.0
        self.exponent = _MIN_EXPONENT
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)

    def add(self, array: Array, scratch: Scratch) -> None:
        """Count one sample's tensor.

        Args:
            array: Any float dtype and shape.
            scratch: Buffers to work in.

        Raises:
            CalibrationError: It holds NaN or infinity.
        """
        flat = array.reshape(-1)
        if flat.dtype != np.float32:
            flat = flat.astype(np.float32)
        if not flat.size:
            return
        low, high = self._add_block(flat[:_BLOCK], scratch)
        for start in range(_BLOCK, flat.size, _BLOCK):
            block_low, block_high = self._add_block(flat[start : start + _BLOCK], scratch)
            low, high = min(low, block_low), max(high, block_high)
        self.count += flat.size
        self.samples += 1
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self.sum_minimum += low
        self.sum_maximum += high

    def merged(self, other: Tally) -> Tally:
        """Return what one tally of both would have counted."""
        result = self.copy()
        result._widen(other.exponent)
        shifted = other.copy()
        shifted._widen(result.exponent)
        result.counts += shifted.counts
        result.count += other.count
        result.samples += other.samples
        result.minimum = min(self.minimum, other.minimum)
        result.maximum = max(self.maximum, other.maximum)
        result.sum_minimum += other.sum_minimum
        result.sum_maximum += other.sum_maximum
        return result

    def copy(self) -> Tally:
        """Return an independent copy."""
        result = Tally()
        result.__dict__.update(self.__dict__, counts=self.counts.copy())
        return result

    def statistics(self) -> Statistics:
        """Return the figures, with the empty bins at both ends left out.

        Raises:
            CalibrationError: No element was seen.
        """
        used = np.flatnonzero(self.counts)
        if not used.size:
            raise CalibrationError("no element was seen; give samples")
        first, last = int(used[0]), int(used[-1]) + 1
        width = math.ldexp(1.0, self.exponent)
        histogram = Histogram(
            low=(first - SIDE) * width,
            high=(last - SIDE) * width,
            counts=tuple(self.counts[first:last].tolist()),
        )
        return Statistics(
            count=self.count,
            minimum=self.minimum,
            maximum=self.maximum,
            mean_minimum=self.sum_minimum / self.samples,
            mean_maximum=self.sum_maximum / self.samples,
            histogram=histogram,
        )

    def _add_block(self, block: NDArray[np.float32], scratch: Scratch) -> tuple[float, float]:
        low, high = float(block.min()), float(block.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise CalibrationError("NaN or infinity")
        largest = max(-low, high)
        # m < 2**k by frexp, so that k - 11 is the smallest exponent whose 2048 bins hold it.
        self._widen(math.frexp(largest)[1] - _SIDE_BITS if largest else _MIN_EXPONENT)
        scale = np.float32(math.ldexp(1.0, -self.exponent))
        # Truncation is floor where nothing is negative.
        base = 0 if low >= 0 else SIDE
        indices = scratch.indices[: block.size]
        for start in range(0, block.size, _PIECE):
            piece = block[start : start + _PIECE]
            scaled = np.multiply(piece, scale, out=scratch.scaled[: piece.size])
            if base:
                # Whole numbers of 13 bits: the sum is exact.
                np.floor(scaled, out=scaled)
                np.add(scaled, np.float32(base), out=scaled)
            np.copyto(indices[start : start + piece.size], scaled, casting="unsafe")
        first = math.floor(low * float(scale))
        last = math.floor(high * float(scale)) + 1
        counted = _count(indices, first + base, last + base, scratch)
        self.counts[first + SIDE : last + SIDE] += counted
        return low, high

    def _widen(self, exponent: int) -> None:
        """Merge bins until they are ``2 ** exponent`` wide; never narrows them."""
        shift = exponent - self.exponent
        if shift <= 0:
            return
        self.exponent = exponent
        if self.count == 0 and not self.counts.any():
            return
        step = 1 << min(shift, _SIDE_BITS)
        # (BINS,) -> (BINS / step, step): floor division keeps each side of 0 to itself.
        merged = self.counts.reshape(-1, step).sum(axis=1)
        start = SIDE - SIDE // step
        self.counts[:] = 0
        self.counts[start : start + merged.size] = merged


def _count(
    indices: NDArray[np.int16], first: int, last: int, scratch: Scratch
) -> NDArray[np.int64]:
    """Return how often each of ``first..last-1`` is there; the indices may be changed."""
    bins = last - first
    if bins == 1:
        return np.array([indices.size], np.int64)
    if indices.size < _LANES_FROM:
        return _histogram(indices, first, bins)
    np.add(indices, scratch.lanes[: indices.size], out=indices)
    found = _histogram(indices, first, bins + BINS)
    counts: NDArray[np.int64] = found[:bins] + found[BINS:]
    return counts


def _histogram(indices: NDArray[np.int16], first: int, bins: int) -> NDArray[np.int64]:
    picture: Any = indices.view(np.uint16).reshape(1, -1)
    # Several times as fast as numpy.bincount, which first makes int64 of its argument.
    found = cv2.calcHist([picture], [0], None, [bins], [first, first + bins])
    counts: NDArray[np.int64] = found.reshape(-1).astype(np.int64)
    return counts
