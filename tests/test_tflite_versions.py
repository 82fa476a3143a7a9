"""Operator versions against the published tables (op_version.cc, runtime_version.cc of LiteRT)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from edgekit.converters.emitters.tflite.model import Operator, Option, Tensor
from edgekit.converters.emitters.tflite.runtime_versions import FIRST_RUNTIMES
from edgekit.converters.emitters.tflite.schema import OPERATORS
from edgekit.converters.emitters.tflite.versions import min_runtime_version, operator_version
from edgekit.quantization import Quantization
from edgekit.tensor import DType

F32, F16, I8, I16, I32 = (
    DType.FLOAT32,
    DType.FLOAT16,
    DType.INT8,
    DType.INT16,
    DType.INT32,
)
PER_CHANNEL = Quantization((0.1, 0.2), (0, 0), axis=0)


def tensor(dtype: DType, *shape: int, quantization: Quantization | None = None) -> Tensor:
    return Tensor("t", shape or (1, 4, 4, 2), dtype, None, quantization)


@dataclass(frozen=True)
class Case:
    id: str
    op: str
    inputs: tuple[Tensor | None, ...]
    output: DType
    version: int
    options: dict[str, Option] = field(default_factory=dict)

    def operator(self) -> Operator:
        return Operator(self.op, list(self.inputs), [tensor(self.output)], dict(self.options))


KERNEL_I8 = tensor(I8, 2, 3, 3, 2)
PER_CHANNEL_KERNEL = tensor(I8, 2, 3, 3, 2, quantization=PER_CHANNEL)
CASES = [
    Case("conv float", "CONV_2D", (tensor(F32), tensor(F32, 2, 3, 3, 2)), F32, 1),
    Case("conv int8", "CONV_2D", (tensor(I8), KERNEL_I8), I8, 3),
    Case("conv grouped", "CONV_2D", (tensor(F32), tensor(F32, 2, 3, 3, 1)), F32, 6),
    Case("conv hybrid", "CONV_2D", (tensor(F32), KERNEL_I8), F32, 2),
    Case("conv hybrid per channel", "CONV_2D", (tensor(F32), PER_CHANNEL_KERNEL), F32, 5),
    Case("depthwise int8", "DEPTHWISE_CONV_2D", (tensor(I8), KERNEL_I8), I8, 3),
    Case(
        "depthwise dilated",
        "DEPTHWISE_CONV_2D",
        (tensor(F32), tensor(F32, 1, 3, 3, 2)),
        F32,
        2,
        {"dilation_w_factor": 2},
    ),
    Case("dense", "FULLY_CONNECTED", (tensor(F32), tensor(F32, 3, 2), tensor(F32, 3)), F32, 1),
    Case("dense int8", "FULLY_CONNECTED", (tensor(I8), tensor(I8, 3, 2), None), I8, 4),
    Case("dense no third input", "FULLY_CONNECTED", (tensor(F32), tensor(F32, 3, 2)), F32, 6),
    Case(
        "dense keeps dims",
        "FULLY_CONNECTED",
        (tensor(F32), tensor(F32, 3, 2), None),
        F32,
        5,
        {"keep_num_dims": True},
    ),
    Case("batch matmul int8", "BATCH_MATMUL", (tensor(I8), tensor(I8)), I8, 2),
    Case("add int8", "ADD", (tensor(I8), tensor(I8)), I8, 2),
    Case("sub rank 5 broadcast", "SUB", (tensor(F32, 1, 2, 3, 4, 5), tensor(F32, 5)), F32, 3),
    Case("sub rank 5 equal", "SUB", (tensor(F32, 1, 2, 3, 4, 5),) * 2, F32, 1),
    Case("div rank 5 broadcast", "DIV", (tensor(F32, 1, 2, 3, 4, 5), tensor(F32, 5)), F32, 2),
    Case("transpose rank 5", "TRANSPOSE", (tensor(F32, 1, 2, 3, 4, 5), tensor(I32, 5)), F32, 4),
    Case("transpose rank 6", "TRANSPOSE", (tensor(F32, *[1] * 6), tensor(I32, 6)), F32, 6),
    Case(
        "transpose conv with bias",
        "TRANSPOSE_CONV",
        (tensor(I32, 4), tensor(F32), tensor(F32), tensor(F32, 2)),
        F32,
        3,
    ),
    Case(
        "transpose conv fused",
        "TRANSPOSE_CONV",
        (tensor(I32, 4), tensor(F32), tensor(F32)),
        F32,
        4,
        {"fused_activation_function": 1},
    ),
    Case("resize", "RESIZE_BILINEAR", (tensor(F32), tensor(I32, 2)), F32, 1),
    Case(
        "resize half pixel",
        "RESIZE_BILINEAR",
        (tensor(F32), tensor(I32, 2)),
        F32,
        3,
        {"half_pixel_centers": True},
    ),
    Case(
        "nearest align corners",
        "RESIZE_NEAREST_NEIGHBOR",
        (tensor(F32), tensor(I32, 2)),
        F32,
        3,
        {"align_corners": True},
    ),
    Case("split int8 by its second input", "SPLIT", (tensor(I32, 1), tensor(I8)), I8, 2),
    Case("pad rank 5", "PAD", (tensor(F32, 1, 2, 3, 4, 5), tensor(I32, 5, 2)), F32, 4),
    Case("broadcast_to starts at 2", "BROADCAST_TO", (tensor(F32), tensor(I32, 4)), F32, 2),
    Case("dequantize float16", "DEQUANTIZE", (tensor(F16),), F32, 3),
    Case("dequantize per channel", "DEQUANTIZE", (PER_CHANNEL_KERNEL,), F32, 5),
    Case("cast from float16", "CAST", (tensor(F16),), F32, 5),
    Case("mean int16", "MEAN", (tensor(I16), tensor(I32, 2)), I16, 3),
    Case("where of a number", "WHERE", (tensor(F32),), DType.INT64, 2),
    Case("relu", "RELU", (tensor(F32),), F32, 1),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_version_is_the_one_of_the_published_table(case: Case) -> None:
    assert operator_version(case.operator()) == case.version


def test_multiplication_that_scales_up_needs_version_3() -> None:
    half = Quantization((0.5,), (0,))
    small = Quantization((0.1,), (0,))
    inputs: list[Tensor | None] = [tensor(I8, 4, quantization=half)] * 2
    product = Operator("MUL", inputs, [tensor(I8, 4, quantization=small)])

    # 0.5 * 0.5 / 0.1 >= 1
    assert operator_version(product) == 3


def test_oldest_runtime_is_the_newest_of_what_the_operators_need() -> None:
    relu = Operator("RELU", [tensor(F32)], [tensor(F32)])
    gelu = Operator("GELU", [tensor(F32)], [tensor(F32)])
    resize = Operator("RESIZE_BILINEAR", [tensor(F32), tensor(I32, 2)], [tensor(F32)])

    # RELU 1.5.0, RESIZE_BILINEAR 1.7.0, GELU 2.9.0; as numbers 2.10 is above 2.9.
    assert min_runtime_version([relu, gelu, resize]) == "2.9.0"
    assert min_runtime_version([]) == "1.5.0"


def test_runtime_table_covers_every_operator_that_can_be_emitted() -> None:
    assert {op for op, _ in FIRST_RUNTIMES} == OPERATORS.keys()
