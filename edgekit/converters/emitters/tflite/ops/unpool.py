"""Max-pooling that also returns where the maxima were, and unpooling with such indices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, cast, need_dtype
from edgekit.converters.emitters.tflite.ops.spatial import (
    Spatial,
    crop_or_pad,
    emit_pool,
    interleave,
)
from edgekit.converters.emitters.tflite.schema import Padding
from edgekit.converters.emitters.tflite.value import PooledMaxima
from edgekit.converters.emitters.tflite.window import Window
from edgekit.graph import Node
from edgekit.tensor import DType


def max_pool_with_indices(low: Lowering, node: Node, seen: Spatial) -> None:
    """Lower MaxPool with its second output, for windows that do not overlap."""
    tensor, window, order = seen.tensor, seen.window, seen.order
    if node.attribute("storage_order", 0):
        low.refuse(node, "storage_order=1 (column-major indices) is not lowered")
    if len(window.kernel) != 2 or window.kernel != window.stride or any(window.before):
        low.refuse(
            node,
            f"indices of kernel {window.kernel}, stride {window.stride}, padding "
            f"{window.before}; only 2-D windows that do not overlap can be lowered",
        )
    if order != (0, 2, 3, 1):
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


def _scatter(low: Lowering, node: Node, shape: Sequence[int]) -> None:
    """Unpool with indices from anywhere: a scatter into the flattened output."""
    count = math.prod(low.shape(node.inputs[0]))
    values = low.reshaped(low.read(node.inputs[0]), (count,))
    places = cast(low, low.reshaped(low.read(node.inputs[1]), (count, 1)), DType.INT32)
    total = np.array([math.prod(shape)], np.int32)
    flat = low.emit("SCATTER_ND", [places, values, total], (int(total[0]),), dtype=values.dtype)
    low.bind(node.outputs[0], low.reshaped(flat, shape))


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {"MaxUnpool": _max_unpool}
