"""What each layer of a real model costs alone: its noise, and the user's own metric."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from digits import LABELS, MODEL, PREPROCESS, ROOT
from mixed_scales import FIRST, write_model, write_samples

from edgekit.calibration.layer_costs import output_db
from edgekit.calibration.sensitivity import Sensitivity
from edgekit.converters.evaluate import evaluate
from edgekit.converters.passes import simplify
from edgekit.converters.quantize import pick_scheme, quantize
from edgekit.converters.quantize.qdq import to_qdq
from edgekit.errors import UsageError
from edgekit.pipeline import Terms, convert
from edgekit.pipeline.build import load_source
from edgekit.pipeline.calibration import calibrate
from edgekit.pipeline.sensitivity import FIRST_SAMPLES, LayersAlone, layers_alone
from edgekit.pipeline.sensitivity_of import Sensitivities, sensitivity_of
from edgekit.pipeline.yardstick import make_yardstick, open_yard
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.ranges import Ranges
from edgekit.runtimes import RUNTIMES
from edgekit.runtimes.select import load

HELD_OUT = ROOT / "examples" / "digits" / "heldout.npz"
STEPS = {"": Preprocess.parse(PREPROCESS)}

needs_onnxruntime = pytest.mark.skipif(
    bool(RUNTIMES["onnxruntime"].missing()), reason="needs onnxruntime"
)
pytestmark = needs_onnxruntime


@pytest.fixture(scope="module")
def digits() -> Sensitivities:
    return sensitivity_of(
        MODEL,
        targets=["onnx:int8"],
        terms=Terms(calibration=HELD_OUT),
        preprocess=STEPS,
        labels=LABELS,
    )


@pytest.fixture
def mixed(tmp_path: Path) -> Sensitivities:
    model, samples = write_model(tmp_path / "mixed.onnx"), write_samples(tmp_path / "s.npz")
    return sensitivity_of(model, targets=["onnx:int8"], terms=Terms(calibration=samples))


def test_every_layer_is_judged_by_noise_and_by_the_metric(digits: Sensitivities) -> None:
    names = [cost.layer.name for cost in digits.layers]

    assert len(names) == len(set(names)) >= 8
    assert digits.metric == "top1"
    assert digits.baseline > 0.97
    assert all(abs(cost.lost) <= 0.05 for cost in digits.layers)
    assert all(10 < cost.output_db < 120 for cost in digits.layers if cost.layer.op_type == "Conv")
    assert "top1 on 360 samples of heldout.npz (256 of them)" in digits.on


def test_the_time_that_integers_save_is_measured_at_every_layer(digits: Sensitivities) -> None:
    assert "times measured on onnxruntime" in digits.on
    assert all(set(cost.saved_us) == {"onnxruntime"} for cost in digits.layers)
    assert any(cost.saved_us["onnxruntime"] != 0 for cost in digits.layers)
    assert all(0 <= cost.saved_share <= 1 for cost in digits.layers)


def test_the_layer_that_cannot_bear_integers_comes_first(mixed: Sensitivities) -> None:
    first = mixed.layers[0]

    assert first.layer.name in FIRST or FIRST in first.layer.nodes
    assert first.worth > 10 * mixed.layers[-1].worth


def test_the_order_is_that_of_the_json(digits: Sensitivities) -> None:
    data = digits.to_json()

    assert [item["layer"] for item in data["layers"]] == [c.layer.name for c in digits.layers]
    assert [Sensitivity.from_json(item).to_json() for item in data["layers"]] == data["layers"]


@cache
def _ranges() -> Ranges:
    return calibrate(MODEL, HELD_OUT, preprocess=STEPS, limit=20).ranges


def _quantized(*, keep_float: tuple[str, ...] = ()) -> QuantizedGraph:
    graph = simplify(load_source(MODEL, shapes={}))
    return quantize(graph, _ranges(), pick_scheme("onnx", "int8"), keep_float=keep_float)


def _alone(
    clock: Callable[[], float], limit_s: float, *, samples: int | None = None
) -> LayersAlone:
    terms = Terms(calibration=HELD_OUT, metric="cosine", validation_samples=samples)
    quantized = _quantized()
    graph = quantized.graph
    steps = {graph.input_names[0]: STEPS[""]}
    yard = open_yard(graph, terms, preprocess=steps)
    with load(MODEL, device="onnxruntime") as session:
        yardstick = make_yardstick(graph, terms, session, samples=yard, preprocess=steps)
        return layers_alone(quantized, yardstick, session, limit_s=limit_s, clock=clock)


def test_without_time_the_first_samples_are_looked_at_and_no_more() -> None:
    ticks = iter(range(1000))

    found = _alone(lambda: float(next(ticks)), limit_s=0.0)

    assert found.samples == FIRST_SAMPLES
    assert found.costs


def test_with_time_more_samples_are_looked_at() -> None:
    ticks = iter(np.arange(0, 100, 1e-6))

    assert _alone(lambda: float(next(ticks)), limit_s=10.0).samples > 100


def test_the_cheap_way_gives_what_the_whole_graph_does_with_one_layer_in_integers() -> None:
    convs = [c for c in _alone(lambda: 0.0, 1.0, samples=16).costs if c.layer.op_type == "Conv"]
    cost = min(convs, key=lambda cost: cost.output_db)
    others = {node.name for node in _quantized().graph.nodes} - set(cost.layer.nodes)
    whole = to_qdq(_quantized(keep_float=tuple(others)), pick_scheme("onnx", "int8"))
    steps = {whole.input_names[0]: STEPS[""]}
    yard = open_yard(whole, Terms(calibration=HELD_OUT), preprocess=steps).thinned(16)
    ratios = []
    for sample in yard:
        feed = {k: steps[k].apply(v, whole.inputs[0]) for k, v in sample.inputs.items()}
        actual, reference = evaluate(whole, feed), evaluate(_quantized().graph, feed)
        ratios += [output_db(actual[name], reference[name]) for name in whole.output_names]

    # Codes on the edge of two may round either way.
    assert cost.output_db == pytest.approx(min(ratios), abs=0.5)


def test_a_float_target_has_no_integers_to_be_sensitive_to() -> None:
    with pytest.raises(UsageError, match=r"openvino-fp16 has no integers.*openvino:int8"):
        sensitivity_of(MODEL, targets=["openvino:fp16"], terms=Terms(calibration=HELD_OUT))


def test_a_model_that_is_quantized_already_is_refused(tmp_path: Path) -> None:
    bundle = convert(
        MODEL,
        targets=["onnx:int8"],
        output=tmp_path / "d.edgekit",
        calibration=HELD_OUT,
        preprocess=STEPS,
        labels=LABELS,
        terms=Terms(advise=False),
    ).bundle
    path = tmp_path / "int8.onnx"
    path.write_bytes(bundle.read(bundle.artifacts[0].files["model"]))

    with pytest.raises(UsageError, match="is quantized already"):
        sensitivity_of(path, targets=["onnx:int8"], terms=Terms(calibration=HELD_OUT))


def test_a_promise_that_needs_layers_in_float_keeps_what_they_cost(tmp_path: Path) -> None:
    model, samples = write_model(tmp_path / "mixed.onnx"), write_samples(tmp_path / "s.npz")

    result = convert(
        model,
        targets=["onnx:int8"],
        output=tmp_path / "m.edgekit",
        calibration=samples,
        terms=Terms(),
    )

    contract = result.bundle.manifest.contract
    assert contract is not None
    assert contract.sensitivity_on.startswith("agreement: top1 on ")
    assert all(isinstance(item["lost"], float) for item in contract.sensitivity)
    assert not list(tmp_path.glob("*.search"))
