"""What a caller asks of a quantized model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.calibration.contract import Promise
from edgekit.ranges import Ranges

DEFAULT_PROMISE = Promise(0.01, is_relative=True)
"""What is promised where nothing is said: 1 % of the float model's value."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a model is quantized, and what it may lose.

    Args:
        calibration: The user's data, as ``calibration.open_samples`` takes it.
        ranges: Of an earlier calibration: a file or the value; then no data is needed.
        method: How ranges are chosen first; None is ``"auto"``, or the ranges as given.
        samples: At most so many calibration samples.
        promise: Largest loss.
        metric: As ``metrics.pick_metric`` takes it; None measures agreement with the float
            model: of the best class for a classifier, else the cosine.
        validation: Samples to measure on, as ``open_validation`` takes them; None takes the
            calibration data.
        kind: Kind of the validation set; ``"auto"`` looks.
        validation_samples: At most so many of them.
        decoder: Of a detector's outputs, as ``pick_decoder`` takes it.
        output: Name of the output that counts; empty where there is one.
        time_s: Seconds for the search and the advice after it; None is no limit.
        keep_float: Names of nodes that stay float in any case.
        resume: Whether to go on from the state that an earlier search left.
        advise: Whether float and int8 are timed against each other at the end.
    """

    calibration: str | Path | None = None
    ranges: Path | Ranges | None = None
    method: str | None = None
    samples: int | None = None
    promise: Promise = DEFAULT_PROMISE
    metric: str | None = None
    validation: Path | None = None
    kind: str = "auto"
    validation_samples: int | None = None
    decoder: str | None = None
    output: str = ""
    time_s: float | None = None
    keep_float: tuple[str, ...] = ()
    resume: bool = False
    advise: bool = True

    @property
    def asks_nothing(self) -> bool:
        """Whether the caller gives nothing to measure on and no promise of their own."""
        given = (self.calibration, self.ranges, self.validation, self.metric)
        return not any(item is not None for item in given) and self.promise is DEFAULT_PROMISE
