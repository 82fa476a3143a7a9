"""Pooling by maximum and by mean, over windows or over everything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.activation import same_shape
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, need_dtype
from edgekit.converters.emitters.tflite.ops.reduce import reduce_stored
from edgekit.converters.emitters.tflite.ops.spatial import (
    Spatial,
    emit_pool,
    pad_spatial,
    pad_window,
    read_spatial,
    without_height,
)
from edgekit.converters.emitters.tflite.ops.unpool import max_pool_with_indices
from edgekit.converters.emitters.tflite.schema import Padding
from edgekit.converters.emitters.tflite.window import Window
from edgekit.graph import Array, Node

LOWEST = float(np.finfo(np.float32).min)


def _pool(low: Lowering, node: Node) -> None:
    kernel = node.attribute("kernel_shape", ())
    spec = low.graph.values.get(node.outputs[0])
    size_out = spec.static_shape[2:] if spec is not None and spec.is_static else ()
    seen = read_spatial(low, node, kernel=kernel, size_out=size_out)
    if any(step != 1 for step in seen.window.dilation):
        low.refuse(node, f"dilations={seen.window.dilation}; TFLite's pools have none")
    is_max = node.op_type == "MaxPool"
    if is_max and len(node.outputs) > 1 and node.outputs[1]:
        max_pool_with_indices(low, node, seen)
        return
    pool = {"MaxPool": _max_pool, "AveragePool": _average_pool, "LpPool": _lp_pool}[node.op_type]
    if node.op_type == "LpPool" and seen.rank == 3:
        low.refuse(node, "it has 3 spatial axes; 1 and 2 can be lowered")
    if seen.rank == 3:
        result = _pool_3d(low, node, seen)
    elif seen.rank == 1:
        result = without_height(low, pool(low, node, seen.with_height(low)))
    else:
        result = pool(low, node, seen)
    low.bind(node.outputs[0], result, seen.order, is_non_negative=seen.is_non_negative)


def _max_pool(low: Lowering, node: Node, seen: Spatial) -> Tensor:
    # Zero is neutral for a maximum of non-negative values, and PAD is delegated, PADV2 is not.
    fill = 0.0 if seen.is_non_negative else LOWEST
    tensor, mode = pad_spatial(low, seen.tensor, seen.window, fill)
    return emit_pool(low, "MAX_POOL_2D", tensor, seen.window, mode)


def _average_pool(low: Lowering, node: Node, seen: Spatial) -> Tensor:
    tensor, window = seen.tensor, seen.window
    if window.is_same and not window.is_unpadded and not node.attribute("count_include_pad", 0):
        return emit_pool(low, "AVERAGE_POOL_2D", tensor, window, Padding.SAME)
    if not window.is_unpadded:
        tensor = pad_window(low, tensor, window)
    result = emit_pool(low, "AVERAGE_POOL_2D", tensor, window, Padding.VALID)
    return _corrected(low, node, result, window)


def _corrected(low: Lowering, node: Node, means: Tensor, window: Window) -> Tensor:
    """Return means over whole windows as means over the elements that ONNX counts."""
    count_pad = bool(node.attribute("count_include_pad", 0))
    correction = average_correction(window, count_pad=count_pad)
    if correction is None:
        return means
    return low.emit("MUL", [means, correction[None, ..., None]], means.shape)


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
    total: Array = counts[0]
    for count in counts[1:]:
        total = np.multiply.outer(total, count)
    area = math.prod(window.kernel)
    if (total == area).all():
        return None
    return np.asarray(area / np.maximum(total, 1), np.float32)


def _lp_pool(low: Lowering, node: Node, seen: Spatial) -> Tensor:
    """Lower (sum |x|^p)^(1/p) as a mean of powers times the window's area."""
    power = node.attribute("p", 2)
    tensor = to_power(low, seen.tensor, power)
    if not seen.window.is_unpadded:
        tensor = pad_window(low, tensor, seen.window)
    mean = emit_pool(low, "AVERAGE_POOL_2D", tensor, seen.window, Padding.VALID)
    total = same_shape(low, "MUL", mean, float(math.prod(seen.window.kernel)))
    return to_root(low, total, power)


def to_power(low: Lowering, tensor: Tensor, power: int) -> Tensor:
    """Return |x|^power."""
    if power == 2:
        return same_shape(low, "SQUARE", tensor)
    size = same_shape(low, "ABS", tensor)
    return size if power == 1 else same_shape(low, "POW", size, float(power))


def to_root(low: Lowering, tensor: Tensor, power: int) -> Tensor:
    """Return x^(1 / power) for x >= 0."""
    if power == 2:
        return same_shape(low, "SQRT", tensor)
    return tensor if power == 1 else same_shape(low, "POW", tensor, 1.0 / power)


def _pool_3d(low: Lowering, node: Node, seen: Spatial) -> Tensor:
    """Pool (H, W) and then D with two 2-D pools: a maximum or a mean of maxima or means."""
    is_max = node.op_type == "MaxPool"
    op = "MAX_POOL_2D" if is_max else "AVERAGE_POOL_2D"
    tensor, window = seen.tensor, seen.window
    if not window.is_unpadded:
        fill = 0.0 if seen.is_non_negative or not is_max else LOWEST
        tensor = pad_window(low, tensor, window, fill)
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
    return result if is_max else _corrected(low, node, result, window)


def _axes_of(window: Window, axes: Sequence[int], size_in: Sequence[int]) -> Window:
    picked = window.ordered(axes)
    return Window(
        picked.kernel, picked.stride, picked.dilation, (0, 0), (0, 0), tuple(size_in),
        picked.size_out,
    )  # fmt: skip


def _global_pool(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    axes = sorted(value.stored_axis(axis) for axis in range(2, value.rank))
    shape = [1 if axis in axes else size for axis, size in enumerate(value.tensor.shape)]
    op = "REDUCE_MAX" if node.op_type == "GlobalMaxPool" else "MEAN"
    where = np.array(axes, np.int32)
    result = low.emit(op, [value.tensor, where], shape, {"keep_dims": True})
    low.bind(node.outputs[0], result, value.permutation, is_non_negative=value.is_non_negative)


def _global_lp_pool(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    power = node.attribute("p", 2)
    axes = [value.stored_axis(axis) for axis in range(2, value.rank)]
    total = reduce_stored(low, "SUM", to_power(low, value.tensor, power), axes)
    result = to_root(low, total, power)
    low.bind(node.outputs[0], result, value.permutation, is_non_negative=True)


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "MaxPool": _pool,
    "AveragePool": _pool,
    "LpPool": _pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "GlobalLpPool": _global_lp_pool,
}
