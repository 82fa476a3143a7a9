"""From numbers to positions, and the round numbers that an axis is labelled with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

LARGEST = 1e30
"""Nothing larger is drawn: no model computes it, and its differences overflow."""

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_NARROW = 1e-6


@dataclass(frozen=True)
class Axis:
    """A stretch of numbers.

    Args:
        low: Its start.
        high: Its end; high > low.
        ticks: Round numbers within it.
    """

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Return where a number lies: 0 at the start, 1 at the end."""
        return (value - self.low) / (self.high - self.low)

    def shown(self, value: float) -> str:
        """Return a tick as text, with the digits that tell it from the next."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else abs(value)
        if not 1e-4 <= step < 1e6:
            return f"{value:.4g}"
        digits = next(n for n in range(8) if math.isclose(round(step, n), step, rel_tol=1e-6))
        return f"{value:.{digits}f}"


def is_drawable(value: float) -> bool:
    """Whether a number can stand in a chart."""
    return math.isfinite(value) and abs(value) <= LARGEST


def axis_over(values: Iterable[float], *, from_zero: bool = False, ticks: int = 4) -> Axis:
    """Return an axis that holds the values with some room.

    Args:
        values: At least one; all drawable.
        from_zero: Whether it starts at 0; the values are then not negative.
        ticks: About how many.
    """
    there = list(values)
    low, high = min(there), max(there)
    if from_zero:
        low = 0.0
    least = _NARROW * max(abs(low), abs(high), _NARROW)
    if high - low < least:
        low, high = (low if from_zero else low - least), high + least
    step = _round_step((high - low) / ticks)
    first, last = math.floor(low / step), math.ceil(high / step)
    if not from_zero and low == first * step:
        first -= 1
    if high == last * step:
        last += 1
    numbers = tuple(number * step for number in range(first, last + 1))
    return Axis(numbers[0], numbers[-1], numbers)


def _round_step(rough: float) -> float:
    """Return the smallest of 1, 2, 2.5, 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))
