"""From what was seen of a tensor to the range that its integers cover.

To add a method: one file here with a function ``Statistics -> Range``, whose range holds 0
and lies inside the observed one, one line in ``OBSERVERS``, and, if ``auto`` may choose it,
its name in ``auto.METHODS``. ``tests/test_calibration_observers.py`` runs every line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekit.registry import Entry, pick

if TYPE_CHECKING:
    from edgekit.ranges import Range, Statistics

_HERE = "edgekit.calibration.observers"

OBSERVERS: dict[str, Entry] = {
    "auto": Entry(
        f"{_HERE}.auto:auto", summary="per tensor the simplest method that is as good as the best"
    ),
    "minmax": Entry(f"{_HERE}.minmax:minmax", summary="everything that was seen"),
    "moving_average": Entry(
        f"{_HERE}.moving_average:moving_average", summary="the mean of the samples' own ranges"
    ),
    "percentile": Entry(
        f"{_HERE}.percentile:percentile", summary="all but one value in ten thousand"
    ),
    "entropy": Entry(
        f"{_HERE}.entropy:entropy", summary="least Kullback-Leibler divergence, as TensorRT's"
    ),
    "mse": Entry(f"{_HERE}.mse:mse", summary="least squared error of rounding and clipping"),
}


def choose_ranges(statistics: Mapping[str, Statistics], method: str = "auto") -> dict[str, Range]:
    """Return the range of every tensor.

    Args:
        statistics: By tensor name.
        method: Name in ``OBSERVERS``.

    Raises:
        UsageError: There is no method of that name.
    """
    observe = pick(OBSERVERS, method, kind="calibration method").load()
    return {name: observe(seen) for name, seen in statistics.items()}
