"""Recipes become graphs: fixes of the weights are computed once and hold for every layer left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mixed_scales import FIRST, SECOND, write_model, write_samples

from edgekit.calibration.contract import Recipe
from edgekit.converters.evaluate import evaluate
from edgekit.converters.passes import simplify
from edgekit.converters.quantize import pick_scheme, quantize
from edgekit.converters.quantize.bias import correct_bias
from edgekit.converters.quantize.rounding import round_weights
from edgekit.errors import UsageError
from edgekit.pipeline import Terms
from edgekit.pipeline.build import load_source
from edgekit.pipeline.layers import integer_share, integer_units, work_of
from edgekit.pipeline.progress import ignore
from edgekit.pipeline.quantize import BIAS, EQUALIZE, ROUND, Calibrated, Maker, calibrated

SCHEME = pick_scheme("onnx")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    folder = tmp_path_factory.mktemp("known")
    model = write_model(folder / "m.onnx")
    source = load_source(model, shapes={})
    terms = Terms(calibration=write_samples(folder / "s.npz"))
    return calibrated(model, source, simplify(source), terms, preprocess={}, progress=ignore)


@pytest.mark.parametrize("fixes", [(BIAS,), (ROUND,), (BIAS, ROUND)])
def test_with_every_layer_an_integer_the_fixes_are_the_quantizers_own(
    known: Calibrated, fixes: tuple[str, ...]
) -> None:
    maker = Maker(known, progress=ignore)
    direct = quantize(known.graph, known.ranges, SCHEME)
    if ROUND in fixes:
        direct = round_weights(direct, known.samples)
    if BIAS in fixes:
        direct = correct_bias(direct, known.samples)

    made = maker(known.graph, Recipe("auto", fixes), SCHEME)

    feed = known.samples[0]
    np.testing.assert_array_equal(
        evaluate(made.graph, feed)["y"], evaluate(direct.graph, feed)["y"]
    )


def test_a_layer_in_float_keeps_its_own_weights_and_bias(known: Calibrated) -> None:
    recipe = Recipe("auto", (BIAS, ROUND), keep_float=(FIRST,))

    made = Maker(known, progress=ignore)(known.graph, recipe, SCHEME)

    nodes = {node.name: node for node in made.graph.nodes}
    before = {node.name: node for node in known.graph.nodes}
    assert nodes[FIRST].inputs == before[FIRST].inputs
    for name in nodes[FIRST].inputs[1:]:
        np.testing.assert_array_equal(made.graph.initializers[name], known.graph.initializers[name])
    assert nodes[SECOND].inputs != before[SECOND].inputs


def test_equalized_weights_are_measured_again(known: Calibrated) -> None:
    maker = Maker(known, progress=ignore)

    plain, equal = maker.ranges(Recipe("auto")), maker.ranges(Recipe("auto", (EQUALIZE,)))

    assert maker.graph(Recipe("auto", (EQUALIZE,))) is not known.graph
    assert plain.ranges["r"] != equal.ranges["r"]
    assert plain.ranges["x"] == equal.ranges["x"]


@pytest.mark.parametrize(
    ("weights_only", "fixes"), [(False, (EQUALIZE, ROUND, BIAS)), (True, (ROUND,))]
)
def test_the_first_recipe_does_what_usually_helps(
    known: Calibrated, weights_only: bool, fixes: tuple[str, ...]
) -> None:
    recipe = Maker(known, progress=ignore).first(weights_only=weights_only)

    assert recipe == Recipe("auto", fixes)


def test_without_samples_the_first_recipe_does_nothing_to_the_weights(known: Calibrated) -> None:
    bare = replace(known, samples=())

    recipe = Maker(bare, progress=ignore).first(weights_only=False, keep_float=(FIRST,))

    assert recipe == Recipe("auto", keep_float=(FIRST,))


def test_a_fix_that_harms_samples_it_was_not_made_from_is_left_out(known: Calibrated) -> None:
    # A third of a step above the grid where the bias is corrected, a third below it elsewhere.
    scale = known.ranges.ranges["x"].high - known.ranges.ranges["x"].low
    step = scale / 255
    at = [step * (20 + (1 if index % 2 else -1) / 3) for index in range(16)]
    samples = tuple({"x": np.full((1, 2, 4, 4), value, np.float32)} for value in at)
    maker = Maker(replace(known, samples=samples), progress=ignore)

    recipe = maker.first(weights_only=False)

    assert BIAS not in recipe.fixes


def test_rounding_that_takes_long_is_not_in_the_first_recipe(
    known: Calibrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.pipeline.quantize.QUICK_WORK", 0.0)

    recipe = Maker(known, progress=ignore).first(weights_only=False)

    assert recipe.fixes == (EQUALIZE, BIAS)


def test_few_samples_are_not_split_to_try_fixes(known: Calibrated) -> None:
    told: list[str] = []
    maker = Maker(replace(known, samples=known.samples[:6]), progress=told.append)

    recipe = maker.first(weights_only=False)

    assert recipe == Recipe("auto", (EQUALIZE, BIAS))
    assert told == []


@pytest.mark.parametrize(("is_open", "is_minmax"), [(True, False), (False, True)])
def test_ranges_are_chosen_another_way_where_that_is_nearer_and_nobody_asked(
    tmp_path: Path, is_open: bool, is_minmax: bool
) -> None:
    model, samples = write_model(tmp_path / "m.onnx"), write_samples(tmp_path / "s.npz")
    values = np.load(samples)["x"]
    values[50, 0, 0, 0] = 1e6  # one outlier, 250 times what else there is
    np.savez(samples, x=values)
    source = load_source(model, shapes={})
    terms = Terms(calibration=samples, method="minmax")
    made = calibrated(model, source, simplify(source), terms, preprocess={}, progress=ignore)

    maker = Maker(replace(made, is_method_open=is_open), progress=ignore)

    assert (maker.first(weights_only=False).method == "minmax") is is_minmax
    assert not made.is_method_open


def test_schemes_of_the_same_codes_share_the_fixed_weights(known: Calibrated) -> None:
    told: list[str] = []
    maker = Maker(known, progress=told.append)

    for name in ("onnx", "openvino", "tflite", "tensorrt"):
        maker(known.graph, Recipe("auto", (BIAS,)), pick_scheme(name))

    # TensorRT's codes are symmetric.
    assert told == ["fix the weights for onnx-int8", "fix the weights for tensorrt-int8"]


def test_another_method_needs_no_other_pass(known: Calibrated) -> None:
    maker = Maker(known, progress=ignore)

    ranges = maker.ranges(Recipe("percentile"))

    assert ranges.statistics == known.ranges.statistics
    assert {item.method for item in ranges.ranges.values()} == {"percentile"}


def test_ranges_without_statistics_can_only_be_taken_as_they_are(tmp_path: Path) -> None:
    from dataclasses import replace

    model, samples = write_model(tmp_path / "m.onnx"), write_samples(tmp_path / "s.npz")
    source = load_source(model, shapes={})
    graph = simplify(source)
    whole = calibrated(
        model, source, graph, Terms(calibration=samples), preprocess={}, progress=ignore
    )
    bare = replace(whole.ranges, statistics={})

    with pytest.raises(UsageError, match="statistics"):
        calibrated(
            model,
            source,
            graph,
            Terms(ranges=bare, method="mse"),
            preprocess={},
            progress=ignore,
        )


def test_a_fused_activation_goes_back_with_its_layer(known: Calibrated) -> None:
    units = integer_units(quantize(known.graph, known.ranges, SCHEME))

    assert {unit.name: unit.nodes for unit in units}[FIRST] == (FIRST, "relu")


def test_work_is_the_number_of_multiplications(known: Calibrated) -> None:
    nodes = {node.name: node for node in known.graph.nodes}

    assert work_of(nodes[FIRST], known.graph) == 8 * 4 * 4 * 2  # outputs times inputs of each
    assert work_of(nodes[SECOND], known.graph) == 4 * 8 * 4 * 4


def test_the_share_of_integers_counts_multiplications(known: Calibrated) -> None:
    whole = quantize(known.graph, known.ranges, SCHEME)
    half = quantize(known.graph, known.ranges, SCHEME, keep_float=[FIRST])

    assert integer_share(whole) == 1.0
    assert integer_share(half) == pytest.approx(512 / (256 + 512))
