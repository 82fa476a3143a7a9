"""Count one sample's activations: large tensors by OpenCV, small ones all at once by numpy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.joins import Joins
from edgekit.calibration.pack import Pack
from edgekit.calibration.tally import (
    BINS,
    MIN_EXPONENT,
    SIDE,
    SIDE_BITS,
    Extents,
    Seen,
    Tallies,
)
from edgekit.errors import CalibrationError
from edgekit.graph import Array

Values = NDArray[np.float32]

# Tensors below this share each numpy call: calls of their own would cost more than they do.
_SMALL = 1 << 12


class Counter:
    """Counts samples, one at a time; holds the buffers to do it in.

    Args:
        names: Of the tensors, in the order of the tallies.
        joins: Those of them that need not be given, with the others that together hold
            their values; their counts are left out and follow at the end.

    Attributes:
        joins: The same by row.
    """

    def __init__(
        self, names: Sequence[str], joins: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._names = tuple(names)
        self.joins = Joins(names, joins or {})
        self._rows = {name: row for row, name in enumerate(names)}
        self._pack = Pack()

    def count(
        self, activations: Iterable[tuple[str, Array]], tallies: Tallies, *, origin: str
    ) -> Seen:
        """Return what one sample adds to the tallies, which stay as they are.

        Args:
            activations: Tensors by name, of any float dtype and shape; they keep their values
                until this returns. Those of other names are passed over.
            tallies: What was seen so far.
            origin: The sample's name, for the message.

        Raises:
            CalibrationError: A tensor holds NaN or infinity.
        """
        self._pack.clear()
        exponents = tallies.exponent.tolist()
        large: list[tuple[int, int, float, float, int]] = []
        small: list[tuple[int, Values]] = []
        for name, activation in activations:
            row = self._rows.get(name)
            if row is None or not activation.size:
                continue
            values = activation.reshape(-1).astype(np.float32, copy=False)
            if values.size < _SMALL:
                small.append((row, values))
                continue
            low, high = float(np.minimum.reduce(values)), float(np.maximum.reduce(values))
            if not (math.isfinite(low) and math.isfinite(high)):
                # A small one before it may be where it comes from.
                self._small(small, tallies, origin=origin)
                raise self._not_finite(row, origin)
            exponent = max(_exponent_for(max(-low, high)), exponents[row])
            self._pack.add(values, row, low=low, high=high, exponent=exponent)
            large.append((row, values.size, low, high, exponent))
        self._pack.flush()
        extents, places = self._small(small, tallies, origin=origin)
        every = self.joins.with_joined(Extents.of(large).joined(extents))
        return Seen(every, self._pack.pieces, places)

    def _small(
        self, tensors: Sequence[tuple[int, Values]], tallies: Tallies, *, origin: str
    ) -> tuple[Extents, NDArray[np.int64]]:
        """Return the extents of small tensors, and each value's place in the flat counts."""
        if not tensors:
            return Extents.of([]), np.zeros(0, np.int64)
        rows = np.array([row for row, _ in tensors])
        sizes = np.array([values.size for _, values in tensors])
        values = np.concatenate([values for _, values in tensors])
        starts = np.cumsum(sizes) - sizes
        lows = np.minimum.reduceat(values, starts)
        highs = np.maximum.reduceat(values, starts)
        bad = np.flatnonzero(~(np.isfinite(lows) & np.isfinite(highs)))
        if bad.size:
            raise self._not_finite(int(rows[bad[0]]), origin)
        exponents = np.maximum(_exponents_for(np.maximum(-lows, highs)), tallies.exponent[rows])
        scales = np.ldexp(np.float32(1), -exponents)
        places = np.floor(values * np.repeat(scales, sizes)).astype(np.int64)
        places += np.repeat(rows * BINS + SIDE, sizes)
        return Extents(rows, sizes, lows.astype(float), highs.astype(float), exponents), places

    def _not_finite(self, row: int, origin: str) -> CalibrationError:
        return CalibrationError(
            f"tensor {self._names[row]!r} holds NaN or infinity on sample {origin}; the float "
            "model itself fails there: check that sample and its preprocessing"
        )


def _exponent_for(largest: float) -> int:
    """Return the smallest exponent of bins that hold values up to this, seen from 0."""
    # m < 2**k by frexp, so that k - 11 is the smallest exponent whose 2048 bins hold it.
    return math.frexp(largest)[1] - SIDE_BITS if largest else MIN_EXPONENT


def _exponents_for(largest: Values) -> NDArray[np.int64]:
    """Return the same of many."""
    exponents: NDArray[np.int64] = np.where(
        largest > 0, np.frexp(largest)[1] - np.int64(SIDE_BITS), MIN_EXPONENT
    )
    return exponents
