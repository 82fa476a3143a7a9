"""int16 activations beside int8 weights (``w8a16``): LiteRT's 16x8 kernels.

They keep 16 bits of every activation (symmetric, 65,535 levels), read the weights in int8 and
the bias in int64. XNNPACK has none of them: the plain kernels run, slower than float on a CPU.
It is a form for accelerators that have integers only, and for models that 8 bits break. What has
no such kernel stays float between a DEQUANTIZE and a QUANTIZE.

Source: LiteRT, "Post-training integer quantization with int16 activations"; which kernels
there are was found by running each (``tests/test_tflite_wide.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgekit.converters.emitters.tflite.codes import (
    choose_integer,
    computed_operands,
)
from edgekit.converters.emitters.tflite.kernels import KERNELS
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.converters.emitters.tflite.rewriter import IntegerModel, Rewriter
from edgekit.graph import Array
from edgekit.quantization import Quantization
from edgekit.tensor import DType

HIGHEST = 32767
WIDE_KERNELS = frozenset(
    {
        "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "ADD",
        "SUB", "MUL", "MAXIMUM", "MINIMUM", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "SUM",
        "REDUCE_MAX", "REDUCE_MIN", "LOGISTIC", "TANH", "SOFTMAX", "RELU", "RELU6", "LEAKY_RELU",
        "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "CONCATENATION", "PACK", "RESHAPE",
        "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "PAD", "PADV2", "MIRROR_PAD", "SLICE",
        "STRIDED_SLICE", "GATHER", "SPLIT", "REVERSE_V2", "TILE", "BROADCAST_TO",
    }
)  # fmt: skip
"""Not EXP and GELU, which LiteRT 2.3 looks up in 513 entries: they are off by 20 steps and more;
nor PRELU, which computes in int16 what means nothing."""
_UNIT = Quantization((1 / 32768,), (0,))
# They keep every element, so that their result's code fits what they read.
_KEEPS_ALL = frozenset(
    {
        "BROADCAST_TO", "CONCATENATION", "EXPAND_DIMS", "MIRROR_PAD", "PACK", "PAD", "PADV2",
        "RESHAPE", "REVERSE_V2", "SQUEEZE", "TILE", "TRANSPOSE",
    }
)  # fmt: skip
_FIXED = dict.fromkeys(("LOGISTIC", "TANH", "SOFTMAX"), _UNIT)
"""The only output code that these kernels write, 15 bits behind the point."""


def to_wide(
    operators: Sequence[Operator],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    codes: Mapping[int, Quantization],
    weight_codes: Mapping[int, Quantization],
    float_sources: Collection[str] = (),
) -> IntegerModel:
    """Return the model with 16x8 kernels; its inputs and outputs stay float.

    Args:
        operators: Float operators, fused.
        inputs: The graph's inputs.
        outputs: The graph's outputs.
        codes: Symmetric int16 codes of activations, by identity of the float tensor.
        weight_codes: Codes of weights by identity, scales along ONNX's output channels.
        float_sources: ONNX nodes to leave in float.
    """
    operators = [replace(op, inputs=list(op.inputs), outputs=list(op.outputs)) for op in operators]
    known = _spread(operators, codes)
    lacking = {op.source for op in operators if op.op in KERNELS and op.op not in WIDE_KERNELS}
    chosen = choose_integer(
        operators, known, {*float_sources, *lacking}, float_outputs=set(map(id, outputs))
    )
    rewriter = _Rewriter(known, weight_codes)
    rewriter.forms |= {id(tensor): {None: tensor} for tensor in inputs}
    for operator in operators:
        if id(operator) in chosen:
            rewriter.convert(operator)
        else:
            rewriter.keep(operator)
    ends = [rewriter.as_float(tensor, "") for tensor in outputs]
    sources = frozenset(op.source for op in operators if id(op) in chosen)
    return IntegerModel(rewriter.operators, list(inputs), ends, sources)


def symmetric_code(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Quantization:
    """Return the int16 code that covers a constant."""
    largest = float(np.abs(np.asarray(values, np.float64)).max(initial=0.0))
    # float32 is what the file stores.
    return Quantization((float(np.float32((largest or 1.0) / HIGHEST)),), (0,))


def _spread(
    operators: Sequence[Operator], codes: Mapping[int, Quantization]
) -> dict[int, Quantization]:
    """Give a code to tensors that ONNX has no name for and that move coded elements."""
    known = dict(codes)
    for operator in operators:
        kernel = KERNELS.get(operator.op)
        operands = computed_operands(operator) if kernel is not None else []
        if kernel is None or not operands or not all(id(t) in known for t in operands):
            continue
        code = _FIXED.get(operator.op)
        if code is None and kernel.shares_code:
            code = max((known[id(t)] for t in operands), key=lambda item: item.scale[0])
        for tensor in operator.outputs:
            if code is not None and tensor.dtype is DType.FLOAT32:
                known.setdefault(id(tensor), code)
    for operator in reversed([op for op in operators if op.op in _KEEPS_ALL]):
        for tensor in computed_operands(operator):
            if id(operator.outputs[0]) in known:
                known.setdefault(id(tensor), known[id(operator.outputs[0])])
    return known


class _Rewriter(Rewriter):
    stored = DType.INT16

    def _code_of(self, values: Array) -> Quantization:
        return symmetric_code(values)

    def _constant(self, tensor: Tensor, code: Quantization) -> Tensor:
        assert tensor.data is not None
        values = np.rint(np.asarray(tensor.data, np.float64) / code.scale[0])
        stored = np.clip(values, -HIGHEST, HIGHEST).astype(np.int16)
        return Tensor(tensor.name, tensor.shape, DType.INT16, stored, code)

    def _bias(self, bias: Tensor, data: Quantization, weight: Quantization) -> Tensor:
        """Return the bias in int64 at input scale times weight scale."""
        assert bias.data is not None
        scale = np.array(weight.scale) * data.scale[0]
        values = np.rint(np.asarray(bias.data, np.float64) / scale).astype(np.int64)
        code = Quantization(tuple(map(float, scale)), (0,) * len(scale), 0)
        return Tensor(bias.name, bias.shape, DType.INT64, values, code)

    def _fixed(self, operator: Operator) -> Quantization | None:
        return _FIXED.get(operator.op)

    def _options(self, operator: Operator) -> dict[str, Any]:
        if operator.op not in ("ADD", "SUB"):
            return operator.options
        # Else scales have to be powers of two.
        return {**operator.options, "pot_scale_int16": False}
