"""Transposed convolutions: 1-D and 2-D, grouped, dilated, with any output size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, need_dtype
from edgekit.converters.emitters.tflite.ops.spatial import crop_or_pad, without_height
from edgekit.converters.emitters.tflite.schema import Padding
from edgekit.graph import Array, Node


@dataclass(frozen=True)
class Transposed:
    """Geometry of a 2-D transposed convolution.

    Args:
        weight: (I, O / group, KH, KW), dilation written out.
        stride: Step of the output for one step of the input.
        before: What is cut off in front of the full result.
        size_in: Spatial input sizes.
        size_out: Spatial output sizes.
    """

    weight: Array
    stride: tuple[int, ...]
    before: tuple[int, ...]
    size_in: tuple[int, ...]
    size_out: tuple[int, ...]

    def size_full(self, *, covers_stride: bool) -> list[int]:
        """Return the sizes before cropping.

        Args:
            covers_stride: As TRANSPOSE_CONV has it, where a kernel smaller than the stride
                is followed by zeros up to the stride.
        """
        return [
            (size - 1) * step + (max(kernel, step) if covers_stride else kernel)
            for size, step, kernel in zip(
                self.size_in, self.stride, self.weight.shape[2:], strict=True
            )
        ]

    @property
    def is_same(self) -> bool:
        """Whether TFLite's SAME padding gives exactly these outputs."""
        full = self.size_full(covers_stride=False)
        spans = zip(self.size_out, self.size_in, self.stride, self.before, full, strict=True)
        return all(
            out == size * step and first == max(have - out, 0) // 2 and have >= out
            for out, size, step, first, have in spans
        )

    @property
    def runs_over(self) -> bool:
        """Whether the output reaches beyond the full result."""
        full = self.size_full(covers_stride=True)
        spans = zip(self.before, self.size_out, full, strict=True)
        return any(first + out > have for first, out, have in spans)


def _conv_transpose(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    data = node.inputs[0]
    weight = low.need_constant(node, 1, "the weight")
    size_in = low.shape(data)[2:]
    rank = len(size_in)
    if rank not in (1, 2):
        low.refuse(node, f"it has {rank} spatial axes; 1 and 2 can be lowered")
    order = (0, *range(2, rank + 2), 1)
    tensor = low.read(data, order)
    before, size_out = transposed_geometry(node, weight.shape[2:], size_in)
    weight = _dilated(weight, node.attribute("dilations", (1,) * rank))
    stride = node.attribute("strides", (1,) * rank)
    if rank == 1:
        tensor = low.reshaped(tensor, (tensor.shape[0], 1, *tensor.shape[1:]))
        weight = weight[:, :, None, :]
        size_in, size_out = (1, *size_in), (1, *size_out)
        before, stride = (0, *before), (1, *stride)
    shape = Transposed(weight, stride, before, size_in, size_out)
    result = _transpose_conv(low, node, tensor, shape)
    low.bind(node.outputs[0], without_height(low, result) if rank == 1 else result, order)


def transposed_geometry(
    node: Node, kernel: Sequence[int], size_in: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the padding cut off in front, and the output size, per spatial axis.

    Source: ONNX operator ConvTranspose-11, shape formulas.
    """
    rank = len(kernel)
    ones, zeros = (1,) * rank, (0,) * rank
    stride = node.attribute("strides", ones)
    dilation = node.attribute("dilations", ones)
    extra = node.attribute("output_padding", zeros)
    pads = node.attribute("pads", zeros + zeros)
    wanted = node.attribute("output_shape", ())[-rank:]
    mode = node.attribute("auto_pad", "NOTSET")
    before, size_out = [], []
    for axis in range(rank):
        full = (size_in[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1
        full += extra[axis]
        if wanted or mode in ("SAME_UPPER", "SAME_LOWER"):
            out = wanted[axis] if wanted else size_in[axis] * stride[axis]
            total = max(full - out, 0)
            first = total - total // 2 if mode == "SAME_LOWER" else total // 2
            if wanted and mode == "NOTSET":
                first = total - total // 2
        else:
            first = 0 if mode == "VALID" else pads[axis]
            out = full - first - (0 if mode == "VALID" else pads[axis + rank])
        before.append(first)
        size_out.append(out)
    return tuple(before), tuple(size_out)


def _dilated(weight: Array, dilation: Sequence[int]) -> Array:
    """Return the kernel with zeros between its taps: TRANSPOSE_CONV has no dilation."""
    if all(step == 1 for step in dilation):
        return weight
    spatial = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    wide = np.zeros((*weight.shape[:2], *spatial), weight.dtype)
    taps = tuple(slice(None, None, step) for step in dilation)
    where = (slice(None), slice(None), *taps)
    wide[where] = weight
    return wide


def _transpose_conv(low: Lowering, node: Node, tensor: Tensor, shape: Transposed) -> Tensor:
    """Return the (N, H, W, C) result, one TRANSPOSE_CONV per group."""
    group = node.attribute("group", 1)
    bias = low.read(node.input(2)) if node.input(2) else None
    # A bias added before zeros are appended would be missing in them.
    can_fuse = bias is not None and bias.data is not None and group == 1 and not shape.runs_over
    fused = bias if can_fuse else None
    if group == 1:
        result = _one_group(low, tensor, shape.weight, shape, fused)
    else:
        inputs = _split_channels(low, tensor, group)
        weights = np.split(shape.weight, group)
        parts = [
            _one_group(low, part, weight, shape, fused)
            for part, weight in zip(inputs, weights, strict=True)
        ]
        whole = (*parts[0].shape[:3], parts[0].shape[3] * group)
        result = low.emit("CONCATENATION", parts, whole, {"axis": 3})
    if not shape.is_same:
        result = crop_or_pad(low, result, shape.before, shape.size_out)
    if bias is not None and fused is None:
        result = low.emit("ADD", [result, bias], result.shape)
    return result


def _split_channels(low: Lowering, tensor: Tensor, count: int) -> list[Tensor]:
    """Return equal parts of the channels of (N, H, W, C)."""
    step = tensor.shape[-1] // count
    size = (*tensor.shape[:3], step)
    return [
        low.emit(
            "SLICE",
            [tensor, np.array([0, 0, 0, index * step], np.int32), np.array(size, np.int32)],
            size,
        )
        for index in range(count)
    ]


def _one_group(
    low: Lowering, tensor: Tensor, weight: Array, shape: Transposed, bias: Tensor | None
) -> Tensor:
    mode = Padding.SAME if shape.is_same else Padding.VALID
    spatial = shape.size_out if shape.is_same else shape.size_full(covers_stride=True)
    made = (tensor.shape[0], *spatial, weight.shape[1])
    # (I, O, H, W) -> (O, H, W, I)
    kernel = weight.transpose(1, 2, 3, 0)
    operands: list[Tensor | Array | None] = [np.array(made, np.int32), kernel, tensor]
    if bias is not None:
        operands.append(bias)
    options = {"padding": int(mode), "stride_h": shape.stride[0], "stride_w": shape.stride[1]}
    return low.emit("TRANSPOSE_CONV", operands, made, options, dtype=tensor.dtype)


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {"ConvTranspose": _conv_transpose}
