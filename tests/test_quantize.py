"""The table of a quantized graph: codes, groups, what stays float and why."""

from __future__ import annotations

from dataclasses import dataclass

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
    to_graph,
    weights,
)
from tiny_onnx import build, conv_relu

from edgekit.converters.quantize import pick_scheme, plan_quantization, quantize
from edgekit.converters.quantize.table import activation_code
from edgekit.converters.quantize.weights import to_integers, to_reals, weight_code
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.quantized import QuantizedGraph
from edgekit.ranges import Range, Ranges
from edgekit.tensor import DType

TFLITE = pick_scheme("tflite")


def quantized(graph: Graph, *, keep: tuple[str, ...] = ()) -> QuantizedGraph:
    ranges = minmax_ranges(graph, noise(graph))
    return quantize(graph, ranges, TFLITE, keep_float=keep)


@dataclass(frozen=True)
class Case:
    id: str
    low: float
    high: float
    scale: float
    zero_point: int


@pytest.mark.parametrize(
    "case",
    [
        # By hand: (high - low) / 255 and round(-128 - low / scale).
        Case("relu", 0.0, 2.55, 0.01, -128),
        Case("signed", -1.0, 1.55, 0.01, -28),
        Case("negative only", -5.1, 0.0, 0.02, 127),
        Case("rounded zero point", -0.014, 2.536, 0.01, -127),
    ],
    ids=lambda case: case.id,
)
def test_an_activation_gets_the_canonical_asymmetric_code(case: Case) -> None:
    code = activation_code(Range(case.low, case.high, "minmax"), TFLITE)

    assert code.dtype is DType.INT8
    assert code.quantization.scale[0] == pytest.approx(case.scale, rel=1e-6)
    assert code.quantization.zero_point == (case.zero_point,)


def test_tensorrt_takes_the_larger_end_over_127() -> None:
    code = activation_code(Range(-0.5, 1.27, "minmax"), pick_scheme("tensorrt"))

    assert code.quantization.zero_point == (0,)
    assert code.quantization.scale[0] == pytest.approx(0.01)


def test_an_empty_range_has_a_usable_scale() -> None:
    code = activation_code(Range(0.0, 0.0, "minmax"), TFLITE)

    assert code.quantization.scale[0] > 0


@pytest.mark.parametrize(("op", "axis"), zip(LAYERS, (0, 0, 1, 0, 1), strict=True))
def test_weights_are_symmetric_along_the_output_channels(op: str, axis: int) -> None:
    graph = one_layer(op)

    code = quantized(graph).codes["w"]

    weight = graph.initializers["w"]
    others = tuple(i for i in range(weight.ndim) if i != axis)
    assert code.quantization.axis == axis
    assert code.quantization.scale == pytest.approx(
        tuple(np.abs(weight).max(axis=others) / 127), rel=1e-6
    )


def test_the_largest_weight_of_each_channel_is_127() -> None:
    weight = weights(4, 3, 3, 3)

    integers = to_integers(weight, weight_code(weight, 0))

    assert integers.dtype == np.int8
    assert np.abs(integers).max(axis=(1, 2, 3)).tolist() == [127] * 4


def test_integers_of_weights_are_numpys_rounding() -> None:
    weight = np.array([[1.27, 0.015, -0.025], [-12.7, 0.05, 6.0]], np.float32)

    code = weight_code(weight, 0)

    # Scales 0.01 and 0.1, ties to even where float32 leaves one.
    expected = np.rint(weight / np.array([[0.01], [0.1]], np.float32))
    assert np.abs(to_integers(weight, code) - expected).max() <= 1
    assert np.abs(to_reals(to_integers(weight, code), code) - weight).max() <= 0.05 + 1e-6


def test_a_channel_of_zeros_is_safe() -> None:
    weight = weights(3, 2, 1, 1)
    weight[1] = 0

    code = weight_code(weight, 0)

    assert code.quantization.scale[1] == max(code.quantization.scale)
    assert not to_integers(weight, code)[1].any()


def test_a_tiny_channel_keeps_its_bias_within_int32() -> None:
    weight = np.full((1, 1, 1, 1), 1e-9, np.float32)

    code = weight_code(weight, 0, bias=np.array([5.0], np.float32), input_scale=0.01)

    assert 5.0 / (0.01 * code.quantization.scale[0]) < 2**31


def test_a_fused_activation_has_one_code_behind_it() -> None:
    codes = quantized(to_graph(conv_relu())).codes

    assert "c" not in codes
    assert codes["y"].quantization.zero_point == (-128,)


def test_what_a_concat_joins_shares_the_widest_range() -> None:
    graph = joined()
    ranges = minmax_ranges(graph, noise(graph))

    codes = quantize(graph, ranges, TFLITE).codes

    shared = {codes[name] for name in ("left", "wide", "small", "right", "both")}
    assert len(shared) == 1
    assert shared.pop() == activation_code(
        ranges.ranges["left"].union(ranges.ranges["wide"]), TFLITE
    )


def test_operands_that_are_multiplied_have_zero_point_zero() -> None:
    graph = to_graph(
        build(
            [
                helper.make_node("MatMul", ["x", "w"], ["q"], name="query"),
                helper.make_node("MatMul", ["x", "v"], ["k"], name="key"),
                helper.make_node("Transpose", ["k"], ["t"], name="turn", perm=[0, 2, 1]),
                helper.make_node("MatMul", ["q", "t"], ["y"], name="scores"),
            ],
            inputs={"x": [1, 6, 8]},
            outputs={"y": [1, 6, 6]},
            constants={"w": weights(8, 8), "v": weights(8, 8, seed=1)},
        )
    )

    codes = quantized(graph).codes

    assert [codes[name].quantization.zero_point for name in ("q", "k", "t")] == [(0,)] * 3


@pytest.mark.parametrize(
    ("op", "scale", "zero_point"), [("Sigmoid", 1 / 256, -128), ("Tanh", 1 / 128, 0)]
)
def test_an_output_code_that_the_specification_fixes(
    op: str, scale: float, zero_point: int
) -> None:
    graph = to_graph(
        build(
            [
                helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
                helper.make_node(op, ["c"], ["y"], name="end"),
            ],
            inputs={"x": [1, 3, 4, 4]},
            outputs={"y": [1, 4, 4, 4]},
            constants={"w": weights(4, 3, 1, 1)},
        )
    )

    code = quantized(graph).codes["y"].quantization

    assert code.scale[0] == pytest.approx(scale)
    assert code.zero_point == (zero_point,)


def test_a_concat_of_very_different_ranges_stays_float() -> None:
    graph = joined()
    ranges = dict(minmax_ranges(graph, noise(graph)).ranges)
    ranges["wide"] = ranges["small"] = ranges["right"] = Range(-600.0, 600.0, "minmax")
    ranges["left"] = Range(0.0, 1.0, "minmax")

    plan = plan_quantization(graph, Ranges("", 1, "", ranges), TFLITE)

    assert "levels" in plan.reasons["concat"]


def test_a_layer_without_ranges_stays_float() -> None:
    graph = one_layer("Conv")

    plan = plan_quantization(graph, Ranges("", 1, "", {"y": Range(0, 1, "minmax")}), TFLITE)

    assert plan.reasons == {"layer": "'x' has no range; calibrate it"}


def test_a_node_is_kept_float_on_request() -> None:
    result = quantized(residual(), keep=("head",))

    assert "head" in result.float_nodes
    assert "w4" not in result.codes


def test_an_unknown_node_to_keep_float_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'head'"):
        quantized(residual(), keep=("heads",))


def test_a_layer_norm_in_pieces_stays_float() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="before"),
        helper.make_node("ReduceMean", ["m", "axes"], ["mean"], name="mean"),
        helper.make_node("Sub", ["m", "mean"], ["centred"], name="centre"),
        helper.make_node("Pow", ["centred", "two"], ["square"], name="square"),
        helper.make_node("ReduceMean", ["square", "axes"], ["variance"], name="variance"),
        helper.make_node("Sqrt", ["variance"], ["deviation"], name="root"),
        helper.make_node("Div", ["centred", "deviation"], ["unit"], name="divide"),
        helper.make_node("Mul", ["unit", "gamma"], ["scaled"], name="scale"),
        helper.make_node("MatMul", ["scaled", "v"], ["y"], name="after"),
    ]
    graph = to_graph(
        build(
            nodes,
            inputs={"x": [1, 6, 8]},
            outputs={"y": [1, 6, 8]},
            constants={
                "w": weights(8, 8), "v": weights(8, 8, seed=1), "gamma": weights(8),
                "two": np.array(2, np.float32), "axes": np.array([-1]),
            },
        )
    )  # fmt: skip

    result = quantized(graph)

    assert result.float_nodes == {"mean", "centre", "variance", "scale"}
    assert {"x", "scaled", "w", "v"} <= set(result.codes)


def test_integer_tensors_have_no_code() -> None:
    graph = to_graph(
        build(
            [
                helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
                helper.make_node("ArgMax", ["c"], ["y"], name="best", axis=1),
            ],
            inputs={"x": [1, 3, 4, 4]},
            outputs={"y": [1, 1, 4, 4]},
            constants={"w": weights(4, 3, 1, 1)},
            dtypes={"y": 7},
        )
    )

    assert "y" not in quantized(graph).codes


def test_weight_only_needs_no_range() -> None:
    graph = one_layer("Conv")

    result = quantize(graph, Ranges("", 0, "", {}), pick_scheme("onnx", "w8"))

    assert set(result.codes) == {"w"}


def test_a_precision_that_a_target_lacks_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="tensorrt cannot be quantized as 'w8a16'"):
        pick_scheme("tensorrt", "w8a16")


def test_small_products_stay_float_on_tensorrt() -> None:
    graph = residual()
    ranges = minmax_ranges(graph, noise(graph))

    plan = plan_quantization(graph, ranges, pick_scheme("tensorrt"))

    assert "too small" in plan.reasons["head"]
