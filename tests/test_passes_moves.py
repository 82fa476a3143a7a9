"""Operators that change nothing go, and chains of moves become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny_onnx import assert_same, normal, op_types, tiny

from edgekit.converters.evaluate import evaluate
from edgekit.converters.passes import simplify


def test_an_identity_before_an_output_keeps_the_outputs_name() -> None:
    graph = tiny(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Identity", ["r"], ["y"]),
            helper.make_node("Identity", ["r"], ["z"]),
        ],
        inputs={"x": [2]},
        outputs={"y": [2], "z": [2]},
    )

    simple = simplify(graph)

    assert simple.output_names == ("y", "z")
    assert op_types(simple) == ["Relu", "Identity"]
    assert_same(graph, simple)


def test_an_identity_between_input_and_output_stays() -> None:
    graph = tiny(
        [helper.make_node("Identity", ["x"], ["y"])], inputs={"x": [2]}, outputs={"y": [2]}
    )

    assert op_types(simplify(graph)) == ["Identity"]


def test_a_dropout_whose_mask_is_read_stays() -> None:
    graph = tiny(
        [
            helper.make_node("Dropout", ["x"], ["d", "mask"]),
            helper.make_node("Relu", ["d"], ["y"]),
            helper.make_node("Not", ["mask"], ["z"]),
        ],
        inputs={"x": [2]},
        outputs={"y": [2], "z": [2]},
        dtypes={"z": TensorProto.BOOL},
    )

    assert "Dropout" in op_types(simplify(graph))


def test_transposes_that_cancel_go() -> None:
    graph = tiny(
        [
            helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
            helper.make_node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
            helper.make_node("Relu", ["b"], ["y"]),
        ],
        inputs={"x": [1, 2, 3, 4]},
        outputs={"y": [1, 2, 3, 4]},
    )

    assert op_types(simplify(graph)) == ["Relu"]


def test_transposes_in_a_row_become_one() -> None:
    graph = tiny(
        [
            helper.make_node("Transpose", ["x"], ["a"], perm=[2, 0, 1]),
            helper.make_node("Transpose", ["a"], ["y"], perm=[0, 2, 1]),
        ],
        inputs={"x": [2, 3, 4]},
        outputs={"y": [4, 3, 2]},
    )

    simple = simplify(graph)

    assert op_types(simple) == ["Transpose"]
    assert_same(graph, simple)


def test_reshapes_in_a_row_become_one_unless_a_zero_copies_a_size() -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["a"]),
        helper.make_node("Reshape", ["a", "shape"], ["y"]),
    ]
    given: dict[str, Any] = {"inputs": {"x": ["n", 3, 4]}, "outputs": {"y": None}}
    free = tiny(nodes, constants={"shape": np.array([-1, 6])}, **given)
    bound = tiny(nodes, constants={"shape": np.array([0, 2, 6])}, **given)

    assert op_types(simplify(free)) == ["Reshape"]
    assert op_types(simplify(bound)) == ["Flatten", "Reshape"]


def test_tensors_that_a_nested_graph_reads_are_renamed_in_it() -> None:
    def branch(op_type: str) -> Any:
        out = helper.make_tensor_value_info(op_type, TensorProto.FLOAT, [2])
        return helper.make_graph([helper.make_node(op_type, ["i"], [op_type])], op_type, [], [out])

    graph = tiny(
        [
            helper.make_node("Identity", ["x"], ["i"]),
            helper.make_node(
                "If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg")
            ),
        ],
        inputs={"x": [2], "c": []},
        outputs={"y": [2]},
        dtypes={"c": TensorProto.BOOL},
    )
    feeds = {"x": np.array([1, -2], np.float32), "c": np.array(False)}

    simple = simplify(graph)

    assert op_types(simple) == ["If"]
    np.testing.assert_array_equal(evaluate(simple, feeds)["y"], [-1, 2])


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7)], ids=["whole", "odd"])
def test_max_unpooling_becomes_ordinary_operators(height: int, width: int) -> None:
    graph = tiny(
        [
            helper.make_node(
                "MaxPool", ["x"], ["p", "i"], name="pool", kernel_shape=[2, 2], strides=[2, 2]
            ),
            helper.make_node(
                "MaxUnpool", ["p", "i", "s"], ["y"], kernel_shape=[2, 2], strides=[2, 2]
            ),
        ],
        inputs={"x": [2, 3, height, width]},
        outputs={"y": [2, 3, height, width]},
        constants={"s": np.array([2, 3, height, width])},
    )
    ties = np.round(normal((2, 3, height, width)))  # many equal values in one window

    expanded = simplify(graph, ("expand_unpool",))

    assert "MaxUnpool" not in op_types(expanded)
    assert expanded.producers()["p"].outputs == ("p",)
    np.testing.assert_array_equal(
        evaluate(expanded, {"x": ties})["y"], evaluate(graph, {"x": ties})["y"]
    )


def test_max_unpooling_over_overlapping_windows_stays() -> None:
    graph = tiny(
        [
            helper.make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=[3, 3], strides=[2, 2]),
            helper.make_node("MaxUnpool", ["p", "i"], ["y"], kernel_shape=[3, 3], strides=[2, 2]),
        ],
        inputs={"x": [1, 1, 7, 7]},
        outputs={"y": [1, 1, 7, 7]},
    )

    assert "MaxUnpool" in op_types(simplify(graph, ("expand_unpool",)))
