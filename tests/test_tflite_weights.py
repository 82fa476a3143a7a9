"""Int8 weights under float activations: stored so (``w8``), and computed so (``w8a32``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from digits import ROOT
from numpy.typing import NDArray
from tflite_models import constant, one_graph

from edgekit.converters.emitters.tflite import emit, lower
from edgekit.converters.emitters.tflite.model import Model, Operator, Option, Tensor
from edgekit.converters.emitters.tflite.schema import Activation, Padding
from edgekit.converters.emitters.tflite.weights_only import PRECISIONS, store_weights
from edgekit.converters.frontends.onnx import load_onnx
from edgekit.converters.passes import simplify
from edgekit.converters.quantize import pick_scheme, quantize
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.quantization import Quantization
from edgekit.ranges import Ranges
from edgekit.target import pick_target
from edgekit.tensor import DType

pytest.importorskip("ai_edge_litert")
from integer_kernels import real_values, run_model
from litert_runs import RESOLVERS, count_partitions, run_all

XNNPACK = pytest.mark.parametrize("xnnpack", [True, False], ids=["xnnpack", "reference"])
SAME: Mapping[str, Option] = {"padding": int(Padding.SAME), "stride_w": 1, "stride_h": 1}
STRIDED: Mapping[str, Option] = {**SAME, "stride_w": 2, "stride_h": 2}
RELU: Mapping[str, Option] = {"fused_activation_function": int(Activation.RELU)}
# float32 sums in another order.
ROUNDING = 1e-5
DIGITS = ROOT / "examples" / "digits"


@dataclass(frozen=True)
class Case:
    """One layer: shapes of its input, weight and output."""

    id: str
    op: str
    source: tuple[int, ...]
    weight: tuple[int, ...]
    result: tuple[int, ...]
    options: Mapping[str, Option] = field(default_factory=dict)
    is_hybrid: bool = True


CASES = (
    Case("conv", "CONV_2D", (1, 8, 8, 6), (5, 3, 3, 6), (1, 8, 8, 5), SAME),
    Case("conv relu", "CONV_2D", (1, 8, 8, 6), (5, 3, 3, 6), (1, 8, 8, 5), {**SAME, **RELU}),
    Case("conv stride", "CONV_2D", (1, 8, 8, 6), (5, 3, 3, 6), (1, 4, 4, 5), STRIDED),
    Case("conv pointwise", "CONV_2D", (1, 8, 8, 6), (9, 1, 1, 6), (1, 8, 8, 9), SAME),
    Case("conv of two images", "CONV_2D", (2, 8, 8, 6), (5, 3, 3, 6), (2, 8, 8, 5), SAME),
    Case("conv in groups", "CONV_2D", (1, 8, 8, 6), (4, 3, 3, 3), (1, 8, 8, 4), SAME),
    Case(
        "conv dilated", "CONV_2D", (1, 9, 9, 6), (5, 3, 3, 6), (1, 9, 9, 5),
        {**SAME, "dilation_w_factor": 2, "dilation_h_factor": 2},
    ),
    Case(
        "depthwise", "DEPTHWISE_CONV_2D", (1, 8, 8, 6), (1, 3, 3, 12), (1, 8, 8, 12),
        {**SAME, "depth_multiplier": 2}, is_hybrid=False,
    ),
    Case("rows", "FULLY_CONNECTED", (3, 16), (7, 16), (3, 7), RELU),
    Case("rows of rank 3", "FULLY_CONNECTED", (1, 4, 16), (7, 16), (1, 4, 7),
         {"keep_num_dims": True}),
    Case("transposed", "TRANSPOSE_CONV", (1, 4, 4, 6), (5, 3, 3, 6), (1, 8, 8, 5), STRIDED,
         is_hybrid=False),
)  # fmt: skip


def layer(case: Case, weight: NDArray[np.float32] | None = None) -> Model:
    rng = np.random.default_rng(4)
    values = np.asarray(rng.normal(0, 0.3, case.weight), np.float32)
    bias = np.asarray(rng.normal(0, 0.3, case.result[-1]), np.float32)
    source, result = (
        Tensor("x", case.source, DType.FLOAT32),
        Tensor("y", case.result, DType.FLOAT32),
    )
    inputs: list[Tensor | None] = [
        source, constant("w", values if weight is None else weight), constant("b", bias),
    ]  # fmt: skip
    if case.op == "TRANSPOSE_CONV":
        shape = constant("shape", np.array(case.result, np.int32))
        inputs = [shape, inputs[1], source, inputs[2]]
    return one_graph(
        [source], [result], [Operator(case.op, inputs, [result], dict(case.options), source="/one")]
    )


def stored(model: Model, precision: str) -> Tensor:
    """Store the layer's weight as integers; return it."""
    graph = model.subgraphs[0]
    graph.operators = store_weights(graph.operators, precision=precision)
    (weight,) = (tensor for tensor in graph.tensors() if tensor.dtype is DType.INT8)
    return weight


def result_of(
    model: Model, x: NDArray[np.float32], path: Path, *, xnnpack: bool
) -> NDArray[np.float32]:
    (result,) = run_model(model, [x], path, xnnpack=xnnpack)
    return np.asarray(result, np.float32)


def picture(case: Case) -> NDArray[np.float32]:
    return np.asarray(np.random.default_rng(5).normal(0.5, 1, case.source), np.float32)


@pytest.fixture(scope="module")
def digits() -> Graph:
    return simplify(load_onnx(DIGITS / "digits.onnx", shapes=None))


@XNNPACK
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_w8_computes_in_float_with_the_rounded_weights(
    case: Case, xnnpack: bool, tmp_path: Path
) -> None:
    model, x = layer(case), picture(case)
    rounded = layer(case, real_values(stored(model, "w8")))
    expected = result_of(rounded, x, tmp_path / "float.tflite", xnnpack=False)

    found = result_of(model, x, tmp_path / "w8.tflite", xnnpack=xnnpack)

    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)


@XNNPACK
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_w8a32_is_off_by_no_more_than_a_step_of_its_input(
    case: Case, xnnpack: bool, tmp_path: Path
) -> None:
    model, x = layer(case), picture(case)
    weight = real_values(stored(model, "w8a32"))
    expected = result_of(layer(case, weight), x, tmp_path / "float.tflite", xnnpack=False)
    # Half a step of 255 for the value, as much for the zero point; times all weights it meets.
    step = (max(x.max(), 0) - min(x.min(), 0)) / 255
    axis = 3 if case.op == "DEPTHWISE_CONV_2D" else 0
    most = step * np.abs(np.moveaxis(weight, axis, 0)).reshape(case.result[-1], -1).sum(axis=1)

    found = result_of(model, x, tmp_path / "w8a32.tflite", xnnpack=xnnpack)

    assert (np.abs(found - expected) <= most + ROUNDING).all()


@XNNPACK
@pytest.mark.parametrize("case", [c for c in CASES if c.is_hybrid], ids=lambda case: case.id)
def test_a_hybrid_kernel_gives_the_bias_for_an_input_of_zeros(
    case: Case, xnnpack: bool, tmp_path: Path
) -> None:
    model, zeros = layer(case), np.zeros(case.source, np.float32)
    expected = result_of(layer(case), zeros, tmp_path / "float.tflite", xnnpack=False)
    stored(model, "w8a32")

    found = result_of(model, zeros, tmp_path / "w8a32.tflite", xnnpack=xnnpack)

    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_weight_has_a_symmetric_scale_for_each_output_channel(case: Case) -> None:
    model = layer(case)
    values = model.subgraphs[0].operators[0].inputs[1]
    assert values is not None and values.data is not None
    axis = 3 if case.op == "DEPTHWISE_CONV_2D" else 0
    largest = np.abs(np.moveaxis(values.data, axis, 0)).reshape(case.weight[axis], -1).max(axis=1)

    code = stored(model, "w8").quantization

    assert code is not None
    assert code.axis == axis
    assert set(code.zero_point) == {0}
    np.testing.assert_allclose(code.scale, largest / 127, rtol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_w8a32_unpacks_only_weights_without_a_fast_hybrid_kernel(case: Case) -> None:
    model = layer(case)

    stored(model, "w8a32")

    names = [operator.op for operator in model.subgraphs[0].operators]
    assert names == ([case.op] if case.is_hybrid else ["DEQUANTIZE", case.op])


def test_small_weights_and_nodes_to_keep_stay_float() -> None:
    small = Case("small", "FULLY_CONNECTED", (1, 4), (7, 4), (1, 7))
    kept = layer(CASES[0]).subgraphs[0].operators

    of_small = store_weights(layer(small).subgraphs[0].operators, precision="w8")
    of_kept = store_weights(kept, precision="w8", float_sources={"/one"})

    for operators in (of_small, of_kept):
        assert [t.dtype for t in operators[0].inputs if t] == [DType.FLOAT32] * 3


def test_a_weight_that_two_layers_read_is_stored_once() -> None:
    weight = constant("w", np.ones((8, 8), np.float32))
    x, middle, y = (Tensor(name, (1, 8), DType.FLOAT32) for name in "xmy")
    operators = [
        Operator("FULLY_CONNECTED", [x, weight, None], [middle], {}, "/one"),
        Operator("FULLY_CONNECTED", [middle, weight, None], [y], {}, "/two"),
    ]

    first, second, third = store_weights(operators, precision="w8")

    assert first.op == "DEQUANTIZE"
    assert second.inputs[1] is third.inputs[1] is first.outputs[0]


@pytest.mark.parametrize("precision", ["w8", "w8a32"])
def test_the_codes_of_the_table_are_taken(precision: str, digits: Graph) -> None:
    scheme = pick_scheme("tflite", precision)
    made = quantize(digits, Ranges("", 0, "", {}), scheme)
    doubled = {
        name: type(code)(code.dtype, _doubled(code.quantization))
        for name, code in made.codes.items()
    }
    wanted = {tuple(map(np.float32, code.quantization.scale)) for code in doubled.values()}

    lowered = lower(type(made)(made.graph, doubled, made.float_nodes), precision=precision)

    found = [t for t in lowered.model.subgraphs[0].tensors() if t.dtype is DType.INT8]
    assert found
    for tensor in found:
        assert tensor.quantization is not None
        assert tuple(map(np.float32, tensor.quantization.scale)) in wanted


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_network_is_a_third_as_large_in_one_part_and_right(
    precision: str, digits: Graph, tmp_path: Path
) -> None:
    whole, lean = tmp_path / "whole", tmp_path / "lean"
    for folder in (whole, lean):
        folder.mkdir()
    full = emit(digits, whole, target=pick_target("tflite"))
    held_out = np.load(DIGITS / "heldout.npz")
    steps = Preprocess.parse("letterbox,gray,scale=1/255,mean=0.3,std=0.37")
    feeds = [{"image": steps.apply(frame, digits.inputs[0])} for frame in held_out["frames"]]

    artifact = emit(digits, lean, target=pick_target(f"tflite:{precision}"))

    sizes = [(folder / "model.tflite").stat().st_size for folder in (lean, whole)]
    assert sizes[0] < sizes[1] / 3
    assert count_partitions(lean, artifact) == count_partitions(whole, full)
    for resolver in RESOLVERS.values():
        outputs = run_all(lean, artifact, feeds, resolver=resolver)
        right = [out["probabilities"].argmax() for out in outputs] == held_out["labels"]
        # Float: 359 of 360 (examples/digits/README.md). A loss of 1 % is what is promised.
        assert right.sum() >= 356


@XNNPACK
def test_a_product_of_4_bit_weights_computes_what_its_integers_say(
    xnnpack: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    source = Tensor("x", (8, 64), DType.FLOAT32)
    weight = constant("w", rng.standard_normal((32, 64)).astype(np.float32))
    result = Tensor("y", (8, 32), DType.FLOAT32)
    made = store_weights([Operator("FULLY_CONNECTED", [source, weight, None], [result])],
                         precision="w4")  # fmt: skip

    stored = made[-1].inputs[1]
    assert stored is not None and stored.data is not None and stored.quantization is not None
    feed = rng.standard_normal((8, 64)).astype(np.float32)
    model = one_graph([source], [result], made)
    (got,) = run_model(model, [feed], tmp_path / "m.tflite", xnnpack=xnnpack)
    integers = stored.data.astype(np.float64)
    wanted = feed @ (integers * np.asarray(stored.quantization.scale)[:, None]).T
    assert stored.dtype is DType.INT4
    # The kernel rounds its input to int8, a step of 1/255 of each row's range.
    step = (feed.max(axis=1) - feed.min(axis=1)) / 255
    reach = np.abs(integers * np.asarray(stored.quantization.scale)[:, None]).sum(axis=1)
    assert np.all(np.abs(got - wanted) <= step[:, None] / 2 * reach[None, :])


def _doubled(code: Quantization) -> Quantization:
    return Quantization(tuple(2 * scale for scale in code.scale), code.zero_point, code.axis)
