"""Resize and Upsample: nearest and linear, by kernels where they agree with ONNX exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, need_dtype
from edgekit.converters.emitters.tflite.ops.shape import output_shape
from edgekit.converters.emitters.tflite.ops.spatial import interleave
from edgekit.graph import Array, Node

# Up to this factor, repeating by concatenation is cheaper than a GATHER per axis.
MAX_REPEAT = 8


def _resize(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    data = node.inputs[0]
    value = low.value(data)
    size_in, size_out = value.shape, output_shape(low, node)
    scales = _scales(low, node, size_in, size_out)
    mode = node.attribute("mode", "nearest")
    moved = [axis for axis in range(value.rank) if size_in[axis] != size_out[axis]]
    if node.attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        low.refuse(node, "coordinate_transformation_mode 'tf_crop_and_resize' is not lowered")
    if node.attribute("antialias", 0) and any(size_out[a] < size_in[a] for a in moved):
        low.refuse(node, "antialias=1 while shrinking is not lowered")
    sizes = zip(scales, size_in, size_out, strict=True)
    if any(abs(scale * size - out) > 1e-3 for scale, size, out in sizes) and (
        node.attribute("coordinate_transformation_mode", "half_pixel") == "align_corners"
    ):
        low.refuse(
            node,
            f"align_corners with scales {scales} on {size_in}: ONNX's reference and ONNX "
            "Runtime place such corners differently; give sizes",
        )
    is_image = value.rank == 4 and set(moved) <= {2, 3}
    order = (0, 2, 3, 1) if is_image else value.permutation
    tensor = low.read(data, order)
    if mode == "nearest":
        tensor = _nearest(low, node, tensor, order, size_out, scales)
    elif mode == "linear":
        tensor = _linear(low, node, tensor, order, size_out, scales, is_image=is_image)
    else:
        low.refuse(node, f"mode {mode!r}; nearest and linear can be lowered")
    low.bind(node.outputs[0], tensor, order, is_non_negative=value.is_non_negative)


def _scales(
    low: Lowering, node: Node, size_in: Sequence[int], size_out: Sequence[int]
) -> tuple[float, ...]:
    """Return output size over input size per axis, as ONNX defines it for this node."""
    if node.op_type == "Upsample":
        given = low.need_constant(node, 1, "scales")
    elif node.input(2) and low.shape(node.input(2)) != (0,):
        given = low.need_constant(node, 2, "scales")
    else:
        return tuple(out / size for out, size in zip(size_out, size_in, strict=True))
    axes = node.attribute("axes", ()) or tuple(range(len(size_in)))
    scales = [1.0] * len(size_in)
    for axis, scale in zip(axes, given.reshape(-1), strict=True):
        scales[axis % len(size_in)] = float(scale)
    return tuple(scales)


def source_coordinates(node: Node, size_in: int, size_out: int, scale: float) -> Array:
    """Return where each output element lies in the input, float64 of shape (size_out,).

    Source: ONNX operator Resize-19, ``coordinate_transformation_mode``.
    """
    place = np.arange(size_out, dtype=np.float64)
    default = "asymmetric" if node.op_type == "Upsample" else "half_pixel"
    mode = node.attribute("coordinate_transformation_mode", default)
    if mode == "asymmetric":
        return place / scale
    if mode == "align_corners":
        return place * (size_in - 1) / (size_out - 1) if size_out > 1 else place * 0
    if mode == "pytorch_half_pixel" and size_out == 1:
        return place * 0
    if mode == "half_pixel_symmetric":
        adjustment = size_out / (scale * size_in)
        centre = size_in / 2
        return centre * (1 - adjustment) + (place + 0.5) / scale - 0.5
    return (place + 0.5) / scale - 0.5


def nearest_index(node: Node, coordinates: Array, size_in: int) -> Array:
    """Return the input element that each coordinate takes, int32.

    Source: ONNX operator Resize-19, ``nearest_mode``.
    """
    default = "floor" if node.op_type == "Upsample" else "round_prefer_floor"
    mode = node.attribute("nearest_mode", default)
    rounded = {
        "round_prefer_floor": np.ceil(coordinates - 0.5),
        "round_prefer_ceil": np.floor(coordinates + 0.5),
        "floor": np.floor(coordinates),
        "ceil": np.ceil(coordinates),
    }[mode]
    return np.clip(rounded, 0, size_in - 1).astype(np.int32)


def _nearest(
    low: Lowering,
    node: Node,
    tensor: Tensor,
    order: Sequence[int],
    size_out: Sequence[int],
    scales: Sequence[float],
) -> Tensor:
    indices = {}
    for stored, axis in enumerate(order):
        size = tensor.shape[stored]
        if size == size_out[axis] and scales[axis] == 1:
            continue
        where = source_coordinates(node, size, size_out[axis], scales[axis])
        indices[stored] = nearest_index(node, where, size)
    factors = [size_out[order[stored]] // tensor.shape[stored] for stored in indices]
    repeats = all(
        np.array_equal(index, np.repeat(np.arange(tensor.shape[stored]), factor))
        for (stored, index), factor in zip(indices.items(), factors, strict=True)
    )
    if (
        repeats
        and set(indices) <= {1, 2}
        and len(order) == 4
        and max(factors, default=1) <= MAX_REPEAT
    ):
        # RESIZE_NEAREST_NEIGHBOR would end the delegated part; concatenations do not.
        block = [factors[list(indices).index(axis)] if axis in indices else 1 for axis in (1, 2)]
        return interleave(low, [tensor] * (block[0] * block[1]), block)
    for stored, index in indices.items():
        shape = (*tensor.shape[:stored], len(index), *tensor.shape[stored + 1 :])
        tensor = low.emit("GATHER", [tensor, index], shape, {"axis": stored})
    return tensor


def _linear(
    low: Lowering,
    node: Node,
    tensor: Tensor,
    order: Sequence[int],
    size_out: Sequence[int],
    scales: Sequence[float],
    *,
    is_image: bool,
) -> Tensor:
    if is_image and _kernel_agrees(node, tensor, order, size_out, scales):
        mode = node.attribute("coordinate_transformation_mode", "half_pixel")
        if node.op_type == "Upsample":
            mode = "asymmetric"
        options = {
            "align_corners": mode == "align_corners",
            "half_pixel_centers": mode in ("half_pixel", "pytorch_half_pixel"),
        }
        shape = (tensor.shape[0], size_out[2], size_out[3], tensor.shape[3])
        sizes = np.array(shape[1:3], np.int32)
        return low.emit("RESIZE_BILINEAR", [tensor, sizes], shape, options)
    for stored, axis in enumerate(order):
        size = tensor.shape[stored]
        if size != size_out[axis] or scales[axis] != 1:
            where = source_coordinates(node, size, size_out[axis], scales[axis])
            tensor = _interpolate(low, tensor, stored, where)
    return tensor


def _kernel_agrees(
    node: Node,
    tensor: Tensor,
    order: Sequence[int],
    size_out: Sequence[int],
    scales: Sequence[float],
) -> bool:
    """Whether RESIZE_BILINEAR uses the same coordinates: the scale must be a ratio of sizes."""
    mode = node.attribute("coordinate_transformation_mode", "half_pixel")
    if mode not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        return False
    for stored, axis in enumerate(order):
        size = tensor.shape[stored]
        if abs(size_out[axis] - size * scales[axis]) > 1e-4 and mode != "align_corners":
            return False
        if size_out[axis] == 1 and size != 1 and mode != "half_pixel":
            return False
    return True


def _interpolate(low: Lowering, tensor: Tensor, axis: int, where: Array) -> Tensor:
    """Emit a linear interpolation along one stored axis: two gathers and a blend."""
    size = tensor.shape[axis]
    where = np.clip(where, 0, size - 1)
    below = np.floor(where).astype(np.int32)
    above = np.minimum(below + 1, size - 1).astype(np.int32)
    shape = (*tensor.shape[:axis], len(below), *tensor.shape[axis + 1 :])
    column = [1] * len(shape)
    column[axis] = len(below)
    weight = (where - below).astype(np.float32).reshape(column)
    first = low.emit("GATHER", [tensor, below], shape, {"axis": axis})
    second = low.emit("GATHER", [tensor, above], shape, {"axis": axis})
    step = low.emit("SUB", [second, first], shape)
    return low.emit("ADD", [first, low.emit("MUL", [step, weight], shape)], shape)


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "Resize": _resize,
    "Upsample": _resize,
}
