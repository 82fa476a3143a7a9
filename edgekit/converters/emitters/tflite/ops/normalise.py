"""Normalisations: over axes, channels, groups of channels, neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.layout import channels_last
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.activation import same_shape
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, need_dtype
from edgekit.converters.emitters.tflite.ops.reduce import reduce_stored
from edgekit.converters.emitters.tflite.value import Value
from edgekit.graph import Node


def normalise(
    low: Lowering, tensor: Tensor, axes: Sequence[int], epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (x - mean) / sqrt(var + epsilon) over stored axes, the mean and 1/sqrt(...)."""
    mean = reduce_stored(low, "MEAN", tensor, axes)
    centred = low.emit("SUB", [tensor, mean], tensor.shape)
    square = same_shape(low, "SQUARE", centred)
    variance = reduce_stored(low, "MEAN", square, axes)
    inverse = same_shape(low, "RSQRT", same_shape(low, "ADD", variance, float(epsilon)))
    return low.emit("MUL", [centred, inverse], tensor.shape), mean, inverse


def _affine(low: Lowering, value: Value, tensor: Tensor, scale: str, bias: str) -> Tensor:
    for op, name in (("MUL", scale), ("ADD", bias)):
        if name:
            operand = low.broadcast_operand(name, value.permutation)
            tensor = low.emit(op, [tensor, operand], tensor.shape)
    return tensor


def _layer_norm(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    first = node.attribute("axis", -1) % value.rank
    axes = list(range(first, value.rank))
    stored = [value.stored_axis(axis) for axis in axes]
    epsilon = node.attribute("epsilon", 1e-5)
    tensor, mean, inverse = normalise(low, value.tensor, stored, epsilon)
    tensor = _affine(low, value, tensor, node.input(1), node.input(2))
    low.bind(node.outputs[0], tensor, value.permutation)
    for index, extra in ((1, mean), (2, inverse)):
        if len(node.outputs) > index:
            low.bind(node.outputs[index], extra, value.permutation)


def _rms_norm(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    first = node.attribute("axis", -1) % value.rank
    stored = [value.stored_axis(axis) for axis in range(first, value.rank)]
    square = reduce_stored(low, "MEAN", same_shape(low, "SQUARE", value.tensor), stored)
    shifted = same_shape(low, "ADD", square, node.attribute("epsilon", 1e-5))
    inverse = same_shape(low, "RSQRT", shifted)
    tensor = low.emit("MUL", [value.tensor, inverse], value.tensor.shape)
    tensor = _affine(low, value, tensor, node.input(1), "")
    low.bind(node.outputs[0], tensor, value.permutation)


def _mean_variance_norm(low: Lowering, node: Node) -> None:
    """Lower (x - mean) / (deviation + 1e-9), as the ONNX function says."""
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    stored = [value.stored_axis(axis) for axis in node.attribute("axes", (0, 2, 3))]
    mean = reduce_stored(low, "MEAN", value.tensor, stored)
    centred = low.emit("SUB", [value.tensor, mean], value.tensor.shape)
    variance = reduce_stored(low, "MEAN", same_shape(low, "SQUARE", centred), stored)
    deviation = same_shape(low, "ADD", same_shape(low, "SQRT", variance), 1e-9)
    tensor = low.emit("DIV", [centred, deviation], value.tensor.shape)
    low.bind(node.outputs[0], tensor, value.permutation)


def _group_norm(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    data, scale, bias = node.inputs[:3]
    value = low.value(data)
    channels, groups = value.shape[1], node.attribute("num_groups", 1)
    if low.shape(scale) != (channels,):
        low.refuse(node, f"scale has shape {low.shape(scale)}; opset 21 gives one per channel")
    order = value.permutation
    if order[0] != 0 or order[-1] != 1:
        order = channels_last(value.rank)
    tensor = low.read(data, order)
    # (N, spatial..., C) -> (N, area, groups, C / groups)
    area = math.prod(tensor.shape[1:-1])
    grouped = low.reshaped(tensor, (tensor.shape[0], area, groups, channels // groups))
    unit, _, _ = normalise(low, grouped, (1, 3), node.attribute("epsilon", 1e-5))
    result = low.reshaped(unit, tensor.shape)
    for op, name in (("MUL", scale), ("ADD", bias)):
        result = low.emit(op, [result, low.read(name)], result.shape)
    low.bind(node.outputs[0], result, order)


def _channel_operand(low: Lowering, name: str, value: Value) -> Tensor:
    """Return a per-channel (C,) tensor so that it broadcasts over (N, C, ...) as stored."""
    array = low.constant(name)
    shape = [1] * value.rank
    shape[value.stored_axis(1)] = value.shape[1]
    if array is not None:
        if shape[-1] == value.shape[1]:
            return low.constant_tensor(array.reshape(-1), name=name)
        return low.constant_tensor(array.reshape(shape), name=name)
    return low.reshaped(low.read(name), shape)


def _instance_norm(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    stored = [value.stored_axis(axis) for axis in range(2, value.rank)]
    epsilon = node.attribute("epsilon", 1e-5)
    tensor, _, _ = normalise(low, value.tensor, stored, epsilon)
    for op, index in (("MUL", 1), ("ADD", 2)):
        operand = _channel_operand(low, node.inputs[index], value)
        tensor = low.emit(op, [tensor, operand], tensor.shape)
    low.bind(node.outputs[0], tensor, value.permutation)


def _batch_norm(low: Lowering, node: Node) -> None:
    """Lower a BatchNormalization that no convolution could take up: x * a + b."""
    need_dtype(low, node, FLOATS)
    if node.attribute("training_mode", 0):
        low.refuse(node, "training_mode=1; export the model for inference")
    value = low.value(node.inputs[0])
    scale, bias, mean, variance = (
        low.need_constant(node, index, what).astype(np.float64)
        for index, what in enumerate(("scale", "bias", "mean", "variance"), start=1)
    )
    factor = scale / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    shape = [1] * value.rank
    channel = value.stored_axis(1) if value.rank > 1 else 0
    shape[channel] = -1
    tensor = value.tensor
    for op, array in (("MUL", factor), ("ADD", bias - mean * factor)):
        constant = array.astype(np.float32)
        constant = constant if channel == value.rank - 1 else constant.reshape(shape)
        tensor = low.emit(op, [tensor, constant], tensor.shape)
    low.bind(node.outputs[0], tensor, value.permutation)


def _lp_normalization(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    stored = [value.stored_axis(node.attribute("axis", -1))]
    if node.attribute("p", 2) == 1:
        norm = reduce_stored(low, "SUM", same_shape(low, "ABS", value.tensor), stored)
    else:
        square = same_shape(low, "SQUARE", value.tensor)
        norm = same_shape(low, "SQRT", reduce_stored(low, "SUM", square, stored))
    # ONNX gives 0 for a vector of zeros; the floor keeps the quotient finite.
    norm = same_shape(low, "MAXIMUM", norm, float(np.finfo(np.float32).tiny))
    low.bind(
        node.outputs[0],
        low.emit("DIV", [value.tensor, norm], value.tensor.shape),
        value.permutation,
    )


def _lrn(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    size = node.attribute("size", 1)
    if size % 2 == 0:
        low.refuse(node, f"size={size}; TFLite's window is symmetric, so the size must be odd")
    rank = low.rank(node.inputs[0])
    if rank != 4:
        low.refuse(node, f"its input has rank {rank}; 4 is needed")
    tensor = low.read(node.inputs[0], (0, 2, 3, 1))
    options = {
        "radius": size // 2,
        "bias": node.attribute("bias", 1.0),
        "alpha": node.attribute("alpha", 1e-4) / size,
        "beta": node.attribute("beta", 0.75),
    }
    result = low.emit("LOCAL_RESPONSE_NORMALIZATION", [tensor], tensor.shape, options)
    positive = low.value(node.inputs[0]).is_non_negative
    low.bind(node.outputs[0], result, (0, 2, 3, 1), is_non_negative=positive)


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "MeanVarianceNormalization": _mean_variance_norm,
    "BatchNormalization": _batch_norm,
    "LpNormalization": _lp_normalization,
    "LRN": _lrn,
}
