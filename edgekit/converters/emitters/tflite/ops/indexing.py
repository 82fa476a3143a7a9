"""Operators that look elements up by computed positions, and sort."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from edgekit.converters.emitters.tflite.lowering import Lowering, Operand
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, NUMBERS, cast, need_dtype
from edgekit.graph import Array, Node
from edgekit.tensor import DType


def _top_k(low: Lowering, node: Node) -> None:
    need_dtype(low, node, (*FLOATS, DType.INT32))
    value = low.value(node.inputs[0])
    axis = node.attribute("axis", -1) % value.rank
    if not node.attribute("largest", 1):
        low.refuse(node, "largest=0; TFLite's TOPK_V2 returns the largest")
    if node.input(1):
        count = int(low.need_constant(node, 1, "k").reshape(-1)[0])
    else:
        count = node.attribute("k", 1)
    order = (*(item for item in value.permutation if item != axis), axis)
    tensor = low.read(node.inputs[0], order)
    shape = (*tensor.shape[:-1], count)
    values, places = low.emit_many("TOPK_V2", [tensor, np.array(count, np.int32)], [shape, shape])
    places.dtype = DType.INT32
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


def _scatter_nd(low: Lowering, node: Node) -> None:
    """Write slices into a tensor: keep what no index names, add the scattered updates."""
    need_dtype(low, node, FLOATS)
    if node.attribute("reduction", "none") != "none":
        low.refuse(node, f"reduction {node.attribute('reduction', 'none')!r} is not lowered")
    places = low.need_constant(node, 1, "the indices")
    tensor = low.read(node.inputs[0])
    depth = places.shape[-1]
    wrapped = np.mod(places, np.array(tensor.shape[:depth])).astype(np.int32)
    rows = wrapped.reshape(-1, depth)
    if len(np.unique(rows, axis=0)) != len(rows):
        low.refuse(node, "the indices name a slice twice; which update wins is undefined")
    keep = np.ones(tensor.shape, np.float32)
    keep[tuple(rows.T)] = 0.0
    updates = low.read(node.inputs[2])
    target = np.array(tensor.shape, np.int32)
    scattered = low.emit("SCATTER_ND", [wrapped, updates, target], tensor.shape, dtype=tensor.dtype)
    kept = low.emit("MUL", [tensor, keep], tensor.shape)
    low.bind(node.outputs[0], low.emit("ADD", [kept, scattered], tensor.shape))


def _trilu(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    offset = 0
    if node.input(1):
        offset = int(low.need_constant(node, 1, "k").reshape(()))
    tensor = low.read(node.inputs[0])
    ones = np.ones(tensor.shape[-2:], np.float32)
    mask = np.triu(ones, offset) if node.attribute("upper", 1) else np.tril(ones, offset)
    # SELECT and not a product: 0 * inf would be NaN.
    condition = np.broadcast_to(mask.astype(bool), tensor.shape)
    zeros = np.zeros(tensor.shape, np.float32)
    operands: list[Operand] = [np.ascontiguousarray(condition), tensor, zeros]
    result = low.emit("SELECT_V2", operands, tensor.shape, dtype=tensor.dtype)
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


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "TopK": _top_k,
    "GatherND": _gather_nd,
    "GatherElements": _gather_elements,
    "ScatterND": _scatter_nd,
    "Trilu": _trilu,
    "CumSum": _cum_sum,
}
