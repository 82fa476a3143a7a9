"""The OpenVINO emitter: same numbers, same names, facts where other tools look for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from tiny_onnx import LIGHT_MODELS, build, conv_relu, normal, real_model_params

from edgekit.artifact import Artifact
from edgekit.converters.emitters.facts import LABELS
from edgekit.converters.evaluate import evaluate
from edgekit.converters.gate import EXACT, compare_runs, seeded_feeds
from edgekit.converters.onnx_model import graph_from_bytes, read_graph
from edgekit.converters.passes import simplify
from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.target import TARGETS
from edgekit.tensor import DType

ov = pytest.importorskip("openvino")
from edgekit.converters.emitters.openvino import emit  # noqa: E402

TARGET = TARGETS["openvino"]
# A CPU with bfloat16 computes in it unless told otherwise; parity is judged in float32.
EXACTLY = {"INFERENCE_PRECISION_HINT": "f32"}


def model() -> Graph:
    return graph_from_bytes(conv_relu().SerializeToString())


def load(folder: Path, artifact: Artifact) -> Any:
    return ov.Core().compile_model(folder / artifact.files["model"], "CPU", EXACTLY)


def run(compiled: Any, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    results = compiled(feed)
    return {
        name: np.array(results[output])
        for output in compiled.outputs
        for name in output.get_names()
    }


@pytest.mark.parametrize("path", [*LIGHT_MODELS[1:3], LIGHT_MODELS[5]], ids=lambda path: path.stem)
def test_a_light_model_agrees(path: Path, tmp_path: Path) -> None:
    graph = simplify(read_graph(path))

    compiled = load(tmp_path, emit(graph, tmp_path, target=TARGET))

    compare_runs(
        "openvino",
        lambda feed: evaluate(graph, feed),
        lambda feed: run(compiled, dict(feed)),
        seeded_feeds(graph.inputs),
        limit=EXACT,
    )


@pytest.mark.parametrize("path", real_model_params())
def test_a_real_model_agrees(path: Path, tmp_path: Path) -> None:
    graph = simplify(read_graph(path))

    compiled = load(tmp_path, emit(graph, tmp_path, target=TARGET))

    compare_runs(
        "openvino",
        lambda feed: evaluate(graph, feed),
        lambda feed: run(compiled, dict(feed)),
        seeded_feeds(graph.inputs),
        limit=EXACT,
    )


def test_inputs_and_outputs_keep_the_source_models_names(tmp_path: Path) -> None:
    compiled = load(tmp_path, emit(model(), tmp_path, target=TARGET))

    assert compiled.input(0).get_names() == {"x"}
    assert "y" in compiled.output(0).get_names()


def test_fp16_halves_the_weights_and_stays_close(tmp_path: Path) -> None:
    graph, x = model(), normal((1, 3, 8, 8))
    full, half = tmp_path / "32", tmp_path / "16"
    full.mkdir()
    half.mkdir()

    emit(graph, full, target=TARGET)
    artifact = emit(graph, half, target=TARGET.with_precision("fp16"))

    assert artifact.name == "openvino-fp16"
    small, large = ((folder / "model.bin").stat().st_size for folder in (half, full))
    assert small < 0.75 * large
    expected = evaluate(graph, {"x": x})["y"]
    value = run(load(half, artifact), {"x": x})["y"]
    np.testing.assert_allclose(value, expected, atol=2e-3 * np.abs(expected).max())


PREPROCESSES = {
    "bgr_to_rgb": Preprocess(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), scale=(1 / 255,)),
    "bgr_kept": Preprocess(colour="BGR", mean=(103.5, 116.2, 123.6)),
    "grey_frames": Preprocess(frame_colour="GRAY", scale=(1 / 255,)),
}


@pytest.mark.parametrize("name", PREPROCESSES)
def test_fused_preprocessing_equals_the_reference_implementation(name: str, tmp_path: Path) -> None:
    preprocess, graph = PREPROCESSES[name], model()
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (8, 8, preprocess.frame_channels), dtype=np.uint8)

    artifact = emit(graph, tmp_path, target=TARGET, preprocess={"x": preprocess})
    value = run(load(tmp_path, artifact), {"x": frame[None]})["y"]

    expected = evaluate(graph, {"x": preprocess.apply(frame, graph.inputs[0])})["y"]
    np.testing.assert_allclose(value, expected, atol=1e-5 * np.abs(expected).max())
    assert artifact.inputs[0].dtype is DType.UINT8
    assert artifact.inputs[0].shape == (1, 8, 8, preprocess.frame_channels)
    assert artifact.fused_preprocess == ("x",)


def test_the_facts_are_in_model_info_under_the_keys_of_model_api(tmp_path: Path) -> None:
    graph = replace(model(), metadata={LABELS: json.dumps(["tabby cat", "dog"])})
    preprocess = Preprocess(mean=(0.5,), std=(0.25,), scale=(1 / 255,))

    emit(graph, tmp_path, target=TARGET, preprocess={"x": preprocess})

    read = ov.Core().read_model(tmp_path / "model.xml")

    def info(key: str) -> str:
        return str(read.get_rt_info(["model_info", key]).astype(str))

    assert info("labels") == "tabby_cat dog"
    assert info("mean_values") == "127.5 127.5 127.5"
    assert info("scale_values") == "63.75 63.75 63.75"
    assert info("reverse_input_channels") == "True"
    assert info("embedded_processing") == "True"
    assert info("edgekit_precision") == "fp32"


def test_an_operator_that_openvino_lacks_is_named_with_its_node(tmp_path: Path) -> None:
    graph = graph_from_bytes(
        build(
            [helper.make_node("Det", ["x"], ["y"], name="the_determinant")],
            inputs={"x": [2, 2]},
            outputs={"y": []},
        ).SerializeToString()
    )

    with pytest.raises(UnsupportedOperatorError) as caught:
        emit(graph, tmp_path, target=TARGET)

    assert caught.value.node == "the_determinant"
    assert caught.value.op_type == "Det"
    assert "No conversion rule" in caught.value.reason


def test_a_dynamic_batch_stays_dynamic(tmp_path: Path) -> None:
    graph = graph_from_bytes(
        build(
            [helper.make_node("Relu", ["x"], ["y"])],
            inputs={"x": ["batch", 4]},
            outputs={"y": ["batch", 4]},
        ).SerializeToString()
    )

    artifact = emit(graph, tmp_path, target=TARGET)
    value = run(load(tmp_path, artifact), {"x": normal((5, 4))})["y"]

    assert artifact.inputs[0].shape == ("batch", 4)
    assert value.shape == (5, 4)


def test_max_unpooling_which_openvino_lacks_is_written_in_other_operators(tmp_path: Path) -> None:
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    graph = graph_from_bytes(
        build(
            [
                helper.make_node("MaxPool", ["x"], ["p", "i"], **pool),
                helper.make_node("MaxUnpool", ["p", "i"], ["y"], **pool),
            ],
            inputs={"x": [1, 3, 8, 8]},
            outputs={"y": [1, 3, 8, 8]},
        ).SerializeToString()
    )
    x = normal((1, 3, 8, 8))

    value = run(load(tmp_path, emit(graph, tmp_path, target=TARGET)), {"x": x})["y"]

    np.testing.assert_array_equal(value, evaluate(graph, {"x": x})["y"])
