"""Per tensor, the simplest method that is as good as the best."""

from __future__ import annotations

from edgekit.calibration.observers.bins import bins_of, error_of
from edgekit.calibration.observers.entropy import entropy
from edgekit.calibration.observers.minmax import minmax
from edgekit.calibration.observers.moving_average import moving_average
from edgekit.calibration.observers.mse import mse
from edgekit.calibration.observers.percentile import percentile
from edgekit.ranges import Range, Statistics

# Fewest assumptions first: minmax clips nothing that may come later.
METHODS = (minmax, moving_average, percentile, entropy, mse)

# An error smaller by less than this is within what another draw of the samples changes.
_AS_GOOD = 1.02


def auto(statistics: Statistics) -> Range:
    """Return the first method's range whose expected error is within 2 % of the least."""
    bins = bins_of(statistics)
    ranges = [method(statistics) for method in METHODS]
    errors = [error_of(bins, each) for each in ranges]
    limit = min(errors) * _AS_GOOD
    return next(each for each, error in zip(ranges, errors, strict=True) if error <= limit)
