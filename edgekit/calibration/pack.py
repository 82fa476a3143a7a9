"""Count the values of several large tensors in one call of OpenCV."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.tally import SIDE, Piece

# OpenCV counts in float32, exact up to 2**24.
_BLOCK = 1 << 20
# From 65,536 values on OpenCV 5.0 takes 0.35 ns for each, below that 0.75 (AMD EPYC), and each
# call 15 us beside: the fuller, the better, as long as the places stay in the core's cache.
_FULL = 1 << 18
# A place has 16 bits.
_MOST_BINS = (1 << 16) - 1
# A block is scaled piece by piece, so that the pieces stay in the core's cache.
_PIECE = 1 << 16
# Neighbours count in bins of their own: a run of zeros, as Relu leaves them, would wait for
# one counter at every value (0.9 against 0.5 and 0.35 ns with two and four lanes). From these
# sizes on that saves more than the bins cost.
_TWO_LANES_FROM, _FOUR_LANES_FROM = 1 << 14, 1 << 18


class _Entry(NamedTuple):
    """A block of a tensor's values among those of others.

    Args:
        row: The tensor's place.
        first: Its lowest bin, seen from 0.
        bins: How many it uses.
        width: How many it takes up, with those of further lanes.
        lanes: In how many lanes of SIDE bins its values count in turns.
    """

    row: int
    first: int
    bins: int
    width: int
    lanes: int


class Pack:
    """Blocks of values whose bins lie side by side.

    Attributes:
        pieces: What was counted since ``clear``.
    """

    def __init__(self) -> None:
        self._scaled = np.empty(_PIECE, np.float32)
        self._places = np.empty(_FULL + _BLOCK, np.uint16)
        # What each value's place is moved by, for so many lanes.
        self._moves = {
            lanes: np.tile(SIDE * np.arange(lanes, dtype=np.uint16), _PIECE // lanes)
            for lanes in (2, 4)
        }
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.pieces: list[Piece] = []
        self._drop()

    def add(
        self, values: NDArray[np.float32], row: int, *, low: float, high: float, exponent: int
    ) -> None:
        """Take a tensor's values.

        Args:
            values: Shape (elements,), finite.
            row: The tensor's place.
            low: Smallest value.
            high: Largest.
            exponent: Bins are ``2 ** exponent`` wide, and SIDE of them hold each side.
        """
        scale = math.ldexp(1.0, -exponent)
        first = math.floor(low * scale)
        bins = math.floor(high * scale) + 1 - first
        lanes = _lanes_for(values.size) if low == 0 else 1
        entry = _Entry(row, first, bins, bins + (lanes - 1) * SIDE, lanes)
        for start in range(0, values.size, _BLOCK):
            if self._bins + entry.width > _MOST_BINS:
                self.flush()
            block = values[start : start + _BLOCK]
            self._place(block, entry, np.float32(scale))
            self._entries.append(entry)
            self._bins += entry.width
            self._used += block.size
            if self._used >= _FULL:
                self.flush()

    def flush(self) -> None:
        """Count what was taken."""
        if not self._entries:
            return
        picture: Any = self._places[: self._used].reshape(1, -1)
        found = cv2.calcHist([picture], [0], None, [self._bins], [0, self._bins])
        counts = found.reshape(-1).astype(np.int64)
        for entry in self._entries:
            own, counts = counts[: entry.width], counts[entry.width :]
            if entry.lanes > 1:
                own = sum(
                    (own[lane * SIDE :][: entry.bins] for lane in range(1, entry.lanes)),
                    own[: entry.bins],
                )
            self.pieces.append(Piece(entry.row, entry.first + SIDE, own))
        self._drop()

    def _drop(self) -> None:
        self._entries: list[_Entry] = []
        self._used = self._bins = 0

    def _place(self, block: NDArray[np.float32], entry: _Entry, scale: np.float32) -> None:
        """Write each value's bin behind those that are there."""
        unsigned = self._places[self._used : self._used + block.size]
        # Converting a negative number is defined to signed types only.
        signed = unsigned.view(np.int16)
        shift = np.uint16((self._bins - entry.first) % (1 << 16))
        for start in range(0, block.size, _PIECE):
            part = slice(start, start + _PIECE)
            values, places = block[part], unsigned[part]
            if entry.first >= 0:
                # Truncation is floor where nothing is negative.
                np.multiply(values, scale, out=signed[part], casting="unsafe")
            else:
                scaled = np.multiply(values, scale, out=self._scaled[: values.size])
                np.floor(scaled, out=signed[part], casting="unsafe")
            np.add(places, shift, out=places)
            if entry.lanes > 1:
                np.add(places, self._moves[entry.lanes][: values.size], out=places)


def _lanes_for(size: int) -> int:
    if size < _TWO_LANES_FROM:
        return 1
    return 2 if size < _FOUR_LANES_FROM else 4
