"""Operators that look elements up by computed positions, and sort."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from edgekit.converters.emitters.tflite.lowering import Lowering, Operand
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.activation import same_shape
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, NUMBERS, cast, need_dtype
from edgekit.converters.emitters.tflite.schema import TENSOR_TYPES
from edgekit.graph import Array, Node
from edgekit.tensor import DType


def _top_k(low: Lowering, node: Node) -> None:
    largest = bool(node.attribute("largest", 1))
    need_dtype(low, node, NUMBERS if largest else FLOATS)
    value = low.value(node.inputs[0])
    axis = node.attribute("axis", -1) % value.rank
    if node.input(1):
        count = int(low.need_constant(node, 1, "k").reshape(-1)[0])
    else:
        count = node.attribute("k", 1)
    order = (*(item for item in value.permutation if item != axis), axis)
    tensor = low.read(node.inputs[0], order)
    if not largest:
        tensor = same_shape(low, "NEG", tensor)
    shape = (*tensor.shape[:-1], count)
    values, places = low.emit_many("TOPK_V2", [tensor, np.array(count, np.int32)], [shape, shape])
    places.dtype = DType.INT32
    if not largest:
        values = same_shape(low, "NEG", values)
    low.bind(node.outputs[0], values, order)
    low.bind(node.outputs[1], cast(low, places, DType.INT64), order)


def _wrapped(low: Lowering, name: str, size: int | Array) -> Tensor:
    """Return indices as int32 tensor, ONNX's negative ones counted from the end."""
    constant = low.constant(name)
    if constant is not None:
        return low.constant_tensor(np.mod(constant, size).astype(np.int32), name=name)
    tensor = low.read(name)
    sizes = np.array(size, tensor.dtype.to_numpy())
    wrapped = low.emit("FLOOR_MOD", [tensor, sizes], tensor.shape)
    return cast(low, wrapped, DType.INT32)


def _gather_nd(low: Lowering, node: Node) -> None:
    if node.attribute("batch_dims", 0):
        low.refuse(node, f"batch_dims={node.attribute('batch_dims', 0)} is not lowered")
    need_dtype(low, node, NUMBERS)
    tensor = low.read(node.inputs[0])
    where = low.shape(node.inputs[1])
    sizes = np.array(tensor.shape[: where[-1]], np.int64)
    indices = _wrapped(low, node.inputs[1], sizes)
    shape = (*where[:-1], *tensor.shape[where[-1] :])
    low.bind(node.outputs[0], low.emit("GATHER_ND", [tensor, indices], shape))


def _gather_elements(low: Lowering, node: Node) -> None:
    need_dtype(low, node, NUMBERS)
    tensor = low.read(node.inputs[0])
    rank = len(tensor.shape)
    axis = node.attribute("axis", 0) % rank
    indices = _wrapped(low, node.inputs[1], tensor.shape[axis])
    # Flattened position = index * stride of the axis + the position along the other axes.
    strides = [math.prod(tensor.shape[place + 1 :]) for place in range(rank)]
    base = np.zeros(indices.shape, np.int32)
    for place, size in enumerate(indices.shape):
        if place != axis:
            column = [1] * rank
            column[place] = size
            base = base + (np.arange(size, dtype=np.int32) * strides[place]).reshape(column)
    step = np.array(strides[axis], np.int32)
    count = math.prod(indices.shape)
    flat_index = low.reshaped(indices, (count,))
    scaled = low.emit("MUL", [flat_index, step], (count,))
    place_of = low.emit("ADD", [scaled, base.reshape(-1).astype(np.int32)], (count,))
    flat = low.reshaped(tensor, (math.prod(tensor.shape),))
    picked = low.emit("GATHER", [flat, place_of], (count,), {"axis": 0})
    low.bind(node.outputs[0], low.reshaped(picked, indices.shape))


def _trilu(low: Lowering, node: Node) -> None:
    dtype = need_dtype(low, node, (*NUMBERS, DType.BOOL))
    offset = 0
    if node.input(1):
        offset = int(low.need_constant(node, 1, "k").reshape(()))
    tensor = low.read(node.inputs[0])
    ones = np.ones(tensor.shape[-2:], bool)
    mask = np.triu(ones, offset) if node.attribute("upper", 1) else np.tril(ones, offset)
    # SELECT and not a product: 0 * inf would be NaN.
    condition = np.ascontiguousarray(np.broadcast_to(mask, tensor.shape))
    zeros = np.zeros(tensor.shape, dtype.to_numpy())
    result = low.emit("SELECT_V2", [condition, tensor, zeros], tensor.shape, dtype=dtype)
    low.bind(node.outputs[0], result)


def _cum_sum(low: Lowering, node: Node) -> None:
    need_dtype(low, node, NUMBERS)
    value = low.value(node.inputs[0])
    axis = int(low.need_constant(node, 1, "axis").reshape(()))
    options = {
        "exclusive": bool(node.attribute("exclusive", 0)),
        "reverse": bool(node.attribute("reverse", 0)),
    }
    where = np.array(value.stored_axis(axis), np.int32)
    result = low.emit("CUMSUM", [value.tensor, where], value.tensor.shape, options)
    low.bind(node.outputs[0], result, value.permutation)


def _hardmax(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    axis = node.attribute("axis", -1) % value.rank
    order = (*(item for item in value.permutation if item != axis), axis)
    tensor = low.read(node.inputs[0], order)
    last = np.array(len(order) - 1, np.int32)
    options = {"output_type": TENSOR_TYPES[DType.INT32]}
    top = low.emit("ARG_MAX", [tensor, last], tensor.shape[:-1], options, dtype=DType.INT32)
    values = np.array([0.0, 1.0], np.float32)
    result = one_hot(low, top, tensor.shape[-1], values=values, axis=-1)
    low.bind(node.outputs[0], result, order, is_non_negative=True)


def one_hot(low: Lowering, indices: Tensor, depth: int, *, values: Array, axis: int) -> Tensor:
    """Emit a new axis of size ``depth`` that is values[1] at the index and values[0] elsewhere."""
    place = axis % (len(indices.shape) + 1)
    shape = (*indices.shape[:place], depth, *indices.shape[place:])
    off, on = (np.array(item) for item in values)
    operands: list[Operand] = [indices, np.array(depth, np.int32), on, off]
    dtype = DType.from_numpy(values.dtype)
    return low.emit("ONE_HOT", operands, shape, {"axis": axis}, dtype=dtype)


def _one_hot(low: Lowering, node: Node) -> None:
    need_dtype(low, node, NUMBERS)
    need_dtype(low, node, (*NUMBERS, DType.BOOL), 2)
    depth = int(low.need_constant(node, 1, "depth").reshape(-1)[0])
    values = low.need_constant(node, 2, "the values")
    indices = cast(low, low.read(node.inputs[0]), DType.INT32)
    # Only -depth ... -1 count from the end; what lies beyond has no hot element.
    end = np.array(depth, np.int32)
    negative = low.emit("LESS", [indices, np.array(0, np.int32)], indices.shape, dtype=DType.BOOL)
    wrapped = low.emit("ADD", [indices, end], indices.shape)
    chosen = [negative, wrapped, indices]
    indices = low.emit("SELECT_V2", chosen, indices.shape, dtype=DType.INT32)
    axis = node.attribute("axis", -1)
    axis = axis if axis >= 0 else axis + len(indices.shape) + 1
    low.bind(node.outputs[0], one_hot(low, indices, depth, values=values, axis=axis))


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "TopK": _top_k,
    "GatherND": _gather_nd,
    "GatherElements": _gather_elements,
    "Hardmax": _hardmax,
    "OneHot": _one_hot,
    "Trilu": _trilu,
    "CumSum": _cum_sum,
}
