"""Integer weights under float activations: ``w8`` stores them so, ``w8a32`` also computes so.

``w8``: a DEQUANTIZE unpacks each weight; all is computed in float. ``w8a32``: LiteRT's hybrid
kernels read the int8 weights, round their input to int8 as they run, a scale an image or row,
and give float; no calibration is needed. What has no such kernel is stored as in ``w8``.
``w4``: as ``w8a32``, the weights of FULLY_CONNECTED in 4 bits, two in a byte. CONV_2D takes 4 bits
too, 1.3 to 3 times slower than its int8 (measured, LiteRT 2.3), so it keeps 8.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.constants import quantize_weight
from edgekit.converters.emitters.tflite.kernels import KERNELS
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.quantization import Quantization
from edgekit.tensor import DType

PRECISIONS = ("w8", "w8a32", "w4")
# DEPTHWISE_CONV_2D has a hybrid kernel too, but XNNPACK of LiteRT 2.3 does not take it: each one
# cuts the network in two, at 1.3 to 3 times the latency (docs/tflite-int8.md).
HYBRID = frozenset({"CONV_2D", "FULLY_CONNECTED"})
FOUR_BIT_LIMIT = 7
SMALLEST = 32
"""Weights with fewer elements stay float32; they save nothing."""


def store_weights(
    operators: Sequence[Operator],
    *,
    precision: str,
    weight_codes: Mapping[int, Quantization] | None = None,
    float_sources: Collection[str] = (),
) -> list[Operator]:
    """Return the operators with float32 weights as symmetric int8, a scale per output channel.

    Args:
        operators: Float ones, in execution order; their inputs are changed in place.
        precision: One of ``PRECISIONS``.
        weight_codes: By identity of the weight, scales along ONNX's output channels; a weight
            that has none gets those of its largest values.
        float_sources: ONNX nodes whose weights stay float.

    Source: LiteRT post-training dynamic range quantization.
    """
    codes = weight_codes or {}
    stored: dict[tuple[int, int], Tensor] = {}
    unpacked: dict[tuple[int, int], Tensor] = {}
    added = []
    for operator in operators:
        weight = _weight_of(operator)
        if weight is None or operator.source in float_sources:
            continue
        kernel = KERNELS[operator.op]
        assert kernel.weight is not None
        key = id(weight), kernel.weight_axis
        if key not in stored:
            code = codes.get(id(weight))
            stored[key] = quantize_weight(weight, kernel.weight_axis, code)
            if precision == "w4" and operator.op == "FULLY_CONNECTED":
                stored[key] = _four_bits(weight, code)
        if precision != "w8" and operator.op in HYBRID:
            operator.inputs[kernel.weight] = stored[key]
            if operator.op == "FULLY_CONNECTED":
                operator.options["asymmetric_quantize_inputs"] = True
            continue
        if key not in unpacked:
            packed, whole = stored[key], Tensor(weight.name, weight.shape, DType.FLOAT32)
            packed.name = f"{weight.name}/int8"
            added.append(Operator("DEQUANTIZE", [packed], [whole], {}, operator.source))
            unpacked[key] = whole
        operator.inputs[kernel.weight] = unpacked[key]
    return [*added, *operators]


def _weight_of(operator: Operator) -> Tensor | None:
    """Return the operator's constant float weight that is worth storing as integers."""
    kernel = KERNELS.get(operator.op)
    if kernel is None or kernel.weight is None:
        return None
    weight = operator.inputs[kernel.weight]
    if weight is None or weight.data is None or weight.dtype is not DType.FLOAT32:
        return None
    return weight if weight.data.size >= SMALLEST else None


def _four_bits(weight: Tensor, code: Quantization | None) -> Tensor:
    """Return the weight in symmetric int4; in int8 where its code has more steps than that."""
    assert weight.data is not None
    if code is None:
        peaks = np.abs(weight.data).max(axis=1)
        peaks = np.where(peaks == 0, 1.0, peaks) / FOUR_BIT_LIMIT
        code = Quantization(tuple(map(float, peaks)), (0,) * len(peaks), 0)
    stored = quantize_weight(weight, 0, code)
    assert stored.data is not None
    if np.abs(stored.data).max(initial=0) > FOUR_BIT_LIMIT:
        return stored
    packed = stored.data.astype(DType.INT4.to_numpy())
    return Tensor(stored.name, stored.shape, DType.INT4, packed, stored.quantization)
