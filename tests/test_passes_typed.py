"""Older operator sets and float16 types: the same model, said in another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny_onnx import LIGHT_MODELS, build, conv_relu, normal, real_model_params

from edgekit.converters.evaluate import evaluate
from edgekit.converters.gate import HALF, check_step
from edgekit.converters.onnx_model import check_graph, graph_from_bytes, read_graph
from edgekit.converters.passes import simplify
from edgekit.converters.passes.lower_opset import lower_opset
from edgekit.converters.passes.type_half import type_half
from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Graph
from edgekit.tensor import DType

AXES = {"axes": np.array([2, 3])}


def tiny(nodes: list[Any], **given: Any) -> Graph:
    return graph_from_bytes(build(nodes, **given).SerializeToString())


@pytest.mark.parametrize("path", [*LIGHT_MODELS], ids=lambda path: path.stem)
def test_a_light_model_is_the_same_in_opset_17(path: Path) -> None:
    graph = simplify(read_graph(path))

    check_step("lower_opset", graph, lower_opset(graph, 17), opset=17)


@pytest.mark.parametrize("path", real_model_params())
def test_a_real_model_is_the_same_in_opset_17(path: Path) -> None:
    graph = simplify(read_graph(path))

    check_step("lower_opset", graph, lower_opset(graph, 17), opset=17)


def test_axes_of_a_reduction_become_an_attribute_again() -> None:
    graph = tiny(
        [helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)],
        inputs={"x": [1, 2, 3, 4]},
        outputs={"y": [1, 2]},
        constants=AXES,
    )

    lowered = lower_opset(graph, 17)

    assert lowered.nodes[0].attributes["axes"] == (2, 3)
    check_step("lower_opset", graph, lowered, opset=17)


@pytest.mark.parametrize("size", [6, 7], ids=["even", "uneven"])
def test_the_sizes_of_a_split_are_written_out(size: int) -> None:
    graph = tiny(
        [helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2)],
        inputs={"x": [1, size]},
        outputs={"a": None, "b": None},
    )

    check_step("lower_opset", graph, lower_opset(graph, 17), opset=17)


def test_sampling_modes_get_their_old_names() -> None:
    graph = tiny(
        [helper.make_node("GridSample", ["x", "g"], ["y"], mode="linear")],
        inputs={"x": [1, 2, 4, 4], "g": [1, 3, 3, 2]},
        outputs={"y": [1, 2, 3, 3]},
        opset=20,
    )

    lowered = lower_opset(graph, 17)

    assert lowered.nodes[0].attributes["mode"] == "bilinear"
    check_step("lower_opset", graph, lowered, opset=17)


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (helper.make_node("Mish", ["x"], ["y"], name="n"), "the operator is newer"),
        (helper.make_node("Pad", ["x", "p"], ["y"], name="n", mode="wrap"), "mode='wrap' is newer"),
        (helper.make_node("Gelu", ["x"], ["y"], name="n"), "the operator is newer"),
    ],
    ids=["mish", "wrap", "gelu"],
)
def test_what_an_older_opset_cannot_say_is_refused_by_node(node: Any, reason: str) -> None:
    graph = tiny(
        [node],
        inputs={"x": [2, 2]},
        outputs={"y": None},
        constants={"p": np.array([0, 1, 0, 1])},
        opset=20,
    )

    with pytest.raises(UnsupportedOperatorError, match=reason) as caught:
        lower_opset(graph, 17)

    assert caught.value.node == "n"


@pytest.mark.parametrize("path", [LIGHT_MODELS[1], *LIGHT_MODELS[4:6]], ids=lambda p: p.stem)
def test_a_light_model_stays_close_in_float16(path: Path) -> None:
    graph = simplify(read_graph(path))

    check_step("type_half", graph, type_half(graph), limit=HALF)


def test_inputs_and_outputs_keep_float32_around_float16_layers() -> None:
    graph = graph_from_bytes(conv_relu().SerializeToString())

    typed = type_half(graph)

    check_graph(typed)
    assert [spec.dtype for spec in (*typed.inputs, *typed.outputs)] == [DType.FLOAT32] * 2
    assert {value.dtype.name for value in typed.initializers.values()} == {"float16"}
    check_step("type_half", graph, typed, limit=HALF)


def test_fragile_operators_stay_float32_between_float16_layers() -> None:
    graph = tiny(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
            helper.make_node("Softmax", ["a"], ["s"], name="softmax"),
            helper.make_node("MatMul", ["s", "w"], ["y"], name="second"),
        ],
        inputs={"x": [4, 4]},
        outputs={"y": [4, 4]},
        constants={"w": normal((4, 4))},
    )

    typed = type_half(graph)

    by_name = {node.name: typed.values[node.outputs[0]].dtype for node in typed.nodes}
    assert by_name["first"] is DType.FLOAT16
    assert by_name["softmax"] is DType.FLOAT32
    check_step("type_half", graph, typed, limit=HALF)


def test_what_follows_the_last_layer_stays_float32() -> None:
    """Box decoding multiplies by strides: float16 steps are half a pixel beyond 512."""
    graph = tiny(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="head"),
            helper.make_node("Mul", ["c", "stride"], ["y"], name="decode"),
        ],
        inputs={"x": [1, 3, 8, 8]},
        outputs={"y": [1, 4, 6, 6]},
        constants={"w": normal((4, 3, 3, 3)), "stride": np.array(32, np.float32)},
    )

    typed = type_half(graph)

    decode = next(node for node in typed.nodes if node.name == "decode")
    assert typed.initializers["stride"].dtype == np.float32
    assert typed.values[decode.inputs[0]].dtype is DType.FLOAT32


def test_a_layer_whose_weights_float16_cannot_hold_stays_float32() -> None:
    graph = tiny(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        inputs={"x": [1, 4]},
        outputs={"y": [1, 4]},
        constants={"w": np.full((4, 4), 1e6, np.float32)},
    )

    assert type_half(graph) is graph


def test_tensors_that_a_nested_graph_reads_stay_float32() -> None:
    def branch(op_type: str) -> Any:
        out = helper.make_tensor_value_info(op_type, TensorProto.FLOAT, [1, 4])
        return helper.make_graph([helper.make_node(op_type, ["m"], [op_type])], op_type, [], [out])

    graph = tiny(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node(
                "If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg")
            ),
        ],
        inputs={"x": [1, 4], "c": []},
        outputs={"y": [1, 4]},
        constants={"w": normal((4, 4))},
        dtypes={"c": TensorProto.BOOL},
    )

    typed = type_half(graph)

    feeds = {"x": normal((1, 4)), "c": np.array(True)}
    np.testing.assert_array_equal(evaluate(typed, feeds)["y"], evaluate(graph, feeds)["y"])
