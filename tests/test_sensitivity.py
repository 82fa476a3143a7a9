"""What one layer alone costs, on networks small enough to compute by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.calibration.sensitivity import (
    MOST_DB,
    Layer,
    Sensitivity,
    measure_sensitivity,
    output_db,
    sqnr_db,
)

QUIET = Layer("quiet", ("quiet",), "Conv", work=100)
LOUD = Layer("loud", ("loud", "relu"), "Conv", work=100)


def test_the_ratio_is_ten_log_of_the_powers() -> None:
    ratio = sqnr_db(np.array([1.1, 1.0]), np.array([1.0, 1.0]))

    assert ratio == pytest.approx(10 * math.log10(2 / 0.01), abs=1e-9)


@pytest.mark.parametrize(("actual", "expected"), [([1.0, 2.0], MOST_DB), ([np.nan, 2.0], -MOST_DB)])
def test_equal_and_broken_tensors_have_the_ends_of_the_scale(actual, expected) -> None:
    assert sqnr_db(np.array(actual), np.array([1.0, 2.0])) == expected


def _measured(**options):
    kept = {"x": np.ones(4), "quiet": np.ones(4), "loud": np.ones(4), "out": np.full(4, 2.0)}
    noise = {"quiet": 0.001, "loud": 0.1}
    return measure_sensitivity(
        [QUIET, LOUD],
        [kept, kept],
        rounded=lambda layer, all_: {layer.name: all_[layer.name] + noise[layer.name]},
        rest=lambda layer, results, all_: {"out": results[layer.name] * 2},
        outputs=["out"],
        **options,
    )


def test_the_layer_that_hurts_most_comes_first() -> None:
    found = _measured()

    assert [item.layer.name for item in found] == ["loud", "quiet"]
    assert found[0].output_db == pytest.approx(20)  # 0.1 on 1, doubled on both sides
    assert found[0].local_db == pytest.approx(20)


def test_each_layer_is_told_as_it_is_done() -> None:
    told: list[int] = []

    _measured(progress=told.append)

    assert told == [1, 2]


def test_of_two_layers_that_hurt_alike_the_cheaper_goes_back_first() -> None:
    cheap = Sensitivity(QUIET, 30, 30, work_share=0.1)
    dear = Sensitivity(LOUD, 30, 30, work_share=0.9)

    assert cheap.worth > dear.worth


def test_a_layer_of_no_work_does_not_beat_one_that_hurts_a_hundred_times_more() -> None:
    tiny = Sensitivity(QUIET, 50, 50, work_share=0.0)
    harmful = Sensitivity(LOUD, 30, 30, work_share=0.5)

    assert harmful.worth > tiny.worth


def test_the_report_of_a_layer_is_ready_for_json() -> None:
    data = _measured()[0].to_json()

    assert data["nodes"] == ["loud", "relu"]
    assert data["output_sqnr_db"] == 20.0


def test_noise_on_scores_is_not_hidden_by_pixels_beside_them() -> None:
    rows = np.ones((1, 50, 2))
    rows[..., 0] = 1000.0  # pixels; scores beside them
    noisy = rows.copy()
    noisy[..., 1] += 0.5

    # Per channel 0 and 0.25, mean 0.125; over all elements it would be 66 dB.
    assert output_db(noisy, rows) == pytest.approx(-10 * math.log10(0.125))


def test_an_output_without_channels_is_taken_as_a_whole() -> None:
    actual, reference = np.array([[1.1, 1.0]]), np.array([[1.0, 1.0]])

    assert output_db(actual, reference) == sqnr_db(actual, reference)
