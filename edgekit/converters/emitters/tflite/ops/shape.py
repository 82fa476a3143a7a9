"""Operators that reshape, transpose, join, split and repeat, and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.layout import invert, stored_shape
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.graph import Node


def output_shape(low: Lowering, node: Node, index: int = 0) -> tuple[int, ...]:
    """Return the inferred static shape of an output, or refuse the node."""
    spec = low.graph.values.get(node.outputs[index])
    if spec is None or not spec.is_static:
        low.refuse(
            node,
            f"the shape of its output {node.outputs[index]!r} is "
            f"{'unknown' if spec is None else spec.shape}; fix the inputs' shapes with --shape",
        )
    return spec.static_shape


def integers(low: Lowering, node: Node, index: int, attribute: str) -> tuple[int, ...] | None:
    """Return integers that are an attribute in old opsets and a constant input in new ones."""
    if attribute in node.attributes:
        given: tuple[int, ...] = node.attribute(attribute, ())
        return tuple(int(item) for item in given)
    if not node.input(index):
        return None
    values = low.need_constant(node, index, attribute)
    return tuple(int(item) for item in values.reshape(-1))


def _reshape(low: Lowering, node: Node) -> None:
    source = low.shape(node.inputs[0])
    if node.op_type == "Reshape":
        wanted = integers(low, node, 1, "shape") or ()
        shape = [
            source[axis] if size == 0 and not node.attribute("allowzero", 0) else size
            for axis, size in enumerate(wanted)
        ]
        if -1 in shape:
            rest = math.prod(size for size in shape if size != -1)
            shape[shape.index(-1)] = math.prod(source) // max(rest, 1)
    elif node.op_type == "Flatten":
        axis = node.attribute("axis", 1)
        axis += len(source) if axis < 0 else 0
        shape = [math.prod(source[:axis]), math.prod(source[axis:])]
    elif node.op_type == "Unsqueeze":
        axes = integers(low, node, 1, "axes") or ()
        rank = len(source) + len(axes)
        new = {axis % rank for axis in axes}
        rest_of = iter(source)
        shape = [1 if axis in new else next(rest_of) for axis in range(rank)]
    else:
        dropped = integers(low, node, 1, "axes")
        if dropped is None:
            dropped = tuple(axis for axis, size in enumerate(source) if size == 1)
        gone = {axis % len(source) for axis in dropped}
        shape = [size for axis, size in enumerate(source) if axis not in gone]
    low.bind_reshaped(node.outputs[0], node.inputs[0], shape)


def _transpose(low: Lowering, node: Node) -> None:
    """Emit nothing: only the meaning of the stored axes changes."""
    value = low.value(node.inputs[0])
    default = tuple(reversed(range(value.rank)))
    where = invert(node.attribute("perm", default) or default)
    order = tuple(where[axis] for axis in value.permutation)
    low.bind(node.outputs[0], value.tensor, order, is_non_negative=value.is_non_negative)


def _concat(low: Lowering, node: Node) -> None:
    names = [name for name in node.inputs if name]
    rank = low.rank(names[0])
    axis = node.attribute("axis", 0) % rank
    order = low.preferred_order(names, rank)
    parts = [low.read(name, order) for name in names if 0 not in low.shape(name)]
    if len(parts) == 1:
        low.bind(node.outputs[0], parts[0], order)
        return
    non_negative = all(low.value(name).is_non_negative for name in names)
    stored = order.index(axis)
    result = concatenate(low, parts, stored)
    low.bind(node.outputs[0], result, order, is_non_negative=non_negative)


def concatenate(low: Lowering, parts: Sequence[Tensor], axis: int) -> Tensor:
    """Emit a CONCATENATION along a stored axis."""
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return low.emit("CONCATENATION", parts, shape, {"axis": axis})


def slice_tensor(
    low: Lowering, tensor: Tensor, begin: Sequence[int], size: Sequence[int]
) -> Tensor:
    """Emit a SLICE; nothing where it takes the whole tensor."""
    if tuple(size) == tensor.shape:
        return tensor
    return low.emit("SLICE", [tensor, np.array(begin, np.int32), np.array(size, np.int32)], size)


def _split(low: Lowering, node: Node) -> None:
    value = low.value(node.inputs[0])
    axis = node.attribute("axis", 0) % value.rank
    stored = value.permutation.index(axis)
    total = value.shape[axis]
    sizes = integers(low, node, 1, "split")
    if sizes is None:
        count = len(node.outputs)
        step = -(-total // count)
        sizes = tuple(min(step, total - step * index) for index in range(count))
    shapes = []
    for size in sizes:
        shape = list(value.tensor.shape)
        shape[stored] = size
        shapes.append(shape)
    if len(set(sizes)) == 1 and len(sizes) > 1:
        parts = low.emit_many(
            "SPLIT", [np.array(stored, np.int32), value.tensor], shapes,
            {"num_splits": len(sizes)}, dtype=value.dtype,
        )  # fmt: skip
    else:
        # SPLIT_V is not delegated; slices are.
        parts, start = [], 0
        for size, shape in zip(sizes, shapes, strict=True):
            begin = [0] * value.rank
            begin[stored] = start
            parts.append(slice_tensor(low, value.tensor, begin, shape))
            start += size
    for name, part in zip(node.outputs, parts, strict=True):
        low.bind(name, part, value.permutation, is_non_negative=value.is_non_negative)


def _expand(low: Lowering, node: Node) -> None:
    source = low.shape(node.inputs[0])
    wanted = integers(low, node, 1, "shape") or ()
    shape = np.broadcast_shapes(source, wanted)
    order = low.preferred_order(node.inputs[:1], len(shape))
    tensor = low.broadcast_operand(node.inputs[0], order)
    stored = stored_shape(shape, order)
    if tensor.shape != stored:
        target = np.array(stored, np.int32)
        tensor = low.emit("BROADCAST_TO", [tensor, target], stored)
    low.bind(node.outputs[0], tensor, order)


def _tile(low: Lowering, node: Node) -> None:
    value = low.value(node.inputs[0])
    repeats = integers(low, node, 1, "repeats") or ()
    counts = [repeats[axis] for axis in value.permutation]
    shape = [size * count for size, count in zip(value.tensor.shape, counts, strict=True)]
    tensor = low.emit("TILE", [value.tensor, np.array(counts, np.int32)], shape)
    low.bind(node.outputs[0], tensor, value.permutation, is_non_negative=value.is_non_negative)


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Expand": _expand,
    "Tile": _tile,
}
