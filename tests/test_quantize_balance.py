"""Channels of like size between layers, also behind SiLU, Concat and Add; saturated ranges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from onnx import NodeProto, helper
from quantize_models import minmax_ranges, noise, to_graph, weights
from tiny_onnx import build

from edgekit.converters.evaluate import evaluate
from edgekit.converters.quantize import pick_scheme, plan_quantization, quantize, to_qdq
from edgekit.converters.quantize.balance import balance_channels, can_balance
from edgekit.converters.quantize.channels import find_channels
from edgekit.converters.quantize.saturate import without_saturated
from edgekit.converters.quantize.weights import as_read, to_integers, to_reals
from edgekit.graph import Graph
from edgekit.quantization import Quantization
from edgekit.quantized import Code
from edgekit.ranges import Range, Ranges
from edgekit.tensor import DType

FLOAT32_RTOL = 2e-5  # 24-bit significand over a chain of three layers
SIZES = np.logspace(-1.5, 1.5, 8).astype(np.float32)


def silu(source: str, result: str) -> list[NodeProto]:
    gate = f"{result}_gate"
    return [
        helper.make_node("Sigmoid", [source], [gate], name=gate),
        helper.make_node("Mul", [source, gate], [result], name=f"{result}_mul"),
    ]


def network(middle: Callable[[], list[NodeProto]], *, inputs: int = 8, group: int = 1) -> Graph:
    """Return conv -> what makes r of c -> conv, channels of c 1 to 1000 apart."""
    wide = np.resize(SIZES, inputs)
    last = weights(8, inputs // group, 1, 1, seed=2)
    last = last / wide.reshape((1, -1, 1, 1) if group == 1 else (-1, 1, 1, 1))
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c"], name="first", pads=[1] * 4),
        *middle(),
        helper.make_node("Conv", ["r", "w1", "b1"], ["y"], name="last", group=group),
    ]
    constants = {
        "w0": weights(8, 3, 3, 3) * SIZES.reshape(-1, 1, 1, 1), "b0": weights(8) * SIZES,
        "w1": last, "b1": weights(8, seed=4),
        "w2": weights(8, 8, 1, 1, seed=5) * SIZES.reshape(-1, 1, 1, 1), "b2": weights(8) * SIZES,
    }  # fmt: skip
    used = {name for node in nodes for name in node.input}
    kept = {name: value for name, value in constants.items() if name in used}
    return to_graph(
        build(nodes, inputs={"x": [1, 3, 10, 10]}, outputs={"y": [1, 8, 10, 10]}, constants=kept)
    )


def _relu() -> list[NodeProto]:
    return [helper.make_node("Relu", ["c"], ["r"], name="relu")]


def _silu() -> list[NodeProto]:
    return silu("c", "r")


def _joined() -> list[NodeProto]:
    return [
        *silu("c", "s"),
        helper.make_node("MaxPool", ["s"], ["m"], kernel_shape=[3, 3], pads=[1] * 4, name="pool"),
        helper.make_node("Concat", ["s", "m"], ["r"], axis=1, name="join"),
    ]


def _added() -> list[NodeProto]:
    return [
        *silu("c", "s"),
        helper.make_node("Conv", ["s", "w2", "b2"], ["d"], name="second"),
        *silu("d", "t"),
        helper.make_node("Add", ["s", "t"], ["r"], name="add"),
    ]


@dataclass(frozen=True)
class Case:
    id: str
    middle: Callable[[], list[NodeProto]]
    inputs: int = 8
    group: int = 1


CASES = [
    Case("relu", _relu),
    Case("silu", _silu),
    Case("depthwise", _silu, group=8),
    Case("joined", _joined, inputs=16),
    Case("added", _added),
]


def squared_error(graph: Graph, reference: Graph, target: str) -> float:
    scheme = pick_scheme(target)
    table = quantize(graph, minmax_ranges(graph, noise(graph)), scheme)
    made = to_qdq(table, scheme)
    return sum(
        float(np.square(evaluate(made, feed)["y"] - evaluate(reference, feed)["y"]).sum())
        for feed in noise(reference, seed=9)
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_balancing_does_not_change_the_float_result(case: Case) -> None:
    graph = network(case.middle, inputs=case.inputs, group=case.group)

    balanced = balance_channels(graph, noise(graph))

    for feed in noise(graph, seed=9):
        want = evaluate(graph, feed)["y"]
        got = evaluate(balanced, feed)["y"]
        np.testing.assert_allclose(got, want, atol=FLOAT32_RTOL * float(np.abs(want).max()))


@pytest.mark.parametrize("target", ["openvino", "onnx"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_balancing_takes_most_of_the_error_of_uneven_channels(case: Case, target: str) -> None:
    graph = network(case.middle, inputs=case.inputs, group=case.group)

    balanced = balance_channels(graph, noise(graph))

    assert can_balance(graph)
    assert squared_error(balanced, graph, target) < 0.5 * squared_error(graph, graph, target)


def test_a_silu_whose_channels_are_alike_gets_no_product() -> None:
    graph = network(_silu)
    even = graph.initializers | {
        "w0": graph.initializers["w0"] / SIZES.reshape(-1, 1, 1, 1),
        "b0": graph.initializers["b0"] / SIZES,
        "w1": weights(8, 8, 1, 1, seed=2),
    }
    graph = graph.with_nodes(graph.nodes, initializers=even)

    balanced = balance_channels(graph, noise(graph))

    assert [node.op_type for node in balanced.nodes] == [node.op_type for node in graph.nodes]


def test_a_relu_is_balanced_without_a_new_node() -> None:
    graph = network(_relu)

    balanced = balance_channels(graph, noise(graph))

    assert [node.name for node in balanced.nodes] == [node.name for node in graph.nodes]
    assert not np.array_equal(balanced.initializers["w0"], graph.initializers["w0"])


def test_an_output_of_the_model_is_not_scaled() -> None:
    graph = network(_relu)
    graph = replace(graph, outputs=(*graph.outputs, graph.values["r"]))

    assert not can_balance(graph)


def test_what_an_unknown_operator_reads_is_pinned() -> None:
    graph = network(lambda: [helper.make_node("Softmax", ["c"], ["r"], axis=1, name="soft")])

    channels = find_channels(graph)

    assert channels.pinned >= set(map(int, channels.roots("c")))
    assert not can_balance(graph)


@dataclass(frozen=True)
class Limits:
    id: str
    middle: Callable[[], list[NodeProto]]
    want: tuple[float, float]


def _sigmoid() -> list[NodeProto]:
    return [helper.make_node("Sigmoid", ["c"], ["r"], name="sigmoid")]


def _hard_sigmoid() -> list[NodeProto]:
    return [helper.make_node("HardSigmoid", ["c"], ["r"], name="hard")]


def _tanh() -> list[NodeProto]:
    return [helper.make_node("Tanh", ["c"], ["r"], name="tanh")]


def _hard_swish() -> list[NodeProto]:
    return [helper.make_node("HardSwish", ["c"], ["r"], name="swish")]


def _relu_behind_concat() -> list[NodeProto]:
    return [
        helper.make_node("Concat", ["c", "c"], ["j"], name="concat", axis=2),
        helper.make_node("Relu", ["j"], ["r"], name="relu"),
    ]


def _relu_behind_average() -> list[NodeProto]:
    return [
        helper.make_node("AveragePool", ["c"], ["p"], name="pool", kernel_shape=[1, 1]),
        helper.make_node("Relu", ["p"], ["r"], name="relu"),
    ]


@pytest.mark.parametrize(
    "case",
    [
        # sigmoid(-8) = 0.0003, a twelfth of a step of 1/256
        Limits("sigmoid", _sigmoid, (-8.0, 8.0)),
        Limits("silu", _silu, (-8.0, 60.0)),
        # ONNX operator HardSwish: 0 below -3
        Limits("hard_swish", _hard_swish, (-3.0, 60.0)),
        # ONNX operator HardSigmoid: 0 below -2.5, 1 above 2.5, and a hundredth for rounding
        Limits("hard_sigmoid", _hard_sigmoid, (-2.525, 2.525)),
        # 1 - tanh(3.5) = 0.0018, less than half a step of 1/128
        Limits("tanh", _tanh, (-3.5, 3.5)),
        Limits("relu", _relu, (0.0, 60.0)),
        Limits("relu_behind_concat", _relu_behind_concat, (0.0, 60.0)),
        # what averages its input sees how far it is below 0
        Limits("relu_behind_average", _relu_behind_average, (-50.0, 60.0)),
    ],
    ids=lambda case: case.id,
)
def test_a_range_ends_where_its_readers_saturate(case: Limits) -> None:
    graph = network(case.middle)

    found = without_saturated(graph, {"c": Range(-50.0, 60.0, "minmax")})["c"]

    assert (found.low, found.high) == pytest.approx(case.want)


def test_scores_that_leave_the_model_keep_their_range() -> None:
    """The last Sigmoid is computed in float: 1e-4 is a score there, not half a step."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="layer"),
        helper.make_node("Flatten", ["c"], ["f"], name="flat"),
        helper.make_node("Sigmoid", ["f"], ["y"], name="sigmoid"),
    ]
    given = {"inputs": {"x": [1, 2, 3, 3]}, "outputs": {"y": [1, 18]}}
    graph = to_graph(build(nodes, constants={"w": weights(2, 2, 1, 1)}, **given))
    whole = Range(-50.0, 60.0, "minmax")

    found = without_saturated(graph, {"c": whole, "f": whole})

    assert found == {"c": whole, "f": whole}


def test_few_weights_stay_float_where_activations_do() -> None:
    graph = network(_relu)  # 216 and 64 weights; TFLite's least size is 1024

    plan = plan_quantization(graph, Ranges("", 0, "", {}), pick_scheme("tflite", "w8a32"))

    assert set(plan.reasons) == {"first", "last"}
    assert "too few" in plan.reasons["first"]


def test_a_layer_reads_what_its_integers_stand_for() -> None:
    code = Code(DType.INT8, Quantization((0.03,), (-7,)))
    value = np.linspace(-6.0, 6.0, 1001, dtype=np.float32)

    read = as_read(value, code)

    # The float64 path is the reference; float32 may differ by its own rounding.
    np.testing.assert_allclose(read, to_reals(to_integers(value, code), code), atol=1e-6)
