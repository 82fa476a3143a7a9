"""The sentence on what is fastest: it never calls the slower one the winner; and its values."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from edgekit.calibration.budget import Budget
from edgekit.pipeline.advice import Timed, Worth, verdict
from edgekit.runtimes.timing import Latency


def timed(precision: str, ms: float, nbytes: int = 1000) -> Timed:
    return Timed("openvino", precision, Latency(10, ms, ms, ms, ms, ms), nbytes)


def test_int8_that_is_faster_wins_with_its_factor() -> None:
    said = verdict([timed("fp32", 2.0), timed("int8", 1.0, 400)])

    assert "int8 wins, 2.0 times as fast as fp32" in said
    assert "int8 takes 40% of the space" in said


def test_bf16_that_beats_int8_wins() -> None:
    said = verdict([timed("fp32", 3.0), timed("int8", 2.0, 400), timed("bf16", 1.0)])

    assert "bf16 wins, 3.0 times" in said
    assert "int8 wins" not in said


def test_int8_that_is_slower_is_not_the_winner() -> None:
    said = verdict([timed("fp32", 1.0), timed("int8", 1.5)])

    assert "fp32 is the fastest" in said
    assert "keep the float model" not in said or "int8 wins" not in said


def test_times_within_noise_are_called_alike() -> None:
    said = verdict([timed("fp32", 1.0), timed("int8", 0.98)])

    assert "int8 is as fast as fp32" in said
    assert "keep the float model" in said


def test_two_winners_are_told_together() -> None:
    said = verdict([timed("fp32", 2.0), timed("int8", 1.0), timed("bf16", 1.01)])

    assert "int8 and bf16 are alike, 2.0 times" in said


@pytest.mark.parametrize("first", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("second", [0.5, 1.0, 2.0])
def test_the_named_winner_is_the_fastest(first: float, second: float) -> None:
    said = verdict([timed("fp32", 1.0), timed("int8", first), timed("bf16", second)])

    fastest = min((1.0, "fp32"), (first, "int8"), (second, "bf16"))[0]
    for name, ms in (("int8", first), ("bf16", second)):
        if f"{name} wins" in said:
            assert ms == fastest


class Ways:
    """Sessions by artifact name; measuring one takes seconds of a clock of their own."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.now = 0.0
        self.measured: list[str] = []

    def value(self, session: SimpleNamespace) -> float:
        self.now += self.takes_s
        self.measured.append(session.artifact.name)
        return 0.5

    def values(self, *names: str, known: dict[str, float], limit_s: float | None) -> list[float]:
        budget = Budget(limit_s, clock=lambda: self.now)
        worth = Worth(self.value, known=known, budget=budget)  # type: ignore[arg-type]
        return [worth(SimpleNamespace(artifact=SimpleNamespace(name=name))) for name in names]


def test_what_the_search_has_measured_is_not_measured_again() -> None:
    ways = Ways(takes_s=1.0)

    values = ways.values("onnx-int8", "onnx-fp32", known={"onnx-int8": 0.9}, limit_s=None)

    assert values == [0.9, 0.5]
    assert ways.measured == ["onnx-fp32"]


@pytest.mark.parametrize("limit_s", [0.0, 1.0, 10.0, 15.0, 20.0, 25.0, 31.0])
def test_values_exceed_the_time_by_one_measurement_at_most(limit_s: float) -> None:
    ways = Ways(takes_s=10.0)

    ways.values("a", "b", "c", "d", known={}, limit_s=limit_s)

    assert ways.now <= max(limit_s, 0.0) + 10.0
    assert len(ways.measured) == (0 if limit_s == 0 else max(1, int(limit_s // 10)))


def test_a_way_without_time_for_it_has_no_value_and_a_known_one_keeps_its_own() -> None:
    ways = Ways(takes_s=10.0)

    values = ways.values("a", "b", "c", known={"c": 0.25}, limit_s=15.0)

    assert values[0] == 0.5
    assert math.isnan(values[1])
    assert values[2] == 0.25
