"""Tensors that hold all values of others, as Concat's results do: they need not be looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from edgekit.calibration.tally import Extents


class Joins:
    """Which rows of the tallies follow from which others.

    Args:
        names: Of all tensors, in the order of the tallies.
        parts: By a joined tensor's name, the tensors that make it up, each as often as it
            holds their values; none of them is joined itself.

    Attributes:
        parts: The same by row.
    """

    def __init__(self, names: Sequence[str], parts: Mapping[str, Sequence[str]]) -> None:
        row_of = {name: row for row, name in enumerate(names)}
        self.parts = {
            row_of[name]: [row_of[part] for part in joined] for name, joined in parts.items()
        }
        self._rows = np.array(list(self.parts), np.int64)
        self._flat = np.array([part for each in self.parts.values() for part in each], np.int64)
        lengths = np.array([len(each) for each in self.parts.values()], np.int64)
        self._starts = np.cumsum(lengths) - lengths
        self._size = len(names)

    def with_joined(self, seen: Extents) -> Extents:
        """Return the extents on one sample, and behind them those of the joined tensors."""
        if not self._rows.size:
            return seen
        sizes, exponents = np.zeros((2, self._size), np.int64)
        lows, highs = np.full(self._size, math.inf), np.full(self._size, -math.inf)
        sizes[seen.rows], exponents[seen.rows] = seen.sizes, seen.exponents
        lows[seen.rows], highs[seen.rows] = seen.lows, seen.highs
        # A part without elements has no exponent; the least possible one changes nothing.
        exponents[sizes == 0] = np.iinfo(np.int64).min
        total = np.add.reduceat(sizes[self._flat], self._starts)
        has_some = total > 0
        joined = Extents(
            self._rows,
            total,
            np.minimum.reduceat(lows[self._flat], self._starts),
            np.maximum.reduceat(highs[self._flat], self._starts),
            np.maximum.reduceat(exponents[self._flat], self._starts),
        )
        return seen.joined(joined.only(has_some))
