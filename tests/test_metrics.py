"""Metrics: hand-computed values, zeros, and the values that must never pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from edgekit.errors import ShapeError
from edgekit.metrics import cosine, max_abs_error, relative_error, sqnr_db, top1_agreement

Metric = Callable[[np.ndarray, np.ndarray], float]
METRICS: dict[str, Metric] = {
    "cosine": cosine,
    "max_abs_error": max_abs_error,
    "relative_error": relative_error,
    "sqnr_db": sqnr_db,
}
WORST = {
    "cosine": -1.0,
    "max_abs_error": math.inf,
    "relative_error": math.inf,
    "sqnr_db": -math.inf,
}
PERFECT = {"cosine": 1.0, "max_abs_error": 0.0, "relative_error": 0.0, "sqnr_db": math.inf}


@dataclass(frozen=True)
class Case:
    """One pair with its values worked out by hand."""

    id: str
    actual: list[float]
    reference: list[float]
    cosine: float
    max_abs_error: float
    relative_error: float
    sqnr_db: float


CASES = [
    # 3*4 + 4*3 = 24 over 5*5; errors 1 and 1; noise 2, signal 25 -> 10 log10 12.5
    Case("three_four", [3, 4], [4, 3], 0.96, 1, 0.25, 10.969100130080564),
    # a tenth off everywhere: noise is 1 % of the signal
    Case("ten_percent", [1.1, 2.2], [1, 2], 1.0, 0.2, 0.1, 20.0),
    Case("opposite", [-1, -1], [1, 1], -1.0, 2, 2, -6.020599913279624),
    Case("orthogonal", [0, 1], [1, 0], 0.0, 1, 1, -3.010299956639812),
    Case("reference_zero", [0, 1], [0, 0], 0.0, 1, math.inf, -math.inf),
    Case("both_zero", [0, 0], [0, 0], 1.0, 0, 0, math.inf),
    Case("actual_zero", [0, 0], [0, 2], 0.0, 2, 1, 0.0),
    Case("empty", [], [], 1.0, 0, 0, math.inf),
]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_value_is_the_one_worked_out_by_hand(case: Case, name: str) -> None:
    value = METRICS[name](np.array(case.actual), np.array(case.reference))

    assert value == pytest.approx(getattr(case, name))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_value_that_the_reference_lacks_gives_the_worst_value(
    name: str, bad: float
) -> None:
    value = METRICS[name](np.array([1.0, bad]), np.array([1.0, 2.0]))

    assert value == WORST[name]


@pytest.mark.parametrize("name", METRICS)
def test_finite_value_where_the_reference_is_nan_gives_the_worst_value(name: str) -> None:
    value = METRICS[name](np.array([1.0, 2.0]), np.array([1.0, math.nan]))

    assert value == WORST[name]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("same", [math.nan, math.inf, -math.inf])
def test_non_finite_value_that_both_hold_is_left_out(name: str, same: float) -> None:
    value = METRICS[name](np.array([1.0, same]), np.array([1.0, same]))

    assert value == PERFECT[name]


@pytest.mark.parametrize("name", METRICS)
def test_infinities_of_opposite_sign_do_not_agree(name: str) -> None:
    value = METRICS[name](np.array([math.inf]), np.array([-math.inf]))

    assert value == WORST[name]


@pytest.mark.parametrize("name", [*METRICS, "top1"])
def test_different_shapes_are_refused_with_both_shapes(name: str) -> None:
    metric = {**METRICS, "top1": top1_agreement}[name]

    with pytest.raises(ShapeError, match=r"\(2, 3\).*\(3, 2\)"):
        metric(np.zeros((2, 3)), np.zeros((3, 2)))


def test_small_unsigned_integers_do_not_wrap_around() -> None:
    error = max_abs_error(np.array([0], np.uint8), np.array([255], np.uint8))

    assert error == 255


def test_values_whose_square_overflows_are_compared_all_the_same() -> None:
    actual, reference = np.array([3e200, 4e200]), np.array([4e200, 3e200])

    assert cosine(actual, reference) == pytest.approx(0.96)
    assert sqnr_db(actual, reference) == pytest.approx(10.969100130080564)


def test_top1_counts_the_rows_that_agree() -> None:
    actual = np.array([[1, 2, 0], [5, 0, 0], [0, 0, 9], [1, 0, 0]])
    reference = np.array([[0, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])

    assert top1_agreement(actual, reference) == 0.75


def test_top1_row_with_a_nan_agrees_with_nothing() -> None:
    assert top1_agreement(np.array([[math.nan, 0.0]]), np.array([[1.0, 0.0]])) == 0


def test_top1_needs_an_axis_of_classes() -> None:
    with pytest.raises(ShapeError, match="classes"):
        top1_agreement(np.float32(1), np.float32(1))
