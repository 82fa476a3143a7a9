"""What makes integers lose less: equalization, bias correction, adaptive rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper
from quantize_models import LAYERS, minmax_ranges, noise, one_layer, residual, to_graph, weights
from tiny_onnx import build

from edgekit.converters.evaluate import evaluate
from edgekit.converters.quantize import pick_scheme, quantize, to_qdq
from edgekit.converters.quantize.bias import correct_bias
from edgekit.converters.quantize.equalize import equalize, layer_pairs
from edgekit.converters.quantize.layer import Layer
from edgekit.converters.quantize.rounding import round_weights
from edgekit.converters.quantize.weights import to_integers, to_reals
from edgekit.graph import Array, Graph
from edgekit.quantized import QuantizedGraph

OPENVINO = pick_scheme("openvino")
FLOAT32_RTOL = 2e-5  # 24-bit significand over a chain of three layers


def table_for(graph: Graph) -> QuantizedGraph:
    return quantize(graph, minmax_ranges(graph, noise(graph)), OPENVINO)


def squared_error(table: QuantizedGraph, graph: Graph, feeds: list[dict[str, Array]]) -> float:
    qdq = to_qdq(table, OPENVINO)
    return sum(
        float(np.square(evaluate(qdq, feed)["y"] - evaluate(graph, feed)["y"]).sum())
        for feed in feeds
    )


def uneven(activation: str, **attributes: float) -> Graph:
    """Return conv -> activation -> depthwise -> activation -> conv, channels 1 to 1000 apart."""
    sizes = np.logspace(-1.5, 1.5, 8).astype(np.float32)
    first = weights(8, 3, 3, 3) * sizes.reshape(-1, 1, 1, 1)
    last = weights(6, 8, 1, 1, seed=2) / sizes.reshape(1, -1, 1, 1)
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], name="first", pads=[1] * 4),
        helper.make_node(activation, ["c0"], ["r0"], name="act0", **attributes),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], name="middle", group=8),
        helper.make_node(activation, ["c1"], ["r1"], name="act1", **attributes),
        helper.make_node("Conv", ["r1", "w2"], ["y"], name="last"),
    ]
    constants = {
        "w0": first, "b0": weights(8) * sizes, "w1": weights(8, 1, 3, 3, seed=1),
        "b1": weights(8, seed=4) * sizes, "w2": last,
    }  # fmt: skip
    return to_graph(
        build(nodes, inputs={"x": [1, 3, 10, 10]}, outputs={"y": [1, 6, 8, 8]}, constants=constants)
    )


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu"])
def test_equalizing_does_not_change_the_float_result(activation: str) -> None:
    graph = uneven(activation)
    feed = noise(graph)[0]

    equal = equalize(graph)

    want = evaluate(graph, feed)["y"]
    assert not np.array_equal(equal.initializers["w0"], graph.initializers["w0"])
    np.testing.assert_allclose(
        evaluate(equal, feed)["y"], want, atol=FLOAT32_RTOL * np.abs(want).max()
    )


def test_equalizing_lowers_the_error_of_uneven_channels() -> None:
    graph = uneven("Relu")
    equal = equalize(graph)

    before = squared_error(table_for(graph), graph, noise(graph))
    after = squared_error(table_for(equal), graph, noise(graph))

    assert after < before / 4


def test_relu6_is_not_equalized_across() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="first"),
        helper.make_node("Clip", ["c", "zero", "six"], ["r"], name="relu6"),
        helper.make_node("Conv", ["r", "v"], ["y"], name="second"),
    ]
    constants = {
        "w": weights(4, 3, 1, 1), "v": weights(4, 4, 1, 1, seed=1),
        "zero": np.float32(0), "six": np.float32(6),
    }  # fmt: skip
    graph = to_graph(
        build(
            nodes,
            inputs={"x": [1, 3, 4, 4]},
            outputs={"y": [1, 4, 4, 4]},
            constants={name: np.asarray(value) for name, value in constants.items()},
        )
    )

    assert layer_pairs(graph) == []


def test_a_tensor_that_others_read_too_is_not_equalized_across() -> None:
    pairs = layer_pairs(residual())

    assert [(first.name, second.name) for first, second in pairs] == [("first", "second")]


@pytest.mark.parametrize("op", LAYERS)
def test_a_layer_is_the_product_of_its_rows_and_its_matrix(op: str) -> None:
    graph = one_layer(op)
    layer = Layer(graph.nodes[0], graph.initializers["w"])
    feed = noise(graph)[0]

    # (groups, rows, K) x (groups, outputs, K)
    product = np.einsum("grk,gok->rgo", layer.rows(feed["x"], limit=10**6), layer.matrix())

    want = evaluate(graph, feed)["y"]
    bias = graph.initializers.get("b", np.zeros(1, np.float32))
    if op == "ConvTranspose":
        # Stride and kernel are 2, so every kernel lands on pixels of its own.
        sums = product.reshape(5, 5, 5, 2, 2).transpose(2, 0, 3, 1, 4).reshape(1, 5, 10, 10)
        np.testing.assert_allclose(sums + bias.reshape(1, -1, 1, 1), want, atol=1e-4)
        return
    rows = product.reshape(product.shape[0], -1) + bias
    if want.ndim == 4:
        want = want[0].reshape(want.shape[1], -1).T
    np.testing.assert_allclose(rows, want, atol=1e-4)


@pytest.mark.parametrize("op", LAYERS)
def test_the_mean_row_is_the_mean_of_all_rows(op: str) -> None:
    graph = one_layer(op)
    layer = Layer(graph.nodes[0], graph.initializers["w"])
    value = noise(graph)[0]["x"]

    mean = layer.mean_row(value)

    np.testing.assert_allclose(mean, layer.rows(value, limit=10**6).mean(axis=1), atol=1e-5)


@pytest.mark.parametrize("op", LAYERS)
def test_rounded_weights_lie_on_the_grid_and_lose_less(op: str) -> None:
    graph = one_layer(op)
    feeds = noise(graph, 16)
    # Correlated inputs, as pictures have: else nothing can make up for an error.
    feeds = [{"x": np.cumsum(feed["x"], axis=1) + 2 * feed["x"].mean()} for feed in feeds]
    table = quantize(graph, minmax_ranges(graph, feeds), OPENVINO)

    rounded = round_weights(table, feeds)

    weight, code = rounded.graph.initializers["w"], table.codes["w"]
    assert rounded.codes == table.codes
    np.testing.assert_array_equal(weight, to_reals(to_integers(weight, code), code))
    assert squared_error(rounded, graph, feeds) <= squared_error(table, graph, feeds)


@pytest.mark.parametrize("op", [op for op in LAYERS if op != "MatMul"])
def test_corrected_biases_leave_no_mean_error(op: str) -> None:
    graph = one_layer(op)
    feeds = [{"x": feed["x"] + 1.5} for feed in noise(graph, 8)]
    table = quantize(graph, minmax_ranges(graph, feeds), OPENVINO)

    corrected = correct_bias(table, feeds)

    def mean_error(quantized: QuantizedGraph) -> float:
        qdq = to_qdq(quantized, OPENVINO)
        errors = [evaluate(qdq, feed)["y"] - evaluate(graph, feed)["y"] for feed in feeds]
        axes = (0, 1, *range(3, errors[0].ndim + 1))
        return float(np.abs(np.mean(errors, axis=axes)).max())

    # What remains is half a step of the int32 bias, and the rounding of float32 sums.
    scales = (max(table.codes[name].quantization.scale) for name in ("x", "w"))
    assert mean_error(corrected) < np.prod(list(scales)) / 2 + 1e-4 < mean_error(table)


def test_a_layer_without_a_bias_gets_one() -> None:
    graph = one_layer("Conv")
    bare = replace(graph, nodes=(replace(graph.nodes[0], inputs=("x", "w")),))
    table = quantize(bare, minmax_ranges(bare, noise(bare)), OPENVINO)

    corrected = correct_bias(table, noise(bare))

    assert corrected.graph.initializers[corrected.graph.nodes[0].inputs[2]].shape == (6,)
