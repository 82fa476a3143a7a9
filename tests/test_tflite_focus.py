"""Slices put beside each other become one SPACE_TO_DEPTH with the same result."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
from integer_kernels import model_of, run_model

from edgekit.converters.emitters.tflite.focus import fuse_focus
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.converters.emitters.tflite.schema import Padding
from edgekit.tensor import DType

BY_ROW = ((0, 0), (0, 1), (1, 0), (1, 1))
BY_COLUMN = ((0, 0), (1, 0), (0, 1), (1, 1))  # YOLOX
# A convolution over 108 products adds them in another order.
RTOL = 1e-5


def _constant(values: Sequence[int]) -> Tensor:
    data = np.array(values, np.int32)
    return Tensor("const", data.shape, DType.INT32, data)


def _focus(
    order: Sequence[tuple[int, int]], *, step: int = 2
) -> tuple[list[Operator], Tensor, Tensor]:
    source = Tensor("x", (1, 8, 8, 3), DType.FLOAT32)
    parts = [Tensor(f"part{i}", (1, 4, 4, 3), DType.FLOAT32) for i in range(4)]
    operators = [
        Operator(
            "STRIDED_SLICE",
            [source, _constant((0, *begin, 0)), _constant((1, 8, 8, 3)),
             _constant((1, step, step, 1))],
            [part],
        )
        for begin, part in zip(order, parts, strict=True)
    ]  # fmt: skip
    joined = Tensor("joined", (1, 4, 4, 12), DType.FLOAT32)
    operators.append(Operator("CONCATENATION", [*parts], [joined], {"axis": 3}))
    rng = np.random.default_rng(1)
    weight = np.asarray(rng.normal(size=(5, 3, 3, 12)), np.float32)
    bias = np.asarray(rng.normal(size=5), np.float32)
    result = Tensor("y", (1, 4, 4, 5), DType.FLOAT32)
    operators.append(
        Operator(
            "CONV_2D",
            [joined, Tensor("w", weight.shape, DType.FLOAT32, weight),
             Tensor("b", bias.shape, DType.FLOAT32, bias)],
            [result],
            {"padding": int(Padding.SAME), "stride_w": 1, "stride_h": 1},
        )
    )  # fmt: skip
    return operators, source, result


@pytest.mark.parametrize("order", [BY_ROW, BY_COLUMN], ids=["by_row", "by_column"])
def test_result_is_the_same(order: Sequence[tuple[int, int]], tmp_path: Path) -> None:
    operators, source, result = _focus(order)
    picture = np.asarray(np.random.default_rng(0).normal(size=source.shape), np.float32)
    path = tmp_path / "model.tflite"
    wanted = run_model(model_of(operators, [source], [result]), [picture], path, xnnpack=True)

    fused = fuse_focus(operators, [result])

    assert [operator.op for operator in fused] == ["SPACE_TO_DEPTH", "CONV_2D"]
    got = run_model(model_of(fused, [source], [result]), [picture], path, xnnpack=True)
    np.testing.assert_allclose(got[0], wanted[0], rtol=RTOL, atol=RTOL)


def test_every_order_of_the_slices_is_understood(tmp_path: Path) -> None:
    picture = np.asarray(np.random.default_rng(0).normal(size=(1, 8, 8, 3)), np.float32)
    path = tmp_path / "model.tflite"

    for order in itertools.permutations(BY_ROW):
        operators, source, result = _focus(order)
        wanted = run_model(model_of(operators, [source], [result]), [picture], path, xnnpack=False)
        fused = fuse_focus(operators, [result])
        got = run_model(model_of(fused, [source], [result]), [picture], path, xnnpack=False)

        np.testing.assert_allclose(got[0], wanted[0], rtol=RTOL, atol=RTOL)


def test_a_result_that_others_read_keeps_its_order() -> None:
    operators, _, result = _focus(BY_COLUMN)
    joined = operators[4].outputs[0]
    other = Tensor("other", joined.shape, DType.FLOAT32)
    operators.append(Operator("RELU", [joined], [other]))

    fused = fuse_focus(operators, [result, other])

    assert "CONCATENATION" in [operator.op for operator in fused]


def test_slices_that_overlap_stay() -> None:
    operators, _, result = _focus(BY_ROW, step=1)

    fused = fuse_focus(operators, [result])

    assert "STRIDED_SLICE" in [operator.op for operator in fused]
