"""Operators that repeat each other are computed once, and only those."""

from __future__ import annotations

import numpy as np
from onnx import helper
from tiny_onnx import tiny

from edgekit.converters.emitters.tflite.lower import lower
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.converters.emitters.tflite.share import share
from edgekit.tensor import DType


def tensor(name: str, data: np.ndarray | None = None) -> Tensor:
    shape = (2,) if data is None else data.shape
    return Tensor(name, shape, DType.FLOAT32, data)


def test_the_same_operator_on_the_same_inputs_runs_once() -> None:
    x, a, b, y = (tensor(name) for name in "xaby")
    one, same = (tensor("c", np.array([1, 2], np.float32)) for _ in range(2))
    operators = [
        Operator("ADD", [x, one], [a], {}),
        Operator("ADD", [x, same], [b], {}),
        Operator("MUL", [a, b], [y], {}),
    ]

    shared = share(operators, [y])

    assert [operator.op for operator in shared] == ["ADD", "MUL"]
    assert shared[1].inputs == [a, a]


def test_other_options_constants_or_inputs_are_kept_apart() -> None:
    x, z = tensor("x"), tensor("z")
    one, two = (tensor("c", np.array([n, n], np.float32)) for n in (1, 2))
    operators = [
        Operator("ADD", [x, one], [tensor("a")], {}),
        Operator("ADD", [x, two], [tensor("b")], {}),
        Operator("ADD", [z, one], [tensor("c")], {}),
        Operator("ADD", [x, one], [tensor("d")], {"fused_activation_function": 1}),
        Operator("SUB", [x, one], [tensor("e")], {}),
    ]

    assert share(operators, [operator.outputs[0] for operator in operators]) == operators
    assert len(share(operators, [])) == len(operators)


def test_what_makes_a_graph_output_stays() -> None:
    x, a, b = (tensor(name) for name in "xab")
    operators = [Operator("NEG", [x], [a], {}), Operator("NEG", [x], [b], {})]

    assert share(operators, [a, b]) == operators


def test_two_convolutions_on_one_picture_share_its_padding() -> None:
    weights = np.random.default_rng(0).standard_normal((2, 4, 3, 3, 3)).astype(np.float32)
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    graph = tiny(
        [
            helper.make_node("Conv", ["x", "v"], ["a"], **window),
            helper.make_node("Conv", ["x", "w"], ["b"], **window),
            helper.make_node("Add", ["a", "b"], ["y"]),
        ],
        inputs={"x": [1, 3, 8, 8]},
        outputs={"y": [1, 4, 4, 4]},
        constants={"v": weights[0], "w": weights[1]},
    )

    operators = [operator.op for operator in lower(graph).model.subgraphs[0].operators]

    assert operators == ["PAD", "CONV_2D", "CONV_2D", "ADD"]
