"""Pooling, and max-unpooling with the indices of an earlier pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.layout import invert
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.conv import (
    _with_height,
    crop_or_pad,
    pad,
    pad_spatial,
    spatial_order,
)
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, cast, need_dtype
from edgekit.converters.emitters.tflite.schema import Padding
from edgekit.converters.emitters.tflite.value import PooledMaxima
from edgekit.converters.emitters.tflite.window import Window, read_window
from edgekit.graph import Array, Node
from edgekit.tensor import DType

LOWEST = float(np.finfo(np.float32).min)


def _pool(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    data = node.inputs[0]
    value = low.value(data)
    rank = value.rank - 2
    if rank not in (1, 2, 3):
        low.refuse(node, f"it has {rank} spatial axes; 1, 2 and 3 can be lowered")
    order = spatial_order(low, data)
    axes = [axis - 2 for axis in order[1:-1]]
    kernel = node.attribute("kernel_shape", (1,) * rank)
    spec = low.graph.values.get(node.outputs[0])
    size_out = spec.static_shape[2:] if spec is not None and spec.is_static else ()
    window = read_window(node, kernel, value.shape[2:], size_out=size_out).ordered(axes)
    if any(step != 1 for step in window.dilation):
        low.refuse(node, f"dilations={window.dilation}; TFLite's pools have none")
    tensor = low.read(data, order)
    is_max = node.op_type == "MaxPool"
    if is_max and len(node.outputs) > 1 and node.outputs[1]:
        _max_pool_with_indices(low, node, tensor, window, order)
        return
    apply = _max_pool if is_max else _average_pool
    if rank == 3:
        result = _pool_3d(low, node, tensor, window, value.is_non_negative)
    elif rank == 1:
        tall = low.reshaped(tensor, (tensor.shape[0], 1, *tensor.shape[1:]))
        result = apply(low, node, tall, _with_height(window), value.is_non_negative)
        result = low.reshaped(result, (result.shape[0], *result.shape[2:]))
    else:
        result = apply(low, node, tensor, window, value.is_non_negative)
    low.bind(node.outputs[0], result, order, is_non_negative=value.is_non_negative)


def emit_pool(low: Lowering, op: str, tensor: Tensor, window: Window, mode: Padding) -> Tensor:
    """Emit a 2-D pool on a stored (N, H, W, C) tensor."""
    shape = (tensor.shape[0], *window.size_out, tensor.shape[3])
    options = {
        "padding": int(mode),
        "stride_h": window.stride[0],
        "stride_w": window.stride[1],
        "filter_height": window.kernel[0],
        "filter_width": window.kernel[1],
    }
    return low.emit(op, [tensor], shape, options)


def _max_pool(
    low: Lowering, node: Node, tensor: Tensor, window: Window, non_negative: bool
) -> Tensor:
    # Zero is neutral for a maximum of non-negative values, and PAD is delegated, PADV2 is not.
    tensor, mode = pad_spatial(low, tensor, window, 0.0 if non_negative else LOWEST)
    return emit_pool(low, "MAX_POOL_2D", tensor, window, mode)


def _average_pool(
    low: Lowering, node: Node, tensor: Tensor, window: Window, non_negative: bool
) -> Tensor:
    if window.is_same and not window.is_unpadded and not node.attribute("count_include_pad", 0):
        return emit_pool(low, "AVERAGE_POOL_2D", tensor, window, Padding.SAME)
    if not window.is_unpadded:
        amounts = zip(window.before, window.missing, strict=True)
        tensor = pad(low, tensor, [(0, 0), *amounts, (0, 0)], 0.0)
    result = emit_pool(low, "AVERAGE_POOL_2D", tensor, window, Padding.VALID)
    correction = average_correction(window, count_pad=bool(node.attribute("count_include_pad", 0)))
    if correction is None:
        return result
    return low.emit("MUL", [result, correction[None, ..., None]], result.shape)


def average_correction(window: Window, *, count_pad: bool) -> Array | None:
    """Return window size over the elements that ONNX counts, shape (spatial out...), or None.

    Source: ONNX operator AveragePool-19: with ``count_include_pad`` the padding counts, the
    extra reach of ``ceil_mode`` never does.
    """
    counts = []
    for axis, size in enumerate(window.size_in):
        starts = np.arange(window.size_out[axis]) * window.stride[axis] - window.before[axis]
        ends = starts + window.kernel[axis]
        lowest = -window.before[axis] if count_pad else 0
        highest = size + window.after[axis] if count_pad else size
        counts.append(np.minimum(ends, highest) - np.maximum(starts, lowest))
    total = counts[0]
    for count in counts[1:]:
        total = np.multiply.outer(total, count)
    area = math.prod(window.kernel)
    if (total == area).all():
        return None
    return (area / np.maximum(total, 1)).astype(np.float32)


def _pool_3d(
    low: Lowering, node: Node, tensor: Tensor, window: Window, non_negative: bool
) -> Tensor:
    """Pool (H, W) and then D with two 2-D pools: a maximum or a mean of maxima or means."""
    is_max = node.op_type == "MaxPool"
    op = "MAX_POOL_2D" if is_max else "AVERAGE_POOL_2D"
    if not window.is_unpadded:
        fill = 0.0 if non_negative or not is_max else LOWEST
        amounts = zip(window.before, window.missing, strict=True)
        tensor = pad(low, tensor, [(0, 0), *amounts, (0, 0)], fill)
    batch, depth, height, width, channels = tensor.shape
    plane = low.reshaped(tensor, (batch * depth, height, width, channels))
    plane = emit_pool(low, op, plane, _axes_of(window, (1, 2), (height, width)), Padding.VALID)
    area = plane.shape[1] * plane.shape[2]
    column = low.reshaped(plane, (batch, depth, area, channels))
    along = Window(
        (window.kernel[0], 1), (window.stride[0], 1), (1, 1), (0, 0), (0, 0),
        (depth, area), (window.size_out[0], area),
    )  # fmt: skip
    column = emit_pool(low, op, column, along, Padding.VALID)
    result = low.reshaped(column, (batch, *window.size_out, channels))
    if is_max:
        return result
    correction = average_correction(window, count_pad=bool(node.attribute("count_include_pad", 0)))
    if correction is None:
        return result
    return low.emit("MUL", [result, correction[None, ..., None]], result.shape)


def _axes_of(window: Window, axes: Sequence[int], size_in: Sequence[int]) -> Window:
    picked = window.ordered(axes)
    return Window(
        picked.kernel, picked.stride, picked.dilation, (0, 0), (0, 0), tuple(size_in),
        picked.size_out,
    )  # fmt: skip


def _max_pool_with_indices(
    low: Lowering, node: Node, tensor: Tensor, window: Window, order: Sequence[int]
) -> None:
    """Lower MaxPool with its second output, for windows that do not overlap."""
    if node.attribute("storage_order", 0):
        low.refuse(node, "storage_order=1 (column-major indices) is not lowered")
    if len(window.kernel) != 2 or window.kernel != window.stride or any(window.before):
        low.refuse(
            node,
            f"indices of kernel {window.kernel}, stride {window.stride}, padding "
            f"{window.before}; only 2-D windows that do not overlap can be lowered",
        )
    if tuple(order) != (0, 2, 3, 1):
        order, window = (0, 2, 3, 1), window.ordered((1, 0))
        tensor = low.read(node.inputs[0], order)
    height, width = (out * step for out, step in zip(window.size_out, window.stride, strict=True))
    shape = (tensor.shape[0], height, width, tensor.shape[3])
    if shape[1] > tensor.shape[1] or shape[2] > tensor.shape[2]:
        low.refuse(node, "indices with ceil_mode are not lowered")
    whole = tensor
    if shape != tensor.shape:
        origin = np.zeros(4, np.int32)
        tensor = low.emit("SLICE", [tensor, origin, np.array(shape, np.int32)], shape)
    pooled = emit_pool(low, "MAX_POOL_2D", tensor, window, Padding.VALID)
    taps = _window_taps(low, tensor, window)
    first = _first_maximum(low, taps, pooled)
    low.bind(node.outputs[0], pooled, order)
    made = PooledMaxima(first, window, low.shape(node.inputs[0]))
    low.pooled[node.outputs[1]] = made
    if _needs_indices(low, node.outputs[1], made):
        _bind_indices(low, node, first, window, whole.shape)


def _needs_indices(low: Lowering, name: str, made: PooledMaxima) -> bool:
    """Whether somebody reads the indices other than to undo this very pooling."""
    if name in low.graph.output_names:
        return True
    readers = low.consumers.get(name, [])
    return any(
        reader.op_type != "MaxUnpool" or _unpooled_shape(low, reader) != made.shape
        for reader in readers
    )


def _unpooled_shape(low: Lowering, node: Node) -> tuple[int, ...] | None:
    if node.input(2):
        sizes = low.constant(node.input(2))
        return None if sizes is None else tuple(int(size) for size in sizes)
    spec = low.graph.values.get(node.outputs[0])
    return spec.static_shape if spec is not None and spec.is_static else None


def _window_taps(low: Lowering, tensor: Tensor, window: Window) -> list[Tensor]:
    """Return the tensor's elements at each place of the window, each (N, H/kh, W/kw, C)."""
    batch, _, _, channels = tensor.shape
    taps = []
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            begin = np.array([0, row, column, 0], np.int32)
            end = np.array(tensor.shape, np.int32)
            step = np.array([1, *window.stride, 1], np.int32)
            shape = (batch, *window.size_out, channels)
            taps.append(low.emit("STRIDED_SLICE", [tensor, begin, end, step], shape))
    return taps


def _first_maximum(low: Lowering, taps: Sequence[Tensor], pooled: Tensor) -> list[Tensor]:
    """Return per place 1.0 where it holds the first maximum of its window, else 0.0."""
    taken: Tensor | None = None
    first = []
    one = np.array(1.0, np.float32)
    for tap in taps:
        equal = low.emit("EQUAL", [tap, pooled], pooled.shape, dtype=DType.BOOL)
        mask = cast(low, equal, DType.FLOAT32)
        if taken is not None:
            free = low.emit("SUB", [one, taken], pooled.shape)
            mask = low.emit("MUL", [mask, free], pooled.shape)
        taken = mask if taken is None else low.emit("ADD", [taken, mask], pooled.shape)
        first.append(mask)
    return first


def _bind_indices(
    low: Lowering, node: Node, first: Sequence[Tensor], window: Window, shape: Sequence[int]
) -> None:
    """Bind ONNX's indices: positions in the flattened (N, C, H, W) input, int64."""
    batch, height, width, channels = shape
    if math.prod(shape) >= 1 << 24:
        low.refuse(node, f"indices up to {math.prod(shape)} are not exact in float32")
    rows, columns = window.size_out
    offset = (np.arange(batch * channels) * height * width).reshape(batch, 1, 1, channels)
    base = (
        offset
        + (np.arange(rows) * window.stride[0] * width)[None, :, None, None]
        + (np.arange(columns) * window.stride[1])[None, None, :, None]
    ).astype(np.float32)
    total: Tensor | None = None
    for place, mask in enumerate(first):
        row, column = divmod(place, window.kernel[1])
        step = np.array(float(row * width + column), np.float32)
        part = low.emit("MUL", [mask, step], mask.shape)
        total = part if total is None else low.emit("ADD", [total, part], mask.shape)
    assert total is not None
    total = low.emit("ADD", [total, base], total.shape)
    low.bind(node.outputs[1], cast(low, total, DType.INT64), (0, 2, 3, 1))


def _max_unpool(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    data, indices = node.inputs[:2]
    shape = _unpooled_shape(low, node)
    if shape is None:
        low.refuse(node, "its output shape is not known")
    made = low.pooled.get(indices)
    if made is not None and shape == made.shape:
        order = (0, 2, 3, 1)
        tensor = low.read(data, order)
        parts = [low.emit("MUL", [tensor, mask], tensor.shape) for mask in made.masks]
        grown = interleave(low, parts, made.window.kernel)
        result = crop_or_pad(low, grown, (0, 0), shape[2:])
        low.bind(node.outputs[0], result, order)
        return
    if node.input(2):
        low.refuse(
            node,
            "output_shape with indices of another size: ONNX's reference and ONNX Runtime "
            "read such indices differently",
        )
    _scatter(low, node, shape)


def interleave(low: Lowering, parts: Sequence[Tensor], block: Sequence[int]) -> Tensor:
    """Return (N, H*bh, W*bw, C) whose element (bh*h+i, bw*w+j) comes from part i*bw+j."""
    batch, height, width, channels = parts[0].shape
    rows = []
    for row in range(block[0]):
        line = list(parts[row * block[1] : (row + 1) * block[1]])
        shape = (batch, height, width, channels * block[1])
        rows.append(
            low.emit("CONCATENATION", line, shape, {"axis": 3}) if len(line) > 1 else line[0]
        )
    # (N, H, W, bw*C) -> (N, H, 1, W*bw*C), side by side for each row of the block
    flat = [low.reshaped(r, (batch, height, 1, width * block[1] * channels)) for r in rows]
    whole = flat[0]
    if len(flat) > 1:
        shape = (batch, height, block[0], width * block[1] * channels)
        whole = low.emit("CONCATENATION", flat, shape, {"axis": 2})
    return low.reshaped(whole, (batch, height * block[0], width * block[1], channels))


def _scatter(low: Lowering, node: Node, shape: Sequence[int]) -> None:
    """Unpool with indices from anywhere: a scatter into the flattened output."""
    count = math.prod(low.shape(node.inputs[0]))
    values = low.reshaped(low.read(node.inputs[0]), (count,))
    places = cast(low, low.reshaped(low.read(node.inputs[1]), (count, 1)), DType.INT32)
    total = np.array([math.prod(shape)], np.int32)
    flat = low.emit("SCATTER_ND", [places, values, total], (int(total[0]),), dtype=values.dtype)
    low.bind(node.outputs[0], low.reshaped(flat, shape))


def _global_pool(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    axes = np.array([value.stored_axis(axis) for axis in range(2, value.rank)], np.int32)
    axes.sort()
    order = value.permutation
    where = invert(order)
    shape = list(value.tensor.shape)
    for axis in range(2, value.rank):
        shape[where[axis]] = 1
    op = "REDUCE_MAX" if node.op_type == "GlobalMaxPool" else "MEAN"
    result = low.emit(op, [value.tensor, axes], shape, {"keep_dims": True})
    low.bind(node.outputs[0], result, order, is_non_negative=value.is_non_negative)


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "MaxPool": _pool,
    "AveragePool": _pool,
    "MaxUnpool": _max_unpool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
}

__all__ = ["LOWERINGS", "interleave"]
