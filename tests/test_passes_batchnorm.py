"""Batch norms and constant scales go into the layer before, where that is exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from onnx import helper
from tiny_onnx import assert_same, normal, op_types, tiny

from edgekit.converters.passes import simplify
from edgekit.graph import Graph


@dataclass(frozen=True)
class Layer:
    id: str
    op_type: str
    x: tuple[int, ...]
    weight: tuple[int, ...]
    channels: int
    bias: bool = False
    group: int = 1
    trans_b: int = 0


LAYERS = [
    Layer("conv", "Conv", (1, 4, 6, 6), (8, 4, 3, 3), 8),
    Layer("conv_bias", "Conv", (1, 4, 6, 6), (8, 4, 3, 3), 8, bias=True),
    Layer("depthwise", "Conv", (1, 8, 6, 6), (8, 1, 3, 3), 8, group=8),
    Layer("conv_1d", "Conv", (1, 4, 9), (8, 4, 3), 8),
    Layer("conv_3d", "Conv", (1, 2, 5, 5, 5), (4, 2, 3, 3, 3), 4),
    Layer("transposed", "ConvTranspose", (1, 4, 6, 6), (4, 8, 3, 3), 8, bias=True),
    Layer("transposed_groups", "ConvTranspose", (1, 4, 6, 6), (4, 3, 3, 3), 6, group=2),
    Layer("gemm", "Gemm", (2, 5), (5, 7), 7, bias=True),
    Layer("gemm_transposed", "Gemm", (2, 5), (7, 5), 7, trans_b=1),
]


def layer_then(layer: Layer, then: list[Any], constants: dict[str, np.ndarray]) -> Graph:
    """Return x -> layer -> c, followed by nodes that read c and make y."""
    attributes: dict[str, Any] = {"group": layer.group}
    if layer.op_type == "Gemm":
        attributes = {"transB": layer.trans_b, "alpha": 0.5, "beta": 2.0}
    inputs = ["x", "w", "b"] if layer.bias else ["x", "w"]
    own = {"w": normal(layer.weight), "b": normal((layer.channels,), seed=3)}
    return tiny(
        [helper.make_node(layer.op_type, inputs, ["c"], name="layer", **attributes), *then],
        inputs={"x": layer.x},
        outputs={"y": [None] * len(layer.x)},
        constants={**{name: own[name] for name in inputs[1:]}, **constants},
    )


def norm_constants(channels: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        "gamma": rng.uniform(0.5, 2, channels).astype(np.float32),
        "beta": rng.standard_normal(channels, dtype=np.float32),
        "mean": rng.standard_normal(channels, dtype=np.float32),
        "var": rng.uniform(1e-3, 2, channels).astype(np.float32),
    }


NORM = ["gamma", "beta", "mean", "var"]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.id)
def test_a_batch_norm_goes_into_the_layer_before(layer: Layer) -> None:
    norm = helper.make_node("BatchNormalization", ["c", *NORM], ["y"], epsilon=1e-3)
    graph = layer_then(layer, [norm], norm_constants(layer.channels))

    simple = simplify(graph)

    assert op_types(simple) == [layer.op_type]
    assert_same(graph, simple)


@pytest.mark.parametrize("op_type", ["Mul", "Add", "Sub", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (8, 1, 1), (1, 8, 1, 1)], ids=str)
def test_a_constant_per_channel_goes_into_the_layer_before(
    op_type: str, shape: tuple[int, ...]
) -> None:
    value = np.random.default_rng(7).uniform(0.5, 2, shape).astype(np.float32)
    graph = layer_then(LAYERS[0], [helper.make_node(op_type, ["c", "k"], ["y"])], {"k": value})

    simple = simplify(graph)

    assert op_types(simple) == ["Conv"]
    assert_same(graph, simple)


@pytest.mark.parametrize("shape", [(4,), (1, 1, 4, 4), (4, 1), (2, 1, 1, 1)], ids=str)
def test_a_constant_that_varies_along_other_axes_stays(shape: tuple[int, ...]) -> None:
    graph = layer_then(
        LAYERS[0], [helper.make_node("Mul", ["c", "k"], ["y"])], {"k": normal(shape)}
    )

    simple = simplify(graph)

    assert op_types(simple) == ["Conv", "Mul"]
    assert_same(graph, simple)


def test_a_constant_minuend_stays() -> None:
    graph = layer_then(
        LAYERS[0], [helper.make_node("Sub", ["k", "c"], ["y"])], {"k": normal((8, 1, 1))}
    )

    assert_same(graph, simplify(graph))


def test_a_chain_of_norm_scale_and_shift_goes_in_at_once() -> None:
    graph = layer_then(
        LAYERS[0],
        [
            helper.make_node("BatchNormalization", ["c", *NORM], ["n"]),
            helper.make_node("Mul", ["n", "k"], ["m"]),
            helper.make_node("Add", ["m", "k"], ["y"]),
        ],
        {**norm_constants(8), "k": normal((8, 1, 1))},
    )

    simple = simplify(graph)

    assert op_types(simple) == ["Conv"]
    assert_same(graph, simple)


def test_a_layer_that_others_read_too_keeps_its_batch_norm() -> None:
    graph = layer_then(
        LAYERS[0],
        [
            helper.make_node("BatchNormalization", ["c", *NORM], ["n"]),
            helper.make_node("Add", ["n", "c"], ["y"]),
        ],
        norm_constants(8),
    )

    assert op_types(simplify(graph)) == ["Conv", "BatchNormalization", "Add"]


def test_a_weight_that_two_layers_share_is_not_changed_for_the_other() -> None:
    graph = tiny(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="one"),
            helper.make_node("BatchNormalization", ["c", *NORM], ["y"]),
            helper.make_node("Conv", ["x", "w"], ["z"], name="two"),
        ],
        inputs={"x": [1, 4, 6, 6]},
        outputs={"y": [1, 8, 4, 4], "z": [1, 8, 4, 4]},
        constants={"w": normal((8, 4, 3, 3)), **norm_constants(8)},
    )

    simple = simplify(graph)

    assert op_types(simple) == ["Conv", "Conv"]
    assert_same(graph, simple)


def test_a_new_bias_does_not_take_a_name_in_use() -> None:
    graph = tiny(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="one"),
            helper.make_node("BatchNormalization", ["c", *NORM], ["n"]),
            helper.make_node("Mul", ["n", "one.bias"], ["y"]),
        ],
        inputs={"x": [1, 4, 6, 6]},
        outputs={"y": [1, 8, 4, 4]},
        constants={"w": normal((8, 4, 3, 3)), "one.bias": normal((4,)), **norm_constants(8)},
    )

    assert_same(graph, simplify(graph))


def test_a_scale_that_overflows_is_not_folded() -> None:
    constants = norm_constants(8) | {"var": np.zeros(8, np.float32)}
    constants["gamma"] = np.full(8, 1e38, np.float32)
    norm = helper.make_node("BatchNormalization", ["c", *NORM], ["y"], epsilon=0.0)

    assert op_types(simplify(layer_then(LAYERS[0], [norm], constants)))[-1] == "BatchNormalization"
