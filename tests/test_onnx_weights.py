"""Integer weights in ONNX files: what ONNX Runtime makes of them when it loads the file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from quantize_models import minmax_ranges, noise, sqnr_db, to_graph, weights
from test_emitter_tensorrt_typed import attention
from test_four_bits import large
from tiny_onnx import build

from edgekit.converters.emitters.onnx import emit
from edgekit.converters.evaluate import evaluate, run_model
from edgekit.converters.quantize import pick_scheme, quantize
from edgekit.graph import Graph
from edgekit.target import pick_target

NEAR_DB = 25.0


def emitted(graph: Graph, precision: str, folder: Path) -> Path:
    ranges = minmax_ranges(graph, noise(graph))
    table = quantize(graph, ranges, pick_scheme("onnx", precision))
    artifact = emit(table, folder, target=pick_target(f"onnx:{precision}"))
    return folder / artifact.files["model"]


def loaded(path: Path) -> Counter[str]:
    """Return the operators that ONNX Runtime runs."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(path.with_name("loaded.onnx"))
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(path.with_name("loaded.onnx")).graph.node)


def convolutions() -> Graph:
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"], name="conv"),
        helper.make_node("ConvTranspose", ["c", "w1"], ["y"], name="up", strides=[2, 2]),
    ]
    constants = {"w0": weights(8, 3, 3, 3), "w1": weights(8, 8, 2, 2, seed=1)}
    shapes = {"x": [1, 3, 10, 10]}, {"y": [1, 8, 16, 16]}
    return to_graph(build(nodes, inputs=shapes[0], outputs=shapes[1], constants=constants))


def test_weights_of_convolutions_are_unpacked_once(tmp_path: Path) -> None:
    path = emitted(convolutions(), "w8", tmp_path)

    stored = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert onnx.TensorProto.INT8 in stored
    assert not {"Cast", "Mul", "DequantizeLinear"} & set(loaded(path))


def test_a_weight_of_a_product_is_read_as_integers(tmp_path: Path) -> None:
    assert set(loaded(emitted(large(), "w8", tmp_path))) == {"MatMulNBits"}


@pytest.mark.parametrize("make", [convolutions, large])
def test_w8_computes_what_the_model_does(make, tmp_path: Path) -> None:
    graph = make()
    feed = noise(graph)[0]

    result = run_model(emitted(graph, "w8", tmp_path), feed, optimize=True)["y"]

    assert sqnr_db(evaluate(graph, feed)["y"], result) > NEAR_DB


def rows() -> Graph:
    """Return the same of rank 2, as Keras models are exported."""
    return biased((9,))


def biased(head: tuple[int, ...] = (1, 9)) -> Graph:
    """Return a product of a sequence with its bias, as exporters write a linear layer."""
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["m"], name="first"),
        helper.make_node("Add", ["m", "b0"], ["a"], name="bias"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w1"], ["n"], name="second"),
        helper.make_node("Add", ["b1", "n"], ["y"], name="bias2"),
    ]
    rng = np.random.default_rng(0)
    constants = {
        "w0": weights(32, 48),
        "b0": rng.standard_normal(48).astype(np.float32),
        "w1": weights(48, 24, seed=1),
        "b1": rng.standard_normal(24).astype(np.float32),
    }
    shapes = {"x": [*head, 32]}, {"y": [*head, 24]}
    return to_graph(build(nodes, inputs=shapes[0], outputs=shapes[1], constants=constants))


@pytest.mark.parametrize("make", [biased, rows, attention])
def test_products_of_integers_stay_integers_behind_their_biases(make, tmp_path: Path) -> None:
    graph = make()
    feed = noise(graph)[0]

    path = emitted(graph, "int8", tmp_path)

    result = run_model(path, feed, optimize=True)["y"]
    assert not {"Gemm", "MatMul"} & set(loaded(path))
    assert sqnr_db(evaluate(graph, feed)["y"], result) > NEAR_DB
