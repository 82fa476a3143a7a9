"""Ranges that the user hands in, which have to be his model's."""

from __future__ import annotations

from pathlib import Path

from edgekit.converters.tap import Taps
from edgekit.errors import CalibrationError
from edgekit.ranges import Ranges


def handed_in(ranges: Path | Ranges, model: str, taps: Taps) -> Ranges:
    """Return ranges of a model's tensors, from a file or as they are.

    Args:
        ranges: Of an earlier calibration.
        model: SHA-256 of the model, hex.
        taps: Its tensors.

    Raises:
        CalibrationError: They are of another model.
    """
    loaded = ranges if isinstance(ranges, Ranges) else Ranges.load(ranges)
    where = "the ranges" if isinstance(ranges, Ranges) else str(ranges)
    if loaded.model != model:
        raise CalibrationError(
            f"{where} belong to a model with SHA-256 {loaded.model[:12]}..., this one has "
            f"{model[:12]}...: calibrate this model"
        )
    if not any(name in loaded.ranges for name in taps.measured):
        raise CalibrationError(f"{where} hold no tensor of this model; calibrate it again")
    return loaded
