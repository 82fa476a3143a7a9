"""The sentence on what is fastest: it never calls the slower one the winner."""

from __future__ import annotations

import pytest

from edgekit.pipeline.advice import Timed, verdict
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
