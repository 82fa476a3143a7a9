"""What one layer alone costs, on networks small enough to compute by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from edgekit.calibration.contract import Recipe
from edgekit.calibration.layer_costs import MOST_DB, LayerCosts, output_db, sqnr_db
from edgekit.calibration.sensitivity import Layer, Sensitivity, with_savings
from edgekit.calibration.trials import Memory
from edgekit.metrics.pick import pick_metric

QUIET = Layer("quiet", ("quiet",), "Conv", work=100)
LOUD = Layer("loud", ("loud", "relu"), "Conv", work=100)
NOISE = {"quiet": 0.001, "loud": 0.1}


def test_the_ratio_is_ten_log_of_the_powers() -> None:
    ratio = sqnr_db(np.array([1.1, 1.0]), np.array([1.0, 1.0]))

    assert ratio == pytest.approx(10 * math.log10(2 / 0.01), abs=1e-9)


@pytest.mark.parametrize(("actual", "expected"), [([1.0, 2.0], MOST_DB), ([np.nan, 2.0], -MOST_DB)])
def test_equal_and_broken_tensors_have_the_ends_of_the_scale(actual, expected) -> None:
    assert sqnr_db(np.array(actual), np.array([1.0, 2.0])) == expected


def _alone(layer: Layer):
    def run(kept):
        results = {layer.name: kept[layer.name] + NOISE[layer.name]}
        return results, {"out": results[layer.name] * 2}

    return run


def _measured(**options):
    kept = {"x": np.ones(4), "quiet": np.ones(4), "loud": np.ones(4), "out": np.full(4, 2.0)}
    costs = LayerCosts([QUIET, LOUD], ["out"])
    costs.add([kept, kept], _alone, **options)
    return costs.costs()


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


def _judged(count: int) -> LayerCosts:
    """Two classes 0.15 apart; the loud layer's noise turns every second answer around."""
    samples = [
        {
            "x": np.zeros(1),
            "quiet": np.zeros(2),
            "loud": np.zeros(2),
            "out": np.array([1.0, 0.85 if index % 2 else 0.5]),
        }
        for index in range(count)
    ]

    def alone(layer: Layer):
        def run(kept):
            noise = np.array([-NOISE[layer.name], NOISE[layer.name]])
            return {layer.name: kept[layer.name] + noise}, {"out": kept["out"] + noise}

        return run

    costs = LayerCosts([QUIET, LOUD], ["out"], metric=lambda: pick_metric("top1"))
    costs.add(samples, alone, read=lambda index, outputs: (outputs["out"], 0))
    return costs


def test_the_metric_of_each_layer_alone_is_measured() -> None:
    judged = _judged(16)
    loud, quiet = judged.costs()

    assert judged.baseline == 1.0
    assert (loud.layer, loud.lost) == (LOUD, 0.5)
    assert (quiet.lost, quiet.sure_lost) == (0.0, 0.0)


def test_a_loss_of_few_samples_is_not_taken_for_more_than_chance() -> None:
    few, many = _judged(4).costs()[0], _judged(64).costs()[0]

    assert few.lost == many.lost == 0.5
    assert few.sure_lost < many.sure_lost < 0.5


def test_samples_may_come_in_several_parts() -> None:
    kept = {"x": np.ones(4), "quiet": np.ones(4), "loud": np.ones(4), "out": np.full(4, 2.0)}
    costs = LayerCosts([QUIET, LOUD], ["out"])
    costs.add([kept], _alone)
    costs.add([kept], _alone)

    assert costs.costs() == _measured()


def test_a_layer_that_integers_make_no_faster_goes_back_before_one_that_they_do() -> None:
    costs = [Sensitivity(QUIET, 30, 30, 0.5), Sensitivity(LOUD, 30, 30, 0.5)]

    ranked = with_savings(
        costs, {"openvino": {"quiet": 80.0, "loud": -5.0}, "litert": {"quiet": 40.0, "loud": 40.0}}
    )

    assert [item.layer for item in ranked] == [LOUD, QUIET]
    assert ranked[0].saved_us == {"openvino": -5.0, "litert": 40.0}
    assert ranked[0].saved_share == pytest.approx(0.25)  # nothing of the one, half of the other


def test_without_times_the_work_decides() -> None:
    costs = [Sensitivity(QUIET, 30, 30, 0.9), Sensitivity(LOUD, 30, 30, 0.1)]

    assert with_savings(costs, {})[0].layer == LOUD


def test_a_search_that_goes_on_keeps_the_order_of_its_layers(tmp_path: Path) -> None:
    recipe = Recipe("auto", ("bias_correction",))
    costs = with_savings(_judged(16).costs(), {"openvino": {"quiet": 3.0, "loud": 1.0}})
    Memory(tmp_path / "s.search", key="k").add_costs(recipe, costs, "top1 on 16 samples")

    found = Memory.load(tmp_path / "s.search", key="k").find_costs(recipe)

    assert found is not None
    assert [item.to_json() for item in found[0]] == [item.to_json() for item in costs]
    assert found[1] == "top1 on 16 samples"
    assert Memory.load(tmp_path / "s.search", key="k").find_costs(Recipe()) is None


def test_a_metric_that_so_few_samples_do_not_define_leaves_the_noise() -> None:
    kept = {"x": np.ones(4), "quiet": np.ones(4), "loud": np.ones(4), "out": np.full(4, 2.0)}
    costs = LayerCosts([QUIET, LOUD], ["out"], metric=lambda: pick_metric("eer"))
    # One picture of each of two persons: no pair is of one person.
    costs.add([kept, kept], _alone, read=lambda index, outputs: (outputs["out"], index))

    assert math.isnan(costs.baseline)
    assert [math.isnan(cost.lost) for cost in costs.costs()] == [True, True]
    assert costs.costs()[0].layer == LOUD
