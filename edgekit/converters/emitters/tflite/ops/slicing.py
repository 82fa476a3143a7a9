"""Operators that take a part of a tensor, pad it, or move blocks between channels and space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.layout import identity, without_axes
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.shape import integers, slice_tensor
from edgekit.converters.emitters.tflite.schema import MirrorPad
from edgekit.graph import Node


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
        begin = np.array([item.start for item in picked], np.int32)
        if any(item.step > 1 for item in picked):
            stops = np.array([item.stop for item in picked], np.int32)
            strides = np.array([item.step for item in picked], np.int32)
            tensor = low.emit("STRIDED_SLICE", [tensor, begin, stops, strides], shape)
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
    if mode not in ("edge", "wrap"):
        low.refuse(node, f"mode {mode!r} is not one of constant, reflect, edge, wrap")
    return _repeat_border(low, tensor, amounts, wraps=mode == "wrap")


def _repeat_border(
    low: Lowering, tensor: Tensor, amounts: Sequence[tuple[int, int]], *, wraps: bool
) -> Tensor:
    """Pad with the elements at the border, or with those at the other end."""
    for axis, (before, after) in enumerate(amounts):
        if not before and not after:
            continue
        size = tensor.shape[axis]
        index = np.arange(-before, size + after)
        index = index % size if wraps else np.clip(index, 0, size - 1)
        grown = (*tensor.shape[:axis], len(index), *tensor.shape[axis + 1 :])
        tensor = low.emit("GATHER", [tensor, index.astype(np.int32)], grown, {"axis": axis})
    return tensor


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
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
