"""Every int8 kernel computes, on the real runtime, what its float operator means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
from integer_kernels import (
    CASES,
    Case,
    dequantized,
    float_model,
    integer_model,
    model_of,
    open_model,
    run_model,
)

from edgekit.converters.emitters.tflite.kernels import KERNELS
from edgekit.tensor import DType

# Kernels round halves away from zero, upwards or to even, each as it was written.
STEPS = 1
# Three roundings in a row, in codes of 256 levels: the part below zero, slope, sum.
COMPOUND_STEPS = {"PRELU": 2, "HARD_SWISH": 2, "AVERAGE_POOL_2D padded": 2}
# What XNNPACK of LiteRT 2.3 does not take in int8.
UNDELEGATED = frozenset(
    {
        "ARG_MAX", "ARG_MIN", "BATCH_MATMUL", "BROADCAST_TO", "EXP", "EXPAND_DIMS", "GATHER",
        "GELU", "LOG_SOFTMAX", "MAXIMUM", "MINIMUM", "MIRROR_PAD", "PACK", "PADV2",
        "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SOFTMAX", "SQUARED_DIFFERENCE", "SQUEEZE",
        "STRIDED_SLICE", "TILE",
    }
)  # fmt: skip
REWRITTEN = frozenset({"AVERAGE_POOL_2D", "HARD_SWISH", "PRELU", "RELU", "RELU6"})
XNNPACK = pytest.mark.parametrize("xnnpack", [True, False], ids=["xnnpack", "reference"])


def _named(case: Case) -> str:
    return case.id


def test_every_kernel_has_a_case() -> None:
    # QUANTIZE is what rewrites emit; every model has it at its borders.
    assert {case.op for case in CASES} == set(KERNELS) - {"QUANTIZE"}


@XNNPACK
@pytest.mark.parametrize("case", CASES, ids=_named)
def test_kernel_stays_within_a_step_of_its_float_operator(
    case: Case, xnnpack: bool, tmp_path: Path
) -> None:
    model = integer_model(case)
    graph = model.subgraphs[0]
    rng = np.random.default_rng(7)
    feeds = [rng.integers(-128, 128, tensor.shape).astype(np.int8) for tensor in graph.inputs]
    real = [
        dequantized(feed, tensor.quantization)
        for feed, tensor in zip(feeds, graph.inputs, strict=True)
    ]

    results = run_model(model, feeds, tmp_path / "int8.tflite", xnnpack=xnnpack)

    wanted = run_model(float_model(case, model), real, tmp_path / "float.tflite", xnnpack=False)
    limit = COMPOUND_STEPS.get(case.id, COMPOUND_STEPS.get(case.op, STEPS))
    for result, want, tensor in zip(results, wanted, graph.outputs, strict=True):
        if tensor.dtype is not DType.INT8:
            np.testing.assert_array_equal(result, want)
            continue
        code = tensor.quantization
        assert code is not None
        steps = np.clip(np.rint(want / code.scale[0]) + code.zero_point[0], -128, 127)
        assert np.abs(result.astype(int) - steps).max() <= limit


@pytest.mark.parametrize("case", CASES, ids=_named)
def test_kernel_computes_in_integers(case: Case) -> None:
    model = integer_model(case)

    kinds = {tensor.dtype for op in model.subgraphs[0].operators for tensor in op.outputs}

    assert kinds <= {DType.INT8, DType.INT32}


@pytest.mark.parametrize("case", [case for case in CASES if case.op not in UNDELEGATED], ids=_named)
def test_delegate_takes_each_operator(case: Case, tmp_path: Path) -> None:
    operators = integer_model(case).subgraphs[0].operators

    for operator in operators:
        inputs = {id(t): t for t in operator.inputs if t is not None and t.data is None}
        alone = model_of([operator], list(inputs.values()), operator.outputs)
        interpreter = open_model(alone, tmp_path / "int8.tflite", xnnpack=True)
        names = [details["op_name"] for details in interpreter._get_ops_details()]

        assert names == [operator.op, "DELEGATE"]


@pytest.mark.parametrize("op", sorted(REWRITTEN))
def test_slow_operator_is_gone(op: str) -> None:
    case = next(case for case in CASES if case.op == op)

    made = {operator.op for operator in integer_model(case).subgraphs[0].operators}

    assert op not in made
