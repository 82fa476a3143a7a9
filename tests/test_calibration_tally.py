"""Counting is exact, and the same in whatever order and parts it is done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edgekit.calibration.tally import BINS, SIDE, Scratch, Tally
from edgekit.errors import CalibrationError

FLOATS = arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32))


def tally_of(*samples: NDArray[np.generic]) -> Tally:
    tally, scratch = Tally(), Scratch()
    for sample in samples:
        tally.add(sample, scratch)
    return tally


def same(one: Tally, other: Tally) -> bool:
    figures = ("count", "samples", "minimum", "maximum", "exponent")
    return all(getattr(one, n) == getattr(other, n) for n in figures) and bool(
        (one.counts == other.counts).all()
    )


@pytest.mark.parametrize("size", [7, 5_000, 40_000, 2_300_000])
@pytest.mark.parametrize("is_relu", [False, True])
def test_counts_are_those_of_numpy_in_double(size: int, is_relu: bool) -> None:
    values = np.random.default_rng(size).standard_normal(size, dtype=np.float32)
    values = np.maximum(values, 0) if is_relu else values

    tally = tally_of(values)

    indices = np.floor(values.astype(np.float64) / 2.0**tally.exponent).astype(int) + SIDE
    assert (tally.counts == np.bincount(indices, minlength=BINS)).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(FLOATS, min_size=2, max_size=5))
def test_the_order_of_samples_changes_no_count(samples: list[NDArray[np.float32]]) -> None:
    forward, backward = tally_of(*samples), tally_of(*samples[::-1])

    assert same(forward, backward)


@settings(max_examples=60, deadline=None)
@given(FLOATS, FLOATS)
def test_two_tallies_merge_into_that_of_both(
    one: NDArray[np.float32], other: NDArray[np.float32]
) -> None:
    merged = tally_of(one).merged(tally_of(other))

    assert same(merged, tally_of(one, other))


@settings(max_examples=60, deadline=None)
@given(FLOATS)
def test_every_value_lies_in_the_histogram(values: NDArray[np.float32]) -> None:
    statistics = tally_of(values).statistics()

    assert sum(statistics.histogram.counts) == statistics.count == values.size
    # Values under 2**-88 count as 0.
    assert statistics.histogram.low <= statistics.minimum + 1e-26
    assert statistics.histogram.high >= statistics.maximum - 1e-26


def test_the_larger_side_uses_more_than_half_its_bins() -> None:
    statistics = tally_of(np.linspace(0, 5, 1000, dtype=np.float32)).statistics()

    assert SIDE / 2 < len(statistics.histogram.counts) <= SIDE


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(bad: float) -> None:
    values = np.zeros(100, np.float32)
    values[50] = bad

    with pytest.raises(CalibrationError):
        tally_of(values)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_count_too(dtype: type[np.generic]) -> None:
    statistics = tally_of(np.array([-1, 0.5, 2], dtype)).statistics()

    assert (statistics.minimum, statistics.maximum, statistics.count) == (-1, 2, 3)


def test_each_samples_own_range_goes_into_the_mean() -> None:
    statistics = tally_of(np.float32([-1, 1]), np.float32([-3, 9])).statistics()

    assert (statistics.mean_minimum, statistics.mean_maximum) == (-2, 5)


def test_an_empty_tensor_counts_nothing() -> None:
    assert tally_of(np.zeros(0, np.float32)).count == 0
