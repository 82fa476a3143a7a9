"""Operators that combine several tensors become integers, and what a layer fuses is part of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_quantized import minmax_ranges
from onnx import helper
from tiny_onnx import assert_same, feeds_of, normal, op_types, tiny

from edgekit.converters.passes import simplify
from edgekit.converters.passes.split_sums import split_sums
from edgekit.converters.quantize import pick_scheme, prepare_for_integers, quantize, to_qdq
from edgekit.graph import Graph
from edgekit.quantized import QuantizedGraph

SHAPE = (1, 4, 6, 6)


def quantized(graph: Graph, format: str) -> QuantizedGraph:
    ready = prepare_for_integers(simplify(graph))
    return quantize(ready, minmax_ranges(ready, [feeds_of(ready)]), pick_scheme(format))


def branches(op_type: str, count: int) -> Graph:
    """Return x -> ``count`` convolutions -> one operator on them all -> Conv -> y."""
    convs = [helper.make_node("Conv", ["x", f"w{i}"], [f"c{i}"]) for i in range(count)]
    return tiny(
        [
            *convs,
            helper.make_node(op_type, [f"c{i}" for i in range(count)], ["m"], name="joint"),
            helper.make_node("Conv", ["m", "v"], ["y"]),
        ],
        inputs={"x": SHAPE},
        outputs={"y": SHAPE},
        constants={
            "v": normal((4, 4, 1, 1)),
            **{f"w{i}": normal((4, 4, 1, 1), seed=i + 2) for i in range(count)},
        },
    )


def layer_between_floats(*nodes: Any, layer: str = "Conv") -> Graph:
    """Return x -> layer -> nodes that make r -> Erf -> y: nothing integer reads the layer."""
    weight = normal((4, 4, 1, 1)) if layer == "Conv" else normal((6, 6))
    constants = {"w": weight, "bias": normal((6,))}
    made = [helper.make_node(layer, ["x", "w"], ["c"], name="layer"), *nodes]
    used = {name for node in made for name in node.input}
    return tiny(
        [*made, helper.make_node("Erf", ["r"], ["y"])],
        inputs={"x": SHAPE},
        outputs={"y": SHAPE},
        constants={name: value for name, value in constants.items() if name in used},
    )


@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_max_and_min_compare_integers_in_one_code(op_type: str) -> None:
    made = quantized(branches(op_type, 3), "tflite")

    assert not made.float_nodes
    assert made.codes["c0"] == made.codes["c1"] == made.codes["c2"] == made.codes["m"]


def test_openvino_reads_the_result_of_max_through_a_pair_of_its_own() -> None:
    graph = to_qdq(quantized(branches("Max", 2), "openvino"), pick_scheme("openvino"))

    readers = graph.consumers()
    assert [node.op_type for node in readers["m"]] == ["QuantizeLinear"]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_sum_becomes_adds_that_are_integers(count: int) -> None:
    graph = branches("Sum", count)

    made = quantized(graph, "tflite")

    assert not made.float_nodes
    assert op_types(made.graph).count("Add") == count - 1
    assert_same(graph, made.graph, rtol=1e-6)


def test_a_sum_that_broadcasts_stays() -> None:
    graph = tiny(
        [helper.make_node("Sum", ["x", "k"], ["y"])],
        inputs={"x": [2, 3]},
        outputs={"y": [2, 3]},
        constants={"k": np.ones(3, np.float32)},
    )

    assert split_sums(graph) is graph


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino", "tensorrt"])
def test_an_activation_behind_a_layer_is_not_alone(format: str) -> None:
    made = quantized(layer_between_floats(helper.make_node("Relu", ["c"], ["r"])), format)

    assert "r" in made.codes
    assert "c" not in made.codes


def test_a_bias_behind_a_product_is_part_of_it_where_integers_must_be_written() -> None:
    graph = layer_between_floats(helper.make_node("Add", ["c", "bias"], ["r"]), layer="MatMul")

    assert "r" in quantized(graph, "tflite").codes
    assert "r" not in quantized(graph, "onnx").codes


def test_an_activation_alone_stays_float() -> None:
    graph = layer_between_floats(
        helper.make_node("Erf", ["c"], ["e"]), helper.make_node("Relu", ["e"], ["r"])
    )

    assert "r" not in quantized(graph, "tflite").codes


def test_openvino_pools_for_a_gate_in_float() -> None:
    graph = tiny(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("GlobalAveragePool", ["c"], ["p"]),
            helper.make_node("Conv", ["p", "v"], ["g"]),
            helper.make_node("Mul", ["c", "g"], ["m"]),
            helper.make_node("Conv", ["m", "w"], ["y"]),
        ],
        inputs={"x": SHAPE},
        outputs={"y": SHAPE},
        constants={"w": normal((4, 4, 1, 1)), "v": normal((4, 4, 1, 1), seed=2)},
    )

    written = to_qdq(quantized(graph, "openvino"), pick_scheme("openvino"))

    readers = written.consumers()
    assert sorted(node.op_type for node in readers["c"]) == ["GlobalAveragePool", "Mul"]
    assert [node.op_type for node in readers["p"]] == ["QuantizeLinear"]


def pooled(**attributes: Any) -> Graph:
    """Return x -> Conv -> Relu -> AveragePool -> Conv -> y, of a picture of 6 x 6."""
    return tiny(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("AveragePool", ["r"], ["p"], name="pool", **attributes),
            helper.make_node("Conv", ["p", "w"], ["y"]),
        ],
        inputs={"x": SHAPE},
        outputs={"y": None},
        constants={"w": normal((4, 4, 1, 1))},
    )


@pytest.mark.parametrize("format", ["openvino", "onnx", "tflite", "tensorrt"])
def test_an_average_over_the_whole_picture_has_a_code_of_its_own(format: str) -> None:
    made = quantized(pooled(kernel_shape=[6, 6], strides=[6, 6]), format)

    # The mean of 36 pixels of noise behind a ReLU is a fraction of the largest.
    assert made.codes["p"].quantization.scale[0] < made.codes["r"].quantization.scale[0] / 2


def test_naming_an_average_over_the_whole_picture_does_not_change_it() -> None:
    graph = pooled(kernel_shape=[6, 6])

    ready = prepare_for_integers(graph)

    assert "GlobalAveragePool" in op_types(ready)
    assert_same(graph, ready)


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [3, 6]},
        {"kernel_shape": [6, 6], "pads": [1, 1, 0, 0]},
        {"kernel_shape": [6, 6], "auto_pad": "SAME_UPPER"},
    ],
    ids=["a part of the picture", "padded", "same"],
)
def test_an_average_of_several_windows_keeps_the_code_of_its_input(
    attributes: dict[str, Any],
) -> None:
    made = quantized(pooled(**attributes), "tflite")

    assert made.codes["p"] == made.codes["r"]
