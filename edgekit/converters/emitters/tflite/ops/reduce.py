"""Reductions, and the position of an extreme."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.layout import Permutation, without_axes
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.activation import same_shape
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, NUMBERS, need_dtype
from edgekit.converters.emitters.tflite.ops.shape import integers
from edgekit.converters.emitters.tflite.schema import TENSOR_TYPES
from edgekit.converters.emitters.tflite.value import Value
from edgekit.graph import Node
from edgekit.tensor import DType

# The largest of two truth values is their "or".
LOGICAL_REDUCTIONS = {"REDUCE_MAX": "REDUCE_ANY", "REDUCE_MIN": "REDUCE_ALL"}


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
        allowed = NUMBERS if not (before or after) else FLOATS
        logical = LOGICAL_REDUCTIONS.get(op, op)
        dtype = need_dtype(low, node, allowed if logical == op else (*allowed, DType.BOOL))
        value = low.value(node.inputs[0])
        axes = integers(low, node, 1, "axes")
        if not axes:
            if node.attribute("noop_with_empty_axes", 0):
                low.refuse(node, "noop_with_empty_axes=1 without axes is not lowered")
            axes = tuple(range(value.rank))
        keep = bool(node.attribute("keepdims", 1))
        tensor = same_shape(low, before, value.tensor) if before else value.tensor
        stored = [value.stored_axis(axis) for axis in axes]
        kernel = logical if dtype is DType.BOOL else op
        tensor = reduce_stored(low, kernel, tensor, stored, keep_dims=keep)
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
    value = low.value(node.inputs[0])
    axis = node.attribute("axis", 0) % value.rank
    keep = bool(node.attribute("keepdims", 1))
    stored = value.stored_axis(axis)
    shape = [size for place, size in enumerate(value.tensor.shape) if place != stored]
    op = "ARG_MAX" if node.op_type == "ArgMax" else "ARG_MIN"
    kept = [size if place != stored else 1 for place, size in enumerate(value.tensor.shape)]
    where = np.array(stored, np.int32)
    options = {"output_type": TENSOR_TYPES[DType.INT64]}
    source = value.tensor
    takes_last = bool(node.attribute("select_last_index", 0))
    if takes_last:  # the kernel returns the first of equal elements
        source = low.emit("REVERSE_V2", [source, np.array([stored], np.int32)], source.shape)
    tensor = low.emit(op, [source, where], shape, options, dtype=DType.INT64)
    if takes_last:
        end = np.array(value.shape[axis] - 1, np.int64)
        tensor = low.emit("SUB", [end, tensor], shape)
    tensor = low.reshaped(tensor, kept) if keep else tensor
    low.bind(node.outputs[0], tensor, _order_after(value, [axis], keep))


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
}
