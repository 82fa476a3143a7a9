"""How sure is a figure that was measured on a few samples?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.errors import UsageError
from edgekit.metrics.base import Counts, Metric

RESAMPLES = 200


def interval(
    metric: Metric, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the ends between which the metric lies on other samples of the same kind.

    Args:
        metric: What was measured.
        level: How likely, in (0, 1).
        resamples: How often the samples are drawn anew, with replacement.
        seed: Of the draws.

    Returns:
        Lower and upper end, in the metric's unit; NaN where no draw defines it.

    Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"; percentile ends.
    """
    draws = _draws(metric.count, resamples, seed)
    return _ends([_value_or_nan(metric, counts) for counts in draws], level)


def paired_interval(
    one: Metric,
    other: Metric,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the ends of ``one - other``, both drawn on the same samples.

    What both find hard on a sample cancels, so that a small drop shows on few samples.

    Raises:
        UsageError: They were not measured on as many samples.
    """
    if one.count != other.count:
        raise UsageError(f"{one.count} samples against {other.count}; measure both on the same")
    draws = _draws(one.count, resamples, seed)
    differences = [_value_or_nan(one, c) - _value_or_nan(other, c) for c in draws]
    return _ends(differences, level)


def _draws(count: int, resamples: int, seed: int) -> Iterator[Counts]:
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(generator.integers(0, count, count), minlength=count).astype(np.int64)


def _value_or_nan(metric: Metric, counts: Counts) -> float:
    try:
        return metric.value(counts)
    except UsageError:  # this draw lacks what the metric needs, such as two persons
        return float("nan")


def _ends(values: list[float], level: float) -> tuple[float, float]:
    drawn = np.array([value for value in values if np.isfinite(value)])
    if not drawn.size:
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
