"""Resize and Upsample: nearest and linear, by kernels where they agree with ONNX exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.converters.emitters.tflite.layout import stored_shape
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, need_dtype
from edgekit.converters.emitters.tflite.ops.shape import output_shape
from edgekit.converters.emitters.tflite.ops.spatial import interleave
from edgekit.graph import Array, Node

# Up to this factor, repeating by concatenation is cheaper than a GATHER per axis.
MAX_REPEAT = 8


@dataclass(frozen=True)
class Resampling:
    """One Resize, per stored axis of its input.

    Args:
        tensor: The input as stored.
        size_out: Output sizes in stored order.
        scales: Output size over input size as the node says it, in stored order.
        coordinates: ONNX's ``coordinate_transformation_mode``.
        rounding: ONNX's ``nearest_mode``.
        is_image: Whether the input is (N, H, W, C) and only H and W change.
    """

    tensor: Tensor
    size_out: tuple[int, ...]
    scales: tuple[float, ...]
    coordinates: str
    rounding: str
    is_image: bool

    @property
    def size_in(self) -> tuple[int, ...]:
        """Input sizes in stored order."""
        return self.tensor.shape

    @property
    def moved(self) -> list[int]:
        """Stored axes along which elements move."""
        sizes = zip(self.size_in, self.size_out, self.scales, strict=True)
        return [axis for axis, (size, out, scale) in enumerate(sizes) if size != out or scale != 1]

    def source(self, axis: int) -> Array:
        """Return where each output element lies in the input, float64 of shape (size_out,).

        Source: ONNX operator Resize-19, ``coordinate_transformation_mode``.
        """
        size_in, size_out, scale = self.size_in[axis], self.size_out[axis], self.scales[axis]
        place = np.arange(size_out, dtype=np.float64)
        if self.coordinates == "asymmetric":
            return place / scale
        if self.coordinates == "align_corners":
            return place * (size_in - 1) / (size_out - 1) if size_out > 1 else place * 0
        if self.coordinates == "pytorch_half_pixel" and size_out == 1:
            return place * 0
        if self.coordinates == "half_pixel_symmetric":
            adjustment = size_out / (scale * size_in)
            centre = size_in / 2
            return centre * (1 - adjustment) + (place + 0.5) / scale - 0.5
        return (place + 0.5) / scale - 0.5

    def nearest(self, axis: int) -> Array:
        """Return the input element that each output element takes, int32.

        Source: ONNX operator Resize-19, ``nearest_mode``.
        """
        where = self.source(axis)
        rounded = {
            "round_prefer_floor": np.ceil(where - 0.5),
            "round_prefer_ceil": np.floor(where + 0.5),
            "floor": np.floor(where),
            "ceil": np.ceil(where),
        }[self.rounding]
        return np.clip(rounded, 0, self.size_in[axis] - 1).astype(np.int32)


def _resize(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    is_upsample = node.op_type == "Upsample"
    size_in, size_out = value.shape, output_shape(low, node)
    scales = _scales(low, node, size_in, size_out)
    coordinates = node.attribute(
        "coordinate_transformation_mode", "asymmetric" if is_upsample else "half_pixel"
    )
    moved = {axis for axis in range(value.rank) if size_in[axis] != size_out[axis]}
    _check(low, node, coordinates, shrinks=any(size_out[a] < size_in[a] for a in moved))
    sizes = zip(scales, size_in, size_out, strict=True)
    if coordinates == "align_corners" and any(abs(f * i - o) > 1e-3 for f, i, o in sizes):
        low.refuse(
            node,
            f"align_corners with scales {scales} on {size_in}: ONNX's reference and ONNX "
            "Runtime place such corners differently; give sizes",
        )
    is_image = value.rank == 4 and moved <= {2, 3}
    order = (0, 2, 3, 1) if is_image else value.permutation
    resampling = Resampling(
        tensor=low.read(node.inputs[0], order),
        size_out=stored_shape(size_out, order),
        scales=tuple(scales[axis] for axis in order),
        coordinates=coordinates,
        rounding=node.attribute("nearest_mode", "floor" if is_upsample else "round_prefer_floor"),
        is_image=is_image,
    )
    resample = _nearest if node.attribute("mode", "nearest") == "nearest" else _linear
    tensor = resample(low, resampling)
    low.bind(node.outputs[0], tensor, order, is_non_negative=value.is_non_negative)


def _check(low: Lowering, node: Node, coordinates: str, *, shrinks: bool) -> None:
    mode = node.attribute("mode", "nearest")
    if mode not in ("nearest", "linear"):
        low.refuse(node, f"mode {mode!r}; nearest and linear can be lowered")
    if coordinates == "tf_crop_and_resize":
        low.refuse(node, "coordinate_transformation_mode 'tf_crop_and_resize' is not lowered")
    if node.attribute("antialias", 0) and shrinks:
        low.refuse(node, "antialias=1 while shrinking is not lowered")


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


def _nearest(low: Lowering, how: Resampling) -> Tensor:
    indices = {axis: how.nearest(axis) for axis in how.moved}
    block = _repeats(how, indices)
    if block is not None and max(block) <= MAX_REPEAT:
        # RESIZE_NEAREST_NEIGHBOR would end the delegated part; concatenations do not.
        return interleave(low, [how.tensor] * (block[0] * block[1]), block)
    tensor = how.tensor
    for axis, index in indices.items():
        shape = (*tensor.shape[:axis], len(index), *tensor.shape[axis + 1 :])
        tensor = low.emit("GATHER", [tensor, index], shape, {"axis": axis})
    return tensor


def _repeats(how: Resampling, indices: Mapping[int, Array]) -> tuple[int, int] | None:
    """Return how often each row and column is repeated; None where it is not that simple."""
    if len(how.size_in) != 4 or not set(indices) <= {1, 2}:
        return None
    factors = {axis: how.size_out[axis] // how.size_in[axis] for axis in indices}
    for axis, index in indices.items():
        if not np.array_equal(index, np.repeat(np.arange(how.size_in[axis]), factors[axis])):
            return None
    return factors.get(1, 1), factors.get(2, 1)


def _linear(low: Lowering, how: Resampling) -> Tensor:
    if how.is_image and _kernel_agrees(how):
        options = {
            "align_corners": how.coordinates == "align_corners",
            "half_pixel_centers": how.coordinates in ("half_pixel", "pytorch_half_pixel"),
        }
        sizes = np.array(how.size_out[1:3], np.int32)
        return low.emit("RESIZE_BILINEAR", [how.tensor, sizes], how.size_out, options)
    tensor = how.tensor
    for axis in how.moved:
        tensor = _interpolate(low, tensor, axis, how.source(axis))
    return tensor


def _kernel_agrees(how: Resampling) -> bool:
    """Whether RESIZE_BILINEAR uses the same coordinates: the scale must be a ratio of sizes."""
    mode = how.coordinates
    if mode not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        return False
    for size, out, scale in zip(how.size_in, how.size_out, how.scales, strict=True):
        if abs(out - size * scale) > 1e-4 and mode != "align_corners":
            return False
        if out == 1 and size != 1 and mode != "half_pixel":
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
