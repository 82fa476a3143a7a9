"""The integer pass: which operators become int8, in which codes, and what stays float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.converters.emitters.tflite.codes import to_unsigned
from edgekit.converters.emitters.tflite.integer import IntegerModel, to_integers
from edgekit.converters.emitters.tflite.kernels import SIGNED_UNIT_CODE, UNIT_CODE
from edgekit.converters.emitters.tflite.model import Operator, Option, Tensor
from edgekit.converters.emitters.tflite.schema import Padding
from edgekit.quantization import Quantization
from edgekit.tensor import DType

IMAGE = (1, 8, 8, 6)
WIDE = Quantization((0.05,), (-7,))
OTHER = Quantization((0.02,), (10,))
POSITIVE = Quantization((0.025,), (-128,))
CONV: Mapping[str, Option] = {"padding": int(Padding.SAME), "stride_w": 1, "stride_h": 1}


@dataclass
class Net:
    """A float operator list with a table of codes, built step by step."""

    operators: list[Operator] = field(default_factory=list)
    codes: dict[int, Quantization] = field(default_factory=dict)

    def tensor(
        self, name: str, code: Quantization | None = WIDE, shape: Sequence[int] = IMAGE
    ) -> Tensor:
        tensor = Tensor(name, tuple(shape), DType.FLOAT32)
        if code is not None:
            self.codes[id(tensor)] = code
        return tensor

    def add(
        self,
        op: str,
        inputs: Sequence[Tensor | NDArray[np.generic]],
        to: Tensor,
        **options: Option,
    ) -> Tensor:
        tensors: list[Tensor | None] = [
            Tensor("const", item.shape, DType.from_numpy(item.dtype), item)
            if isinstance(item, np.ndarray)
            else item
            for item in inputs
        ]
        self.operators.append(Operator(op, tensors, [to], options, f"/{to.name}"))
        return to

    def conv(self, source: Tensor, to: Tensor, weight: NDArray[np.float32] | None = None) -> Tensor:
        rng = np.random.default_rng(3)
        shape = (to.shape[-1], 3, 3, source.shape[-1])
        weight = np.asarray(rng.normal(0, 0.2, shape), np.float32) if weight is None else weight
        bias = np.asarray(rng.normal(0, 0.2, to.shape[-1]), np.float32)
        return self.add("CONV_2D", [source, weight, bias], to, **CONV)

    def integers(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        *,
        weight_codes: Mapping[int, Quantization] | None = None,
        float_sources: Sequence[str] = (),
        io_dtype: DType = DType.FLOAT32,
    ) -> IntegerModel:
        return to_integers(
            self.operators,
            inputs,
            outputs,
            codes=self.codes,
            weight_codes=weight_codes or {},
            float_sources=float_sources,
            io_dtype=io_dtype,
        )


def names(model: IntegerModel) -> list[str]:
    return [operator.op for operator in model.operators]


def one_conv(io_dtype: DType) -> IntegerModel:
    net = Net()
    source = net.tensor("x")
    result = net.conv(source, net.tensor("y", OTHER))
    return net.integers([source], [result], io_dtype=io_dtype)


@dataclass(frozen=True)
class Border:
    """What the borders of a model are."""

    io_dtype: DType
    operators: list[str]
    code: Quantization | None


@pytest.mark.parametrize(
    "border",
    [
        Border(DType.FLOAT32, ["QUANTIZE", "CONV_2D", "DEQUANTIZE"], None),
        Border(DType.INT8, ["CONV_2D"], WIDE),
        Border(DType.UINT8, ["QUANTIZE", "CONV_2D", "QUANTIZE"], to_unsigned(WIDE)),
    ],
    ids=lambda border: border.io_dtype.value,
)
def test_borders_have_the_wanted_type(border: Border) -> None:
    model = one_conv(border.io_dtype)

    assert names(model) == border.operators
    assert {tensor.dtype for tensor in (*model.inputs, *model.outputs)} == {border.io_dtype}
    assert model.inputs[0].quantization == border.code


def test_weights_have_a_scale_per_output_channel_and_biases_its_product() -> None:
    model = one_conv(DType.INT8)

    _, weight, bias = model.operators[0].inputs
    assert weight is not None and bias is not None and weight.quantization is not None
    assert bias.quantization is not None and bias.dtype is DType.INT32
    assert weight.quantization.axis == 0 and len(weight.quantization.scale) == IMAGE[3]
    expected = np.array(weight.quantization.scale) * WIDE.scale[0]
    np.testing.assert_allclose(bias.quantization.scale, expected)


def test_weights_on_their_own_grid_are_stored_exactly() -> None:
    net = Net()
    source = net.tensor("x")
    rng = np.random.default_rng(0)
    steps = rng.integers(-127, 128, (6, 3, 3, 6))
    # Not the scale that the largest weight would give: the grid is the table's.
    scales = np.asarray(rng.uniform(0.01, 0.02, 6), np.float32)
    weight = np.asarray(steps * scales[:, None, None, None], np.float32)
    result = net.conv(source, net.tensor("y"), weight)
    held = net.operators[0].inputs[1]
    code = Quantization(tuple(map(float, scales)), (0,) * 6, 0)

    model = net.integers([source], [result], weight_codes={id(held): code}, io_dtype=DType.INT8)

    stored = model.operators[0].inputs[1]
    assert stored is not None and stored.quantization == code
    np.testing.assert_array_equal(stored.data, steps)


def test_one_scale_for_all_channels_is_kept() -> None:
    net = Net()
    source = net.tensor("x")
    result = net.conv(source, net.tensor("y"))
    held = net.operators[0].inputs[1]

    model = net.integers(
        [source], [result], weight_codes={id(held): Quantization((0.01,), (0,))},
        io_dtype=DType.INT8,
    )  # fmt: skip

    stored = model.operators[0].inputs[1]
    assert stored is not None and stored.quantization is not None
    assert set(stored.quantization.scale) == {0.01}


def test_a_node_kept_float_has_conversions_only_at_its_borders() -> None:
    net = Net()
    source = net.tensor("x")
    first = net.conv(source, net.tensor("a"))
    second = net.conv(first, net.tensor("b"))
    third = net.conv(second, net.tensor("c"))

    model = net.integers([source], [third], float_sources=["/b"], io_dtype=DType.INT8)

    assert names(model) == ["CONV_2D", "DEQUANTIZE", "CONV_2D", "QUANTIZE", "CONV_2D"]
    kept = model.operators[2]
    assert kept.outputs[0].dtype is DType.FLOAT32
    assert kept.inputs[1] is not None and kept.inputs[1].dtype is DType.FLOAT32
    assert model.integer_sources == {"/a", "/c"}


def test_a_float_tensor_is_quantized_once_for_all_its_readers() -> None:
    net = Net()
    source = net.tensor("x")
    left = net.conv(source, net.tensor("a"))
    right = net.conv(source, net.tensor("b"))

    model = net.integers([source], [left, right])

    assert names(model).count("QUANTIZE") == 1


def test_a_tensor_that_leaves_and_goes_on_is_dequantized_beside() -> None:
    net = Net()
    source = net.tensor("x")
    inner = net.conv(source, net.tensor("a"))
    last = net.conv(inner, net.tensor("b"))

    model = net.integers([source], [inner, last])

    assert names(model) == ["QUANTIZE", "CONV_2D", "CONV_2D", "DEQUANTIZE", "DEQUANTIZE"]
    assert [tensor.name for tensor in model.outputs] == ["a", "b"]


def test_parts_of_a_concatenation_come_into_its_code() -> None:
    net = Net()
    source = net.tensor("x")
    left = net.conv(source, net.tensor("a", OTHER))
    both = net.add(
        "CONCATENATION", [left, left, source], net.tensor("y", WIDE, (1, 8, 8, 18)), axis=3
    )

    model = net.integers([source], [both], io_dtype=DType.INT8)

    # ``a`` is requantized once although it is there twice; ``x`` has the code already.
    assert names(model) == ["CONV_2D", "QUANTIZE", "CONCATENATION"]
    parts = [tensor.quantization for tensor in model.operators[-1].inputs if tensor is not None]
    assert parts == [WIDE] * 3


def test_a_constant_part_of_a_concatenation_has_its_code_too() -> None:
    net = Net()
    source = net.tensor("x")
    constant = np.full((1, 8, 8, 2), 0.5, np.float32)
    both = net.add("CONCATENATION", [source, constant], net.tensor("y", WIDE, (1, 8, 8, 8)), axis=3)

    model = net.integers([source], [both], io_dtype=DType.INT8)

    stored = model.operators[0].inputs[1]
    assert stored is not None and stored.quantization == WIDE and stored.data is not None
    assert set(stored.data.ravel().tolist()) == {round(0.5 / WIDE.scale[0]) + WIDE.zero_point[0]}


def test_a_relu_goes_into_the_code_of_what_feeds_it() -> None:
    net = Net()
    source = net.tensor("x")
    inner = net.conv(source, net.tensor("a"))
    flat = net.add(
        "RESHAPE", [inner, np.array([1, 64, 6], np.int32)], net.tensor("b", WIDE, (1, 64, 6))
    )
    result = net.add("RELU", [flat], net.tensor("y", POSITIVE, (1, 64, 6)))

    model = net.integers([source], [result], io_dtype=DType.INT8)

    assert names(model) == ["CONV_2D", "RESHAPE"]
    assert model.operators[0].outputs[0].quantization == POSITIVE
    assert model.outputs[0].name == "y"


def test_a_chain_of_clamps_goes_too() -> None:
    net = Net()
    source = net.tensor("x")
    inner = net.conv(source, net.tensor("a", WIDE))
    low = net.add("MAXIMUM", [inner, np.array(0, np.float32)], net.tensor("b", None))
    # 255 * 0.02 = 5.1, below the limit.
    high = net.add(
        "MINIMUM", [low, np.array(6, np.float32)], net.tensor("y", Quantization((0.02,), (-128,)))
    )

    model = net.integers([source], [high], io_dtype=DType.INT8)

    assert names(model) == ["CONV_2D"]


def test_a_relu_beside_another_reader_is_a_requantization() -> None:
    net = Net()
    source = net.tensor("x")
    inner = net.conv(source, net.tensor("a"))
    result = net.add("RELU", [inner], net.tensor("y", POSITIVE))

    model = net.integers([source], [inner, result], io_dtype=DType.INT8)

    assert names(model) == ["CONV_2D", "QUANTIZE"]
    assert [tensor.quantization for tensor in model.outputs] == [WIDE, POSITIVE]


def test_a_clamp_does_not_go_through_a_mean() -> None:
    net = Net()
    source = net.tensor("x")
    inner = net.conv(source, net.tensor("a"))
    pool = net.add(
        "AVERAGE_POOL_2D", [inner], net.tensor("b", WIDE, (1, 4, 4, 6)),
        padding=int(Padding.VALID), stride_w=2, stride_h=2, filter_width=2, filter_height=2,
    )  # fmt: skip
    result = net.add("RELU", [pool], net.tensor("y", POSITIVE, (1, 4, 4, 6)))

    model = net.integers([source], [result], io_dtype=DType.INT8)

    assert model.operators[0].outputs[0].quantization == WIDE


def test_what_a_pool_reads_does_not_get_the_narrower_code_of_the_means() -> None:
    net = Net()
    source = net.tensor("x")
    inner = net.conv(source, net.tensor("a", None))
    pool = net.add(
        "AVERAGE_POOL_2D", [inner], net.tensor("y", OTHER, (1, 4, 4, 6)),
        padding=int(Padding.VALID), stride_w=2, stride_h=2, filter_width=2, filter_height=2,
    )  # fmt: skip

    model = net.integers([source], [pool], io_dtype=DType.INT8)

    assert inner.dtype is DType.FLOAT32
    assert "CONV_2D" in [op.op for op in model.operators if op.outputs[0] is inner]


def test_joined_parts_of_different_codes_get_one_that_holds_both() -> None:
    net = Net()
    source = net.tensor("x")
    boxes = net.conv(source, net.tensor("boxes", Quantization((2.5,), (-128,))))
    scores = net.add("LOGISTIC", [source], net.tensor("scores", UNIT_CODE))
    shape = (1, 8, 8, 12)
    both = net.add("CONCATENATION", [boxes, scores], net.tensor("y", None, shape), axis=3)
    last = net.conv(both, net.tensor("z", WIDE))

    model = net.integers([source], [last], io_dtype=DType.INT8)

    joined = next(op for op in model.operators if op.op == "CONCATENATION").outputs[0]
    assert joined.quantization is not None
    assert joined.quantization.scale[0] == pytest.approx(2.5, rel=0.01)


@dataclass(frozen=True)
class End:
    """An operator of a fixed code at the end of a model."""

    op: str
    code: Quantization
    io_dtype: DType
    computes: DType
    classes: int = 100


@pytest.mark.parametrize(
    "end",
    [
        End("SOFTMAX", UNIT_CODE, DType.FLOAT32, DType.FLOAT32),
        End("SOFTMAX", UNIT_CODE, DType.FLOAT32, DType.INT8, classes=2),
        End("SOFTMAX", UNIT_CODE, DType.INT8, DType.INT8),
        End("LOGISTIC", UNIT_CODE, DType.FLOAT32, DType.FLOAT32),
        End("TANH", SIGNED_UNIT_CODE, DType.FLOAT32, DType.FLOAT32),
    ],
    ids=lambda end: f"{end.op}-{end.io_dtype.value}-{end.classes}",
)
def test_a_coarse_code_at_the_end_is_avoided_where_floats_leave(end: End) -> None:
    net = Net()
    shape = (1, 1, 1, end.classes)
    source = net.tensor("x", WIDE, shape)
    inner = net.conv(source, net.tensor("a", WIDE, shape))
    result = net.add(end.op, [inner], net.tensor("y", end.code, shape))

    model = net.integers([source], [result], io_dtype=end.io_dtype)

    last = next(op for op in model.operators if op.op == end.op)
    assert last.outputs[0].dtype is end.computes


def test_a_fixed_code_in_the_middle_stays_integer() -> None:
    net = Net()
    source = net.tensor("x")
    gate = net.add("LOGISTIC", [source], net.tensor("a", OTHER))
    result = net.add("MUL", [source, gate], net.tensor("y"))

    model = net.integers([source], [result], io_dtype=DType.INT8)

    assert names(model) == ["LOGISTIC", "MUL"]
    assert model.operators[0].outputs[0].quantization == UNIT_CODE


def test_moving_data_alone_stays_integer_between_integer_borders() -> None:
    net = Net()
    source = net.tensor("x")
    result = net.add(
        "TRANSPOSE", [source, np.array([0, 3, 1, 2], np.int32)], net.tensor("y", WIDE, (1, 6, 8, 8))
    )

    model = net.integers([source], [result], io_dtype=DType.INT8)

    assert names(model) == ["TRANSPOSE"]


def test_moving_data_alone_stays_float_between_float_borders() -> None:
    net = Net()
    source = net.tensor("x")
    result = net.add(
        "TRANSPOSE", [source, np.array([0, 3, 1, 2], np.int32)], net.tensor("y", WIDE, (1, 6, 8, 8))
    )

    model = net.integers([source], [result])

    assert names(model) == ["TRANSPOSE"]
    assert model.outputs[0].dtype is DType.FLOAT32


def test_padding_for_a_maximum_writes_the_zero_point_where_that_is_the_least() -> None:
    net = Net()
    source = net.tensor("x", POSITIVE)
    pads = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
    lowest = np.array(np.finfo(np.float32).min)
    result = net.add("PADV2", [source, pads, lowest], net.tensor("y", POSITIVE, (1, 10, 10, 6)))

    model = net.integers([source], [result], io_dtype=DType.INT8)

    assert names(model) == ["PAD"]
