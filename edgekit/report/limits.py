"""``--fail-on accuracy:0.5%,latency:10%``: how much worse a bundle may be than the one before."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.errors import UsageError
from edgekit.registry import unknown_name

ACCURACY, LATENCY, SIZE, COSINE = "accuracy", "latency", "size", "cosine"

FIGURES: Mapping[str, Mapping[str, float]] = {
    ACCURACY: {"": 1.0},
    LATENCY: {"": 1.0, "ms": 1.0, "us": 1e-3, "s": 1e3},
    SIZE: {"": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9},
    COSINE: {"": 1.0},
}
"""The units of each figure: what one is in the figure's own, which is that without a name."""

_PERCENT = "%"
_VALUE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(e[+-]?\d+)?\s*([A-Za-z%]*)", re.ASCII)
_ROUNDING = 1e-9
_EXAMPLE = "accuracy:0.5%,latency:10%,size:100kB"


@dataclass(frozen=True)
class Limit:
    """How much worse a figure may get.

    Args:
        figure: One of ``FIGURES``.
        value: A share of the value before, or in the figure's own unit (latency: ms, size:
            bytes); at least 0.
        is_relative: Which of them.
    """

    figure: str
    value: float
    is_relative: bool

    def allows(self, *, before: float, loss: float) -> bool:
        """Whether a loss is within it.

        Args:
            before: The figure before.
            loss: By how much it got worse, in its own unit; below 0 it got better.
        """
        if not self.is_relative:
            return loss <= self.value + _ROUNDING * max(1.0, abs(before))
        return loss <= (self.value + _ROUNDING) * abs(before)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {"figure": self.figure, "value": self.value, "is_relative": self.is_relative}

    def __str__(self) -> str:
        if self.is_relative:
            return f"{self.value * 100:g}%"
        unit = {LATENCY: " ms", SIZE: " bytes"}.get(self.figure, "")
        return f"{self.value:g}{unit}"


def parse_limits(texts: Sequence[str]) -> tuple[Limit, ...]:
    """Read what ``--fail-on`` was given: ``FIGURE:LIMIT``, several joined by commas.

    Raises:
        UsageError: A figure, number or unit is not understood, or a figure stands twice.
    """
    limits: dict[str, Limit] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        figure, colon, value = (piece.strip() for piece in part.partition(":"))
        if not colon:
            raise UsageError(f"--fail-on {part!r} is not FIGURE:LIMIT; expected such as {_EXAMPLE}")
        if figure not in FIGURES:
            raise UsageError(unknown_name(figure, tuple(FIGURES), kind="figure to fail on"))
        if figure in limits:
            raise UsageError(f"--fail-on limits {figure} twice; give one limit for each figure")
        limits[figure] = _read(figure, value)
    return tuple(limits.values())


def _read(figure: str, text: str) -> Limit:
    match = _VALUE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--fail-on {figure}:{text} is no limit; expected a share such as 5%, or a number "
            "that is at least 0"
        )
    number, unit = float(match[1] + (match[2] or "")), match[3]
    if not math.isfinite(number):
        raise UsageError(f"--fail-on {figure}:{text} is too large to be a limit")
    if unit == _PERCENT:
        return Limit(figure, number / 100, is_relative=True)
    units = FIGURES[figure]
    if unit not in units:
        choices = (_PERCENT, *(name for name in units if name))
        if meant := [name for name in choices if name.lower() == unit.lower()]:
            raise UsageError(f"no unit of {figure} named {unit!r}; did you mean {meant[0]!r}?")
        raise UsageError(unknown_name(unit, choices, kind=f"unit of {figure}"))
    return Limit(figure, number * units[unit], is_relative=False)
