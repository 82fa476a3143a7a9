"""Scattering by constant indices: a lookup in the data followed by the updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from edgekit.converters.emitters.tflite.lowering import Lowering, Operand
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, NUMBERS, need_dtype
from edgekit.converters.emitters.tflite.ops.shape import concatenate
from edgekit.graph import Array, Node


def _scatter_nd(low: Lowering, node: Node) -> None:
    indices = low.need_constant(node, 1, "the indices")
    tensor, updates = low.read(node.inputs[0]), low.read(node.inputs[2])
    depth = indices.shape[-1]
    outer = tensor.shape[:depth]
    wrapped = np.mod(indices, np.array(outer, np.int64)).reshape(-1, depth)
    rows = np.ravel_multi_index(tuple(wrapped.T), outer)
    width = math.prod(tensor.shape[depth:])
    flat = low.reshaped(tensor, (math.prod(outer), width))
    result = _scatter(low, node, flat, low.reshaped(updates, (len(rows), width)), rows)
    low.bind(node.outputs[0], low.reshaped(result, tensor.shape))


def _scatter_elements(low: Lowering, node: Node) -> None:
    indices = low.need_constant(node, 1, "the indices")
    tensor, updates = low.read(node.inputs[0]), low.read(node.inputs[2])
    axis = node.attribute("axis", 0) % len(tensor.shape)
    places: list[Array] = list(np.indices(indices.shape))
    places[axis] = np.mod(indices, tensor.shape[axis])
    rows = np.ravel_multi_index(tuple(places), tensor.shape).reshape(-1)
    flat = low.reshaped(tensor, (math.prod(tensor.shape), 1))
    result = _scatter(low, node, flat, low.reshaped(updates, (rows.size, 1)), rows)
    low.bind(node.outputs[0], low.reshaped(result, tensor.shape))


def _scatter(low: Lowering, node: Node, data: Tensor, updates: Tensor, rows: Array) -> Tensor:
    """Return data (R, W) with updates (U, W) written to, or added at, constant rows (U,)."""
    reduction = node.attribute("reduction", "none")
    if reduction == "add":
        need_dtype(low, node, FLOATS)
        where, sizes = rows.astype(np.int32)[:, None], np.array(data.shape, np.int32)
        operands: list[Operand] = [where, updates, sizes]
        added = low.emit("SCATTER_ND", operands, data.shape, dtype=data.dtype)
        return low.emit("ADD", [data, added], data.shape)
    if reduction != "none":
        low.refuse(node, f"reduction {reduction!r} is not lowered")
    need_dtype(low, node, NUMBERS)
    if len(np.unique(rows)) != len(rows):
        low.refuse(node, "the indices name a place twice; which update wins is undefined")
    count = data.shape[0]
    source = np.arange(count, dtype=np.int32)
    source[rows] = count + np.arange(len(rows), dtype=np.int32)
    both = concatenate(low, [data, updates], 0)
    return low.emit("GATHER", [both, source], data.shape, {"axis": 0})


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "ScatterND": _scatter_nd,
    "ScatterElements": _scatter_elements,
}
