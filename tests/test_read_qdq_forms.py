"""Forms of quantized models, each feature by a small graph, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from fake_quantized import fake_quantized
from quantize_models import noise
from quantized_elsewhere import (
    ENGINES,
    Builder,
    cosine,
    modelopt_style,
    nncf_style,
    run_emitted,
    run_source,
)

from edgekit.converters.passes import simplify
from edgekit.converters.quantize import pick_scheme, to_qdq
from edgekit.converters.quantize.read_qdq import read_qdq
from edgekit.converters.quantize.weights import to_integers
from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Graph

COSINE = 0.9999
HALF_COSINE = 0.9995
"""Where the source computes in float16, and an Add reads one branch in float."""


@pytest.mark.parametrize(("format", "package"), (("", "onnxruntime"), *ENGINES))
@pytest.mark.parametrize(("make", "least"), [(nncf_style, COSINE), (modelopt_style, HALF_COSINE)])
def test_other_tools_forms_keep_their_result(
    make: Any, least: float, format: str, package: str, tmp_path: Path
) -> None:
    pytest.importorskip(package)
    graph = make()
    read = read_qdq(simplify(graph))
    feeds = noise(graph, 8)

    want = run_source(graph, feeds)
    got = (
        run_emitted(read, format, feeds, tmp_path / "artifact")
        if format
        else run_source(fake_quantized(read), feeds)
    )

    assert not read.float_nodes
    assert cosine(want, got) > least


def test_nncfs_scales_per_channel_go_into_the_layers_and_integers_stay() -> None:
    graph = nncf_style()

    read = read_qdq(graph)

    convs = [node for node in read.graph.nodes if node.op_type == "Conv"]
    integers = [
        to_integers(read.graph.initializers[node.inputs[1]], read.codes[node.inputs[1]])
        for node in convs
    ]
    signs = np.sign(graph.initializers["gamma"]).reshape(-1, 1, 1, 1)
    assert read.codes["r0"].quantization.scale == (pytest.approx(0.03),)
    assert np.array_equal(integers[0], graph.initializers["w0"] * signs)
    assert np.array_equal(integers[1], graph.initializers["w1"])


@pytest.mark.parametrize("activation", ["Sigmoid", "Softplus"])
def test_scales_per_channel_behind_a_curve_go_into_a_mul(activation: str) -> None:
    graph = nncf_style(activation)

    read = read_qdq(graph)

    feeds = noise(graph)
    assert [node.op_type for node in read.graph.nodes].count("Mul") == 1
    assert (
        cosine(run_source(graph, feeds), run_source(to_qdq(read, pick_scheme("openvino")), feeds))
        > COSINE
    )


def test_scales_per_channel_that_a_dense_layer_reads_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"one scale per channel.*'c1' .Conv. reads"):
        read_qdq(nncf_style(group=1))


def test_the_branch_that_model_optimizer_leaves_float_gets_a_code() -> None:
    read = read_qdq(modelopt_style())

    # r2 ends at 127 * 0.05, r0 at 127 * 0.02: what is beyond their difference changes nothing.
    assert read.codes["c2"].quantization.scale[0] * 127 >= 127 * 0.05
    assert read.codes["r2"] == read.codes["m"]
    assert "c3" not in read.codes


def one_pair(**changes: Any) -> Graph:
    b = Builder()
    given = {"scale": 0.1, "point": 0, "dtype": np.int8, **changes}
    b.add("Relu", [b.pair("x", given["scale"], given["point"], given["dtype"])], "y")
    return b.graph({"x": [1, 4]}, {"y": [1, 4]}, 21)


def blocks() -> Graph:
    b = Builder()
    b.constants["w"] = np.ones((4, 2), np.int8)
    b.constant("s", np.ones((2, 2)))
    b.add("DequantizeLinear", ["w", "s"], "w_dq", axis=0, block_size=2)
    b.add("MatMul", ["x", "w_dq"], "y")
    return b.graph({"x": [1, 4]}, {"y": [1, 2]}, 21)


def int4_weights() -> Graph:
    b = Builder()
    weight = b.stored("w", np.ones((4, 2), ml_dtypes.int4), 0.1)
    b.add("MatMul", ["x", weight], "y")
    return b.graph({"x": [1, 4]}, {"y": [1, 2]}, 21)


def computed_scale() -> Graph:
    b = Builder()
    b.add("ReduceMax", ["x"], "s", keepdims=0)
    b.constant("p", 0, np.int8)
    b.add("QuantizeLinear", ["x", "s", "p"], "q")
    b.add("DequantizeLinear", ["q", "s", "p"], "y")
    return b.graph({"x": [1, 4]}, {"y": [1, 4]}, 18)


def integers_read() -> Graph:
    b = Builder()
    parts = [b.constant("s", 0.1), b.constant("p", 0, np.int8)]
    b.add("QuantizeLinear", ["x", *parts], "q")
    b.add("Flatten", ["q"], "moved")
    b.add("DequantizeLinear", ["moved", *parts], "y")
    return b.graph({"x": [1, 4]}, {"y": [1, 4]}, 18)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: one_pair(dtype=np.int16), "x_q.*stores int16"),
        (lambda: one_pair(dtype=ml_dtypes.float8_e4m3fn), "x_q.*stores float8"),
        (int4_weights, "w_dq.*stores int4"),
        (blocks, "w_dq.*per block"),
        (computed_scale, "scale or zero point is computed"),
        (integers_read, "moved.*reads the integers 'q'"),
    ],
)
def test_what_is_not_8_bits_by_constant_scales_is_refused_by_name(make: Any, reason: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=reason):
        read_qdq(make())


def test_a_weight_behind_a_transpose_keeps_its_channels() -> None:
    b = Builder()
    x = b.pair("x", 0.1, 0)
    weight = b.stored("w", np.arange(-6, 6).reshape(3, 4).astype(np.int8), [0.1, 0.2, 0.3], axis=-2)
    b.add("MatMul", [x, b.add("Transpose", [weight], "w_t", perm=[1, 0])], "y")

    read = read_qdq(b.graph({"x": [1, 4]}, {"y": [1, 3]}, 18))

    assert [node.op_type for node in read.graph.nodes] == ["MatMul"]
    assert read.codes["w_t"].quantization.axis == 1
    assert read.codes["w_t"].quantization.scale == pytest.approx((0.1, 0.2, 0.3))


def test_a_bias_of_int32_becomes_its_reals() -> None:
    b = Builder()
    x = b.pair("x", 0.5, 0)
    weight = b.stored("w", np.full((2, 1, 1, 1), 100, np.int8), [0.25, 0.5])
    bias = b.stored("bias", np.array([8, -8], np.int32), [0.125, 0.25])
    b.add("Conv", [x, weight, bias], "y")

    read = read_qdq(b.graph({"x": [1, 1, 2, 2]}, {"y": [1, 2, 2, 2]}, 13))

    assert read.graph.initializers[read.graph.nodes[0].inputs[2]].tolist() == [1.0, -2.0]
    assert set(read.codes) == {"x", "w_dq"}
