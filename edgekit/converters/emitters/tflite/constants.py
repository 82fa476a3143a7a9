"""Constants as integers: weights, biases, operands of an elementwise operator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.converters.emitters.tflite.kernels import INT8_HIGH, INT8_LOW
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.quantization import Quantization
from edgekit.tensor import DType

# Weights leave out -128, so that a product with -128 cannot overflow 16 bits.
WEIGHT_LIMIT = 127


def quantize_values(data: NDArray[np.generic], code: Quantization) -> NDArray[np.int8]:
    """Return int8 values in a per-tensor code, round half to even.

    Source: ONNX operator QuantizeLinear-19.
    """
    values = np.rint(np.asarray(data, np.float64) / code.scale[0]) + code.zero_point[0]
    return np.asarray(np.clip(values, INT8_LOW, INT8_HIGH), np.int8)


def quantize_weight(weight: Tensor, axis: int, code: Quantization | None) -> Tensor:
    """Return the weight in symmetric int8, one scale per slice along ``axis``."""
    assert weight.data is not None
    data = np.moveaxis(np.asarray(weight.data, np.float64), axis, 0)
    rows = data.reshape(data.shape[0], -1)
    if code is not None and len(code.scale) in (1, rows.shape[0]):
        scale = np.resize(code.scale, rows.shape[0])
    else:
        scale = np.abs(rows).max(axis=1) / WEIGHT_LIMIT
        scale[scale == 0] = 1.0
    values = np.clip(np.rint(rows / scale[:, None]), -WEIGHT_LIMIT, WEIGHT_LIMIT)
    stored = np.moveaxis(values.reshape(data.shape), 0, axis).astype(np.int8)
    quantization = Quantization(tuple(map(float, scale)), (0,) * len(scale), axis)
    return Tensor(weight.name, weight.shape, DType.INT8, np.ascontiguousarray(stored), quantization)


def quantize_bias(bias: Tensor, data: Quantization, weight: Quantization) -> Tensor:
    """Return the bias in int32 at input scale times weight scale."""
    assert bias.data is not None
    scale = np.array(weight.scale) * data.scale[0]
    limit = float(np.iinfo(np.int32).max)
    values = np.clip(np.rint(np.asarray(bias.data, np.float64) / scale), -limit, limit)
    quantization = Quantization(tuple(map(float, scale)), (0,) * len(scale), 0)
    return Tensor(bias.name, bias.shape, DType.INT32, values.astype(np.int32), quantization)
