"""Reductions, normalisations over axes, and the position of an extreme."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.layout import Permutation, without_axes
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.activation import same_shape
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, need_dtype
from edgekit.converters.emitters.tflite.ops.shape import integers
from edgekit.converters.emitters.tflite.schema import TENSOR_TYPES
from edgekit.converters.emitters.tflite.value import Value
from edgekit.graph import Node
from edgekit.tensor import DType


def reduce_stored(
    low: Lowering, op: str, tensor: Tensor, axes: Sequence[int], *, keep_dims: bool = True
) -> Tensor:
    """Emit a reduction over stored axes."""
    gone = set(axes)
    shape = [
        1 if axis in gone else size
        for axis, size in enumerate(tensor.shape)
        if keep_dims or axis not in gone
    ]
    where = np.array(sorted(gone), np.int32)
    return low.emit(op, [tensor, where], shape, {"keep_dims": keep_dims})


def _reduction(op: str, before: str = "", after: str = "") -> Callable[[Lowering, Node], None]:
    """Return the lowering of ``after(reduce(before(x)))``."""

    def lower(low: Lowering, node: Node) -> None:
        allowed = (*FLOATS, DType.INT32, DType.INT64) if not (before or after) else FLOATS
        need_dtype(low, node, allowed)
        value = low.value(node.inputs[0])
        axes = integers(low, node, 1, "axes")
        if not axes:
            if node.attribute("noop_with_empty_axes", 0):
                low.refuse(node, "noop_with_empty_axes=1 without axes is not lowered")
            axes = tuple(range(value.rank))
        keep = bool(node.attribute("keepdims", 1))
        tensor = same_shape(low, before, value.tensor) if before else value.tensor
        stored = [value.stored_axis(axis) for axis in axes]
        tensor = reduce_stored(low, op, tensor, stored, keep_dims=keep)
        tensor = same_shape(low, after, tensor) if after else tensor
        low.bind(node.outputs[0], tensor, _order_after(value, axes, keep))

    return lower


def _order_after(value: Value, axes: Sequence[int], keep: bool) -> Permutation:
    if keep:
        return value.permutation
    return without_axes(value.permutation, [axis % value.rank for axis in axes])


def _log_sum_exp(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    axes = integers(low, node, 1, "axes") or tuple(range(value.rank))
    keep = bool(node.attribute("keepdims", 1))
    stored = [value.stored_axis(axis) for axis in axes]
    # The maximum is taken out first, so that exp cannot overflow.
    top = reduce_stored(low, "REDUCE_MAX", value.tensor, stored)
    rest = low.emit("SUB", [value.tensor, top], value.tensor.shape)
    total = reduce_stored(low, "SUM", same_shape(low, "EXP", rest), stored)
    tensor = same_shape(low, "ADD", same_shape(low, "LOG", total), top)
    order = _order_after(value, axes, keep)
    if not keep:
        gone = set(stored)
        tensor = low.reshaped(tensor, [s for a, s in enumerate(tensor.shape) if a not in gone])
    low.bind(node.outputs[0], tensor, order)


def _arg_extreme(low: Lowering, node: Node) -> None:
    need_dtype(low, node, (*FLOATS, DType.INT32))
    if node.attribute("select_last_index", 0):
        low.refuse(node, "select_last_index=1; TFLite returns the first index")
    value = low.value(node.inputs[0])
    axis = node.attribute("axis", 0) % value.rank
    keep = bool(node.attribute("keepdims", 1))
    stored = value.stored_axis(axis)
    shape = [size for place, size in enumerate(value.tensor.shape) if place != stored]
    op = "ARG_MAX" if node.op_type == "ArgMax" else "ARG_MIN"
    kept = [size if place != stored else 1 for place, size in enumerate(value.tensor.shape)]
    where = np.array(stored, np.int32)
    options = {"output_type": TENSOR_TYPES[DType.INT64]}
    tensor = low.emit(op, [value.tensor, where], shape, options, dtype=DType.INT64)
    tensor = low.reshaped(tensor, kept) if keep else tensor
    low.bind(node.outputs[0], tensor, _order_after(value, [axis], keep))


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
    "ReduceMean": _reduction("MEAN"),
    "ReduceSum": _reduction("SUM"),
    "ReduceMax": _reduction("REDUCE_MAX"),
    "ReduceMin": _reduction("REDUCE_MIN"),
    "ReduceProd": _reduction("REDUCE_PROD"),
    "ReduceL1": _reduction("SUM", before="ABS"),
    "ReduceL2": _reduction("SUM", before="SQUARE", after="SQRT"),
    "ReduceSumSquare": _reduction("SUM", before="SQUARE"),
    "ReduceLogSum": _reduction("SUM", after="LOG"),
    "ReduceLogSumExp": _log_sum_exp,
    "ArgMax": _arg_extreme,
    "ArgMin": _arg_extreme,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "BatchNormalization": _batch_norm,
    "LpNormalization": _lp_normalization,
    "LRN": _lrn,
}
