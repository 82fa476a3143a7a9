"""Q/DQ graphs: valid, fast-path placement per target, and the same integers everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from quantize_models import (
    LAYERS,
    joined,
    minmax_ranges,
    noise,
    one_layer,
    residual,
    run_openvino,
    sqnr_db,
    to_graph,
    weights,
)
from tiny_onnx import build

from edgekit.converters.evaluate import evaluate
from edgekit.converters.onnx_model import check_graph
from edgekit.converters.quantize import pick_scheme, quantize, to_qdq
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.ranges import Ranges

FORMATS = ("openvino", "onnx", "tensorrt")
# One int8 layer of these sizes: 8-bit noise of inputs and weights together.
LAYER_SQNR_DB = 30.0
NETWORK_SQNR_DB = 20.0


def written(graph: Graph, format: str, precision: str = "int8") -> Graph:
    scheme = pick_scheme(format, precision)
    return to_qdq(quantize(graph, minmax_ranges(graph, noise(graph)), scheme), scheme)


def quantized_tensors(graph: Graph) -> set[str]:
    return {
        node.inputs[0]
        for node in graph.nodes
        if node.op_type == "QuantizeLinear" and node.inputs[0] not in graph.initializers
    }


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("op", LAYERS)
def test_a_layer_is_valid_onnx_and_near_its_float_result(op: str, format: str) -> None:
    graph = one_layer(op)
    feed = noise(graph)[0]

    qdq = written(graph, format)

    check_graph(qdq)
    assert sqnr_db(evaluate(graph, feed)["y"], evaluate(qdq, feed)["y"]) > LAYER_SQNR_DB


@pytest.mark.parametrize("op", LAYERS)
def test_openvino_computes_a_layers_integers_as_onnx_says(op: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    graph = one_layer(op)
    feed = noise(graph)[0]
    scheme = pick_scheme("openvino")
    table = quantize(graph, minmax_ranges(graph, noise(graph)), scheme)

    result = run_openvino(to_qdq(table, scheme), feed, tmp_path)[0]

    # Its output is float: what is left are roundings of the float32 sum, no step of the code.
    step = table.codes["y"].quantization.scale[0]
    assert np.abs(result - evaluate(to_qdq(table, scheme), feed)["y"]).max() < step / 100


@pytest.mark.parametrize("make", [residual, joined])
def test_engines_agree_within_two_steps_on_a_small_network(make, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    graph = make()
    feed = noise(graph)[1]
    ranges = minmax_ranges(graph, noise(graph))
    table = quantize(graph, ranges, pick_scheme("tflite"))

    onnx = evaluate(to_qdq(table, pick_scheme("onnx")), feed, optimize=True)["y"]
    openvino = run_openvino(to_qdq(table, pick_scheme("openvino")), feed, tmp_path)[0]

    assert np.abs(onnx - openvino).max() <= 2 * table.codes["y"].quantization.scale[0]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("make", [residual, joined])
def test_a_network_is_near_its_float_result(make, format: str) -> None:
    graph = make()
    feed = noise(graph)[0]

    qdq = written(graph, format)

    check_graph(qdq)
    assert sqnr_db(evaluate(graph, feed)["y"], evaluate(qdq, feed)["y"]) > NETWORK_SQNR_DB


def test_openvino_quantizes_before_what_only_moves() -> None:
    assert quantized_tensors(written(joined(), "openvino")) == {"x", "left", "wide"}


def test_openvino_reads_integers_on_both_sides_of_a_residual_add() -> None:
    assert quantized_tensors(written(residual(), "openvino")) >= {"r0", "c2", "r2"}


def test_onnx_runtime_gets_pairs_on_both_sides_of_integer_kernels() -> None:
    tensors = quantized_tensors(written(joined(), "onnx"))

    assert {"x", "left", "wide", "small", "right", "both"} < tensors


def test_tensorrt_quantizes_inputs_of_layers_and_the_skip_branch_only() -> None:
    qdq = written(residual(), "tensorrt")

    # The head is too small for integers there; the Add's other operand is made by a layer.
    assert quantized_tensors(qdq) == {"x", "r0", "r1", "r2"}
    add = next(node for node in qdq.nodes if node.name == "add")
    assert add.inputs == ("c2", "r0_dequantized")


def test_tensorrt_gets_symmetric_codes_and_float_biases() -> None:
    qdq = written(residual(), "tensorrt")

    points = [
        qdq.initializers[node.inputs[2]]
        for node in qdq.nodes
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]
    assert all(point.dtype == np.int8 and not point.any() for point in points)
    convs = [node for node in qdq.nodes if node.op_type == "Conv"]
    assert all(qdq.initializers[node.inputs[2]].dtype == np.float32 for node in convs)


def test_onnx_runtime_gets_biases_at_input_times_weight_scale() -> None:
    graph = one_layer("Conv")
    scheme = pick_scheme("onnx")
    table = quantize(graph, minmax_ranges(graph, noise(graph)), scheme)

    qdq = to_qdq(table, scheme)

    conv = next(node for node in qdq.nodes if node.op_type == "Conv")
    bias = next(node for node in qdq.nodes if node.outputs[0] == conv.inputs[2])
    expected = np.float32(table.codes["x"].quantization.scale[0]) * np.asarray(
        table.codes["w"].quantization.scale, np.float32
    )
    assert qdq.initializers[bias.inputs[0]].dtype == np.int32
    assert np.array_equal(qdq.initializers[bias.inputs[1]], expected)


def test_openvino_gets_the_same_biases_as_floats() -> None:
    graph = one_layer("Conv")

    biases = {}
    for format in ("openvino", "onnx"):
        qdq = written(graph, format)
        (layer,) = [node for node in qdq.nodes if node.op_type == "Conv"]
        maker = qdq.producers().get(layer.inputs[2])
        names = (layer.inputs[2],) if maker is None else maker.inputs
        biases[format] = [qdq.initializers[name] for name in names]

    ((floats,), (integers, scale, _)) = biases["openvino"], biases["onnx"]
    np.testing.assert_allclose(floats, integers * scale, rtol=1e-6)


def test_onnx_runtime_adds_a_bias_behind_a_matmul_in_float() -> None:
    """Nothing rounds the product, so that 8 bits for the bias would only lose."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="matmul"),
        helper.make_node("Add", ["m", "b"], ["a"], name="bias"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "v"], ["y"], name="last"),
    ]
    constants = {"w": weights(8, 8), "b": weights(8, seed=1), "v": weights(8, 8, seed=2)}
    graph = to_graph(build(nodes, inputs={"x": [2, 8]}, outputs={"y": [2, 8]}, constants=constants))

    qdq = written(graph, "onnx")

    (add,) = [node for node in qdq.nodes if node.op_type == "Add"]
    assert "b" in add.inputs


def test_uint8_and_int8_are_the_same_numbers_128_apart() -> None:
    graph = one_layer("Conv")
    table = quantize(graph, minmax_ranges(graph, noise(graph)), pick_scheme("tflite"))

    qdq = to_qdq(table, pick_scheme("onnx"))

    pair = next(node for node in qdq.nodes if node.op_type == "QuantizeLinear")
    point = qdq.initializers[pair.inputs[2]]
    assert point.dtype == np.uint8
    assert int(point) == table.codes["x"].quantization.zero_point[0] + 128


def test_an_output_keeps_its_name_behind_a_pair() -> None:
    graph = one_layer("Conv")

    qdq = written(graph, "onnx")

    assert qdq.output_names == ("y",)
    assert next(n for n in qdq.nodes if n.outputs == ("y",)).op_type == "DequantizeLinear"


def test_a_layer_kept_float_reads_and_writes_no_pair_of_its_own() -> None:
    graph = residual()
    scheme = pick_scheme("onnx")
    ranges = minmax_ranges(graph, noise(graph))

    qdq = to_qdq(quantize(graph, ranges, scheme, keep_float=["head"]), scheme)

    head = next(node for node in qdq.nodes if node.name == "head")
    assert head.inputs[1:] == ("w4", "b4")


def test_weight_only_leaves_activations_alone() -> None:
    graph = one_layer("MatMul")
    scheme = pick_scheme("openvino", "w8")

    qdq = to_qdq(quantize(graph, Ranges("", 0, "", {}), scheme), scheme)

    assert [node.op_type for node in qdq.nodes] == ["DequantizeLinear", "MatMul"]
    assert qdq.initializers[qdq.nodes[0].inputs[0]].dtype == np.int8


def test_a_table_with_zero_points_is_no_tensorrt_table() -> None:
    graph = one_layer("Conv")
    table = quantize(graph, minmax_ranges(graph, noise(graph)), pick_scheme("tflite"))

    with pytest.raises(UsageError, match="needs zero points of 0"):
        to_qdq(table, pick_scheme("tensorrt"))


def test_tflite_has_no_qdq_form() -> None:
    graph = one_layer("Conv")
    table = quantize(graph, minmax_ranges(graph, noise(graph)), pick_scheme("tflite"))

    with pytest.raises(UsageError, match="has no Q/DQ form"):
        to_qdq(table, pick_scheme("tflite"))
