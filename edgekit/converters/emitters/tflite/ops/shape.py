"""Operators that rearrange, cut, join and repeat, and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.layout import (
    identity,
    invert,
    stored_shape,
    without_axes,
)
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.schema import MirrorPad
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
        return tuple(int(item) for item in node.attribute(attribute, ()))
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


def _slice(low: Lowering, node: Node) -> None:
    value = low.value(node.inputs[0])
    starts = integers(low, node, 1, "starts") or ()
    ends = integers(low, node, 2, "ends") or ()
    axes = integers(low, node, 3, "axes") or tuple(range(len(starts)))
    steps = integers(low, node, 4, "steps") or (1,) * len(starts)
    ranges = [range(size) for size in value.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = value.shape[axis % value.rank]
        ranges[axis % value.rank] = range(*slice(start, end, step).indices(size))
    picked = [ranges[axis] for axis in value.permutation]
    tensor = value.tensor
    shape = [len(item) for item in picked]
    if all(item.step == 1 for item in picked):
        tensor = slice_tensor(low, tensor, [item.start for item in picked], shape)
    else:
        backward = [i for i, item in enumerate(picked) if item.step < 0]
        if backward:
            tensor, picked = _reverse(low, tensor, picked, backward)
        begin, end, step = (
            np.array([getattr(item, field) for item in picked], np.int32)
            for field in ("start", "stop", "step")
        )
        if any(item.step > 1 for item in picked):
            tensor = low.emit("STRIDED_SLICE", [tensor, begin, end, step], shape)
        else:
            tensor = slice_tensor(low, tensor, begin.tolist(), shape)
    low.bind(node.outputs[0], tensor, value.permutation, is_non_negative=value.is_non_negative)


def _reverse(
    low: Lowering, tensor: Tensor, picked: Sequence[range], backward: Sequence[int]
) -> tuple[Tensor, list[range]]:
    """Return the tensor with some axes reversed, and the same elements as forward ranges."""
    for axis in backward:
        tensor = low.emit("REVERSE_V2", [tensor, np.array([axis], np.int32)], tensor.shape)
    forward = list(picked)
    for axis in backward:
        size, item = tensor.shape[axis], picked[axis]
        first = size - 1 - item.start
        forward[axis] = range(first, first + (len(item) - 1) * -item.step + 1, -item.step)
    return tensor, forward


def _gather(low: Lowering, node: Node) -> None:
    value = low.value(node.inputs[0])
    axis = node.attribute("axis", 0) % value.rank
    indices = low.constant(node.inputs[1])
    shape = low.shape(node.inputs[1])
    if indices is not None:
        indices = np.where(indices < 0, indices + value.shape[axis], indices)
        if indices.ndim == 0:
            _gather_one(low, node, axis, int(indices))
            return
        where: Tensor = low.constant_tensor(indices.astype(np.int32), name=node.inputs[1])
    else:
        where = low.read(node.inputs[1])
        size = np.array(value.shape[axis], where.dtype.to_numpy())
        # ONNX counts a negative index from the end; GATHER would read outside the tensor.
        where = low.emit("FLOOR_MOD", [where, size], where.shape)
    if len(shape) == 1:
        order, stored, tensor = value.permutation, value.stored_axis(axis), value.tensor
    else:
        tensor, stored = low.read(node.inputs[0]), axis
        order = identity(value.rank - 1 + len(shape))
    result_shape = (*tensor.shape[:stored], *shape, *tensor.shape[stored + 1 :])
    result = low.emit("GATHER", [tensor, where], result_shape, {"axis": stored})
    low.bind(node.outputs[0], result, order, is_non_negative=value.is_non_negative)


def _gather_one(low: Lowering, node: Node, axis: int, index: int) -> None:
    value = low.value(node.inputs[0])
    stored = value.stored_axis(axis)
    begin, size = [0] * value.rank, list(value.tensor.shape)
    begin[stored], size[stored] = index, 1
    tensor = slice_tensor(low, value.tensor, begin, size)
    order = without_axes(value.permutation, [axis])
    shape = [item for place, item in enumerate(size) if place != stored]
    low.bind(
        node.outputs[0], low.reshaped(tensor, shape), order, is_non_negative=value.is_non_negative
    )


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


def _pad(low: Lowering, node: Node) -> None:
    value = low.value(node.inputs[0])
    pads = integers(low, node, 1, "pads") or ()
    axes = integers(low, node, 3, "axes") or tuple(range(value.rank))
    before, after = [0] * value.rank, [0] * value.rank
    for place, axis in enumerate(axes):
        before[axis % value.rank] = pads[place]
        after[axis % value.rank] = pads[place + len(axes)]
    order = value.permutation
    tensor = value.tensor
    cut = [max(0, -before[axis]) for axis in order]
    left = [
        size + min(0, before[axis]) + min(0, after[axis])
        for size, axis in zip(tensor.shape, order, strict=True)
    ]
    tensor = slice_tensor(low, tensor, cut, left)
    amounts = [(max(0, before[axis]), max(0, after[axis])) for axis in order]
    mode = node.attribute("mode", "constant")
    if any(map(any, amounts)):
        tensor = _grow(low, node, tensor, amounts, mode)
    non_negative = value.is_non_negative and mode != "constant"
    low.bind(node.outputs[0], tensor, order, is_non_negative=non_negative)


def _grow(
    low: Lowering, node: Node, tensor: Tensor, amounts: Sequence[tuple[int, int]], mode: str
) -> Tensor:
    shape = [size + sum(both) for size, both in zip(tensor.shape, amounts, strict=True)]
    table = np.array(amounts, np.int32)
    if mode == "constant":
        fill = node.attribute("value", 0.0)
        if node.input(2):
            fill = float(low.need_constant(node, 2, "the padding value").reshape(()))
        if fill == 0:
            return low.emit("PAD", [tensor, table], shape)
        constant = np.array(fill, tensor.dtype.to_numpy())
        return low.emit("PADV2", [tensor, table, constant], shape)
    if mode == "reflect":
        limits = zip(amounts, tensor.shape, strict=True)
        if any(max(both) >= size for both, size in limits if any(both)):
            low.refuse(node, f"reflects {amounts} beyond the size {tensor.shape}")
        options = {"mode": int(MirrorPad.REFLECT)}
        return low.emit("MIRROR_PAD", [tensor, table], shape, options)
    if mode in ("edge", "wrap"):
        for axis, (before, after) in enumerate(amounts):
            size = tensor.shape[axis]
            index = np.arange(-before, size + after)
            index = np.clip(index, 0, size - 1) if mode == "edge" else index % size
            if before or after:
                grown = (*tensor.shape[:axis], len(index), *tensor.shape[axis + 1 :])
                where = index.astype(np.int32)
                tensor = low.emit("GATHER", [tensor, where], grown, {"axis": axis})
        return tensor
    low.refuse(node, f"mode {mode!r} is not one of constant, reflect, edge, wrap")


def _depth_to_space(low: Lowering, node: Node) -> None:
    block = node.attribute("blocksize", 1)
    batch, channels, height, width = low.shape(node.inputs[0])
    if node.attribute("mode", "DCR") == "DCR":
        tensor = low.read(node.inputs[0], (0, 2, 3, 1))
        shape = (batch, height * block, width * block, channels // block**2)
        result = low.emit("DEPTH_TO_SPACE", [tensor], shape, {"block_size": block})
        low.bind(node.outputs[0], result, (0, 2, 3, 1))
        return
    tensor = low.read(node.inputs[0], (0, 2, 3, 1))
    inner = channels // block**2
    # (N, H, W, C*b*b) -> (N, H, W, C, b, b) -> (N, H, b, W, b, C)
    split = low.reshaped(tensor, (batch, height, width, inner, block, block))
    axes = np.array((0, 1, 4, 2, 5, 3), np.int32)
    mixed = low.emit("TRANSPOSE", [split, axes], (batch, height, block, width, block, inner))
    shape = (batch, height * block, width * block, inner)
    low.bind(node.outputs[0], low.reshaped(mixed, shape), (0, 2, 3, 1))


def _space_to_depth(low: Lowering, node: Node) -> None:
    if node.attribute("mode", "DCR") != "DCR":
        low.refuse(node, f"mode {node.attribute('mode', 'DCR')!r}; DCR can be lowered")
    block = node.attribute("blocksize", 1)
    batch, channels, height, width = low.shape(node.inputs[0])
    tensor = low.read(node.inputs[0], (0, 2, 3, 1))
    shape = (batch, height // block, width // block, channels * block**2)
    result = low.emit("SPACE_TO_DEPTH", [tensor], shape, {"block_size": block})
    low.bind(node.outputs[0], result, (0, 2, 3, 1))


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}

__all__ = ["LOWERINGS", "concatenate", "integers", "output_shape", "slice_tensor"]
