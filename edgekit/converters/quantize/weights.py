"""Weights as integers: symmetric, one scale per output channel.

Source: LiteRT 8-bit quantization specification (weights in [-127, 127], zero point 0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Array
from edgekit.quantization import Quantization
from edgekit.quantized import Code
from edgekit.tensor import DType

WEIGHT_MAX = 127
FOUR_BIT_MAX = 7
MAX_BIAS = 2.0**30
"""Largest |bias| in steps of input scale x weight scale: half of int32, room for the sum."""


def weight_code(
    weight: Array,
    axis: int | None,
    *,
    bias: Array | None = None,
    input_scale: float | None = None,
    bits: int = 8,
    block: int | None = None,
) -> Code:
    """Return the code of a layer's weights: scale = max|w| / 127 per channel.

    A channel of zeros gets the largest scale of the tensor, which is always safe. A channel so
    small that its bias would not fit into int32 gets the smallest scale at which it does.

    Args:
        weight: float32.
        axis: Axis of the output channels; None for one scale for all.
        bias: float32 of shape (channels,), as the layer adds it.
        input_scale: Scale of the layer's input.
        bits: 8, or 4: then of a matrix, scale = max|w| / 7.
        block: Rows of a 4-bit matrix that share a scale, a divisor of them; None for all.
    """
    if bits == 4:
        return _four_bits(weight, 1 if axis is None else axis, block)
    largest = np.abs(weight).max(initial=0.0)
    if axis is None:
        peaks = np.asarray([largest], np.float64)
    else:
        others = tuple(i for i in range(weight.ndim) if i != axis)
        peaks = np.abs(weight).max(axis=others, initial=0.0).astype(np.float64)
    peaks[peaks == 0] = largest if largest > 0 else 1.0
    scales = peaks / WEIGHT_MAX
    if bias is not None and input_scale is not None:
        needed = np.abs(bias.reshape(-1).astype(np.float64)) / (input_scale * MAX_BIAS)
        if axis is None:
            scales = np.maximum(scales, needed.max(initial=0.0))
        elif needed.size in (1, scales.size):
            scales = np.maximum(scales, needed)
    # float32 is what every format stores; a subnormal scale has no reciprocal there.
    stored = np.maximum(scales.astype(np.float32), np.float32(1e-30))
    return Code(
        DType.INT8,
        Quantization(tuple(float(s) for s in stored), (0,) * stored.size, axis),
    )


def _four_bits(weight: Array, axis: int, block: int | None) -> Code:
    """Return the int4 code of a matrix, its output channels along ``axis``."""
    columns = weight if axis == 0 else weight.T  # (channels, depth)
    size = block or columns.shape[1]
    parts = columns.reshape(columns.shape[0], columns.shape[1] // size, size)
    peaks = np.abs(parts).max(axis=2).astype(np.float64)
    peaks[peaks == 0] = peaks.max(initial=0.0) or 1.0
    stored = np.maximum((peaks / FOUR_BIT_MAX).astype(np.float32), np.float32(1e-30)).reshape(-1)
    scale = tuple(float(item) for item in stored)
    return Code(DType.INT4, Quantization(scale, (0,) * len(scale), axis, block))


def to_integers(value: Array, code: Code) -> Array:
    """Return the integers of a constant, half away from none: ties go to even.

    Weights stay within [-127, 127], a symmetric code's limits; activations use all codes.

    Source: ONNX operator QuantizeLinear-19.
    """
    scale, zero_point = spread(code, value.shape)
    low, high = integer_limits(code)
    steps = np.rint(value.astype(np.float64) / scale) + zero_point
    return np.clip(steps, low, high).astype(code.dtype.to_numpy())


def to_reals(integers: Array, code: Code) -> Array:
    """Return the float32 values that integers stand for."""
    scale, zero_point = spread(code, integers.shape)
    return ((integers.astype(np.float64) - zero_point) * scale).astype(np.float32)


def as_read(value: Array, code: Code | None) -> Array:
    """Return an activation as an integer layer reads it, float32.

    A million values of it are rounded for each layer and sample, so in float32, which holds
    these integers exactly; a value halfway between two steps may go to the other one.
    """
    if code is None:
        return value
    if code.quantization.axis is not None:
        return to_reals(to_integers(value, code), code)
    (scale,), (zero_point,) = code.quantization.scale, code.quantization.zero_point
    low, high = integer_limits(code)
    steps = np.divide(value, np.float32(scale), dtype=np.float32)
    np.rint(steps, out=steps)
    np.clip(steps, low - zero_point, high - zero_point, out=steps)
    read: Array = np.multiply(steps, np.float32(scale), out=steps)
    return read


def integer_limits(code: Code) -> tuple[int, int]:
    """Return the smallest and largest integer of a code."""
    if code.dtype is DType.INT4:
        return -FOUR_BIT_MAX, FOUR_BIT_MAX
    info = np.iinfo(code.dtype.to_numpy())
    if code.quantization.is_symmetric and code.dtype in (DType.INT8, DType.INT16):
        return -int(info.max), int(info.max)
    return int(info.min), int(info.max)


def spread(code: Code, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and zero point shaped to broadcast against a tensor of that shape."""
    quantization = code.quantization
    scale = np.asarray(quantization.scale, np.float64)
    zero_point = np.asarray(quantization.zero_point, np.float64)
    axis = quantization.axis
    if axis is None:
        return scale.reshape(()), zero_point.reshape(())
    if quantization.block is not None:
        # (channels x blocks,) -> (channels, depth), or turned where channels are the columns
        scale, zero_point = (
            np.repeat(item.reshape(shape[axis], -1), quantization.block, axis=1)
            for item in (scale, zero_point)
        )
        return (scale, zero_point) if axis == 0 else (scale.T, zero_point.T)
    sizes = [1] * len(shape)
    sizes[axis] = scale.size
    return scale.reshape(sizes), zero_point.reshape(sizes)
