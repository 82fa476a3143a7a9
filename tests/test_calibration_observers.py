"""Each method's range is inside what was seen, holds 0, and errs as little as it says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from test_calibration_tally import statistics_of

from edgekit.calibration.observers import OBSERVERS, choose_ranges
from edgekit.calibration.observers.bins import expected_error
from edgekit.calibration.observers.percentile import percentile
from edgekit.errors import UsageError
from edgekit.ranges import Range, Statistics

METHODS = pytest.mark.parametrize("method", OBSERVERS)
VALUES = arrays(np.float32, st.integers(1, 400), elements=st.floats(-1e4, 1e4, width=32))

# A histogram of 2048 bins a side against the values themselves: 4 to 16 bins a code.
HISTOGRAM_RTOL = 0.03
# Ten of the values lie beyond the last percentile, a tenth of a deviation apart.
PERCENTILE_ATOL = 0.08


def gaussian(outliers: tuple[float, ...] = (), size: int = 200_000) -> NDArray[np.float32]:
    values = np.random.default_rng(3).standard_normal(size)
    return np.concatenate([values, outliers]).astype(np.float32)


def observe(method: str, values: NDArray[np.float32]) -> tuple[Statistics, Range]:
    statistics = statistics_of(values)
    observer: Callable[[Statistics], Range] = OBSERVERS[method].load()
    return statistics, observer(statistics)


def real_error(values: NDArray[np.float32], chosen: Range) -> float:
    """Return the squared error by ONNX QuantizeLinear's formula on the values themselves."""
    scale = (chosen.high - chosen.low) / 255
    zero_point = np.clip(np.rint(-128 - chosen.low / scale), -128, 127)
    codes = np.clip(np.rint(values.astype(np.float64) / scale) + zero_point, -128, 127)
    return float(np.mean(np.square(values - (codes - zero_point) * scale)))


@METHODS
@settings(max_examples=40, deadline=None)
@given(values=VALUES)
def test_a_range_holds_zero_and_lies_inside_what_was_seen(
    method: str, values: NDArray[np.float32]
) -> None:
    statistics, chosen = observe(method, values)

    assert min(statistics.minimum, 0) <= chosen.low <= 0 <= chosen.high
    assert chosen.high <= max(statistics.maximum, 0)


@settings(max_examples=60, deadline=None)
@given(values=VALUES)
def test_mse_never_errs_more_than_minmax(values: NDArray[np.float32]) -> None:
    statistics, chosen = observe("mse", values)
    _, everything = observe("minmax", values)

    assert expected_error(statistics, chosen) <= expected_error(statistics, everything)


@settings(max_examples=40, deadline=None)
@given(values=VALUES)
def test_auto_is_within_two_percent_of_the_best(values: NDArray[np.float32]) -> None:
    statistics, chosen = observe("auto", values)
    rivals = [observe(name, values)[1] for name in OBSERVERS if name != "auto"]

    best = min(expected_error(statistics, rival) for rival in rivals)
    assert expected_error(statistics, chosen) <= 1.02 * best


@METHODS
@pytest.mark.parametrize("relu", [False, True])
def test_the_expected_error_is_the_real_one(method: str, relu: bool) -> None:
    values = gaussian((25.0, -30.0))
    values = np.maximum(values, 0) if relu else values

    statistics, chosen = observe(method, values)

    assert expected_error(statistics, chosen) == pytest.approx(
        real_error(values, chosen), rel=HISTOGRAM_RTOL
    )


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse", "auto"])
def test_outliers_of_a_gaussian_are_clipped(method: str) -> None:
    _, chosen = observe(method, gaussian((20.0, -15.0), size=1_000_000))

    assert -12 < chosen.low < -2.5
    assert 2.5 < chosen.high < 12


@METHODS
def test_zeros_get_the_empty_range(method: str) -> None:
    _, chosen = observe(method, np.zeros(50, np.float32))

    assert (chosen.low, chosen.high) == (0, 0)


@METHODS
@pytest.mark.parametrize("value", [3.3, -0.02])
def test_a_constant_is_kept(method: str, value: float) -> None:
    _, chosen = observe(method, np.full(64, value, np.float32))

    assert chosen.low == pytest.approx(min(value, 0))
    assert chosen.high == pytest.approx(max(value, 0))


@METHODS
def test_values_far_from_zero_are_not_clipped_away(method: str) -> None:
    values = -np.abs(gaussian()) - 5

    _, chosen = observe(method, values)

    # The divergence alone would clip all of them into one code.
    assert chosen.low < -8


@pytest.mark.parametrize("kept", [99.0, 99.9, 99.99])
def test_percentile_is_numpys(kept: float) -> None:
    values = gaussian()

    chosen = percentile(statistics_of(values), kept_percent=kept)

    low, high = np.percentile(values, [(100 - kept) / 2, 100 - (100 - kept) / 2])
    assert chosen.low == pytest.approx(low, abs=PERCENTILE_ATOL)
    assert chosen.high == pytest.approx(high, abs=PERCENTILE_ATOL)


def test_mse_is_that_of_a_full_search() -> None:
    values = np.random.default_rng(4).laplace(size=20_000).astype(np.float32)
    _, chosen = observe("mse", values)

    highs, lows = np.linspace(1, values.max(), 60), np.linspace(-1, values.min(), 60)
    best = min(real_error(values, Range(low, high, "")) for low in lows for high in highs)
    assert real_error(values, chosen) <= best * (1 + HISTOGRAM_RTOL)


def test_a_mistyped_method_gets_the_closest() -> None:
    with pytest.raises(UsageError, match="did you mean 'entropy'"):
        choose_ranges({}, "entrpy")
