"""Counting is exact, and the same in whatever order and parts it is done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edgekit.calibration.count import Counter
from edgekit.calibration.tally import ARRAYS, BINS, SIDE, Tallies
from edgekit.errors import CalibrationError
from edgekit.ranges import Statistics

FLOATS = arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32))

Sample = dict[str, NDArray[np.generic]]


def tallies_of(*samples: Sample) -> Tallies:
    counter = Counter(list(samples[0]))
    tallies = Tallies(list(samples[0]))
    for number, sample in enumerate(samples):
        tallies.add(counter.count(sample.items(), tallies, origin=str(number)))
    return tallies


def statistics_of(*samples: NDArray[np.generic]) -> Statistics:
    return tallies_of(*({"x": values} for values in samples)).statistics()["x"]


def same(one: Tallies, other: Tallies) -> bool:
    # The sums are of floating point: their last digit depends on the order.
    exact = [name for name in ARRAYS if not name.startswith("sum")]
    return all((getattr(one, name) == getattr(other, name)).all() for name in exact)


def counts_in_double(values: NDArray[np.generic], exponent: int) -> NDArray[np.int64]:
    """Return the counts as numpy makes them, value by value."""
    indices = np.floor(values.astype(np.float64).ravel() / 2.0**exponent).astype(np.int64)
    return np.bincount(indices + SIDE, minlength=BINS)


@pytest.mark.parametrize("size", [7, 5_000, 40_000, 300_000, 2_300_000])
@pytest.mark.parametrize("is_relu", [False, True])
def test_counts_are_those_of_numpy_in_double(size: int, is_relu: bool) -> None:
    values = np.random.default_rng(size).standard_normal(size, dtype=np.float32)
    values = np.maximum(values, 0) if is_relu else values

    tallies = tallies_of({"x": values})

    assert (tallies.counts[0] == counts_in_double(values, int(tallies.exponent[0]))).all()


def test_tensors_of_all_sizes_are_counted_beside_each_other() -> None:
    generator = np.random.default_rng(0)
    # Forty large ones use more bins than one call of OpenCV has.
    sizes = [*range(1, 4000, 97), *range(4096, 30_000, 650), 70_000, 3, 1_100_000]
    sample: Sample = {
        f"t{place}": (generator.standard_normal(size) * 3.0 ** (place % 20)).astype(np.float32)
        for place, size in enumerate(sizes)
    }

    tallies = tallies_of(sample, sample)

    for row, values in enumerate(sample.values()):
        expected = 2 * counts_in_double(values, int(tallies.exponent[row]))
        assert (tallies.counts[row] == expected).all()
        assert tallies.count[row] == 2 * values.size


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=2, max_size=5))
def test_the_order_of_samples_changes_no_count(
    pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> None:
    # The second is large enough to be counted by OpenCV.
    samples: list[Sample] = [{"x": one, "y": np.resize(other, 5000)} for one, other in pairs]

    assert same(tallies_of(*samples), tallies_of(*samples[::-1]))


def test_counting_leaves_the_tallies_alone() -> None:
    counter, tallies = Counter(["x", "y"]), Tallies(["x", "y"])
    sample = {"x": np.ones(5, np.float32), "y": np.ones(5000, np.float32)}

    counter.count(sample.items(), tallies, origin="")

    assert same(tallies, Tallies(["x", "y"]))


@settings(max_examples=60, deadline=None)
@given(FLOATS)
def test_every_value_lies_in_the_histogram(values: NDArray[np.float32]) -> None:
    statistics = statistics_of(values)

    assert sum(statistics.histogram.counts) == statistics.count == values.size
    # Values under 2**-88 count as 0.
    assert statistics.histogram.low <= statistics.minimum + 1e-26
    assert statistics.histogram.high >= statistics.maximum - 1e-26


@pytest.mark.parametrize("size", [1000, 100_000])
def test_the_larger_side_uses_more_than_half_its_bins(size: int) -> None:
    statistics = statistics_of(np.linspace(0, 5, size, dtype=np.float32))

    assert SIDE / 2 < len(statistics.histogram.counts) <= SIDE


@pytest.mark.parametrize("size", [100, 10_000])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(bad: float, size: int) -> None:
    values = np.zeros(size, np.float32)
    values[50] = bad

    with pytest.raises(CalibrationError, match="'x' holds NaN or infinity on sample 0"):
        statistics_of(values)


@pytest.mark.parametrize("sizes", [(10, 9000), (9000, 10), (10, 10), (9000, 9000)])
def test_the_first_of_the_tensors_that_are_no_numbers_is_named(sizes: tuple[int, int]) -> None:
    first, second = (np.full(size, np.nan, np.float32) for size in sizes)

    with pytest.raises(CalibrationError, match="'first'"):
        tallies_of({"before": np.zeros(3, np.float32), "first": first, "second": second})


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_count_too(dtype: type[np.generic]) -> None:
    statistics = statistics_of(np.array([-1, 0.5, 2], dtype))

    assert (statistics.minimum, statistics.maximum, statistics.count) == (-1, 2, 3)


def test_each_samples_own_range_goes_into_the_mean() -> None:
    statistics = statistics_of(np.float32([-1, 1]), np.float32([-3, 9]))

    assert (statistics.mean_minimum, statistics.mean_maximum) == (-2, 5)


def test_an_empty_tensor_counts_nothing() -> None:
    tallies = tallies_of({"x": np.zeros(0, np.float32), "y": np.ones(3, np.float32)})

    assert list(tallies.statistics()) == ["y"]
