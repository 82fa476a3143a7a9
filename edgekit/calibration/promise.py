"""How much of a metric may be lost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.errors import UsageError

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Promise:
    """How much of a metric may be lost against the float model.

    Args:
        limit: Largest loss, >= 0.
        is_relative: Whether it is a share of the float model's value; else it is in the
            metric's own unit.
    """

    limit: float
    is_relative: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= (1 if self.is_relative else math.inf):
            raise UsageError(
                f"a drop of {self} cannot be promised; give a share such as 1%, or an absolute "
                "drop such as 0.01, not below 0"
            )

    @classmethod
    def parse(cls, text: str) -> Promise:
        """Read ``"1%"`` (of the float model's value) or ``"0.01"`` (in the metric's unit).

        Raises:
            UsageError: It is neither.
        """
        is_relative = text.strip().endswith("%")
        try:
            number = float(text.strip().removesuffix("%"))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(
                f"{text!r} is no drop; give a share such as 1%, or an absolute drop such as 0.01"
            )
        return cls(number / 100 if is_relative else number, is_relative)

    def lost(self, baseline: float, value: float, *, higher_is_better: bool = True) -> float:
        """Return what was lost, in the promise's unit; below 0 is a gain, NaN loses all."""
        loss = baseline - value if higher_is_better else value - baseline
        if math.isnan(loss):
            return math.inf
        if not self.is_relative:
            return loss
        if baseline == 0:
            return math.copysign(math.inf, loss) if loss else 0.0
        return loss / abs(baseline)

    def allows(self, lost: float) -> bool:
        """Whether that loss keeps the promise."""
        return lost <= self.limit + _ROUNDING

    def in_words(self, lost: float) -> str:
        """Return a loss as the promise is written: ``"0.28%"`` or ``"0.0028"``."""
        return f"{lost:.2%}" if self.is_relative else f"{lost:.4f}"

    def __str__(self) -> str:
        return f"{self.limit * 100:g}%" if self.is_relative else f"{self.limit:g}"
