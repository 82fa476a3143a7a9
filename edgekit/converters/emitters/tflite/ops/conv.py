"""Convolutions: 1-D, 2-D, 3-D, grouped, depthwise, dilated, transposed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.layout import Permutation, stored_shape
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, need_dtype
from edgekit.converters.emitters.tflite.schema import Padding
from edgekit.converters.emitters.tflite.window import Window, read_window
from edgekit.graph import Array, Node


def spatial_order(low: Lowering, name: str) -> Permutation:
    """Return a channels-last order of (N, C, spatial...) that costs the least.

    A window does not care which spatial axis is stored first, so an input that is already
    channels-last with its spatial axes exchanged is taken as it is.
    """
    value = low.value(name)
    order = value.permutation
    real = [axis for axis in order if value.shape[axis] != 1 or axis > 1]
    spatial = [axis for axis in real if axis > 1]
    channels_behind = value.shape[1] == 1 or (bool(real) and real[-1] == 1)
    batch_first = value.shape[0] == 1 or (bool(real) and real[0] == 0)
    if low.constant(name) is None and channels_behind and batch_first:
        return (0, *spatial, 1)
    return (0, *range(2, value.rank), 1)


def pad_spatial(
    low: Lowering, tensor: Tensor, window: Window, fill: float = 0.0
) -> tuple[Tensor, Padding]:
    """Return the tensor (N, spatial..., C) padded so that the window fits, and the mode left."""
    mode = window.padding
    if mode is not None:
        return tensor, mode
    amounts = [
        (before, max(0, missing))
        for before, missing in zip(window.before, window.missing, strict=True)
    ]
    return pad(low, tensor, [(0, 0), *amounts, (0, 0)], fill), Padding.VALID


def pad(low: Lowering, tensor: Tensor, amounts: Sequence[tuple[int, int]], fill: float) -> Tensor:
    """Emit a constant padding of a stored tensor."""
    shape = [size + sum(both) for size, both in zip(tensor.shape, amounts, strict=True)]
    table = np.array(amounts, np.int32)
    if fill == 0:
        return low.emit("PAD", [tensor, table], shape)
    return low.emit("PADV2", [tensor, table, np.array(fill, tensor.dtype.to_numpy())], shape)


def _bias(low: Lowering, node: Node, channels: int) -> Tensor:
    if node.input(2):
        return low.read(node.input(2))
    return low.constant_tensor(np.zeros(channels, np.float32), name=f"{node.outputs[0]}/bias")


def _conv(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    data, weight = node.inputs[:2]
    shape, kernel_shape = low.shape(data), low.shape(weight)
    rank = len(shape) - 2
    if rank not in (1, 2, 3):
        low.refuse(node, f"it has {rank} spatial axes; 1, 2 and 3 can be lowered")
    order = spatial_order(low, data)
    axes = [axis - 2 for axis in order[1:-1]]
    window = read_window(node, kernel_shape[2:], shape[2:]).ordered(axes)
    tensor = low.read(data, order)
    group = node.attribute("group", 1)
    bias = _bias(low, node, kernel_shape[0])
    if rank == 3:
        result = _conv_3d(low, node, tensor, window, bias, axes, group)
    else:
        if rank == 1:
            tensor = low.reshaped(tensor, (tensor.shape[0], 1, *tensor.shape[1:]))
            window = _with_height(window)
        result = _conv_2d(low, node, tensor, window, bias, axes, group)
        if rank == 1:
            result = low.reshaped(result, (result.shape[0], *result.shape[2:]))
    low.bind(node.outputs[0], result, order)


def _with_height(window: Window) -> Window:
    """Return a 1-D window as a 2-D one of height 1."""
    return Window(
        (1, *window.kernel), (1, *window.stride), (1, *window.dilation), (0, *window.before),
        (0, *window.after), (1, *window.size_in), (1, *window.size_out),
    )  # fmt: skip


def _kernel(low: Lowering, node: Node, order: Sequence[int]) -> Tensor:
    """Return the weights in that order, with a height of 1 for a 1-D one (axes O, I, spatial)."""
    tensor = low.read(node.inputs[1], order)
    if len(order) == 3:
        spatial = order.index(2)
        shape = (*tensor.shape[:spatial], 1, *tensor.shape[spatial:])
        tensor = low.reshaped(tensor, shape)
    return tensor


def _conv_2d(
    low: Lowering,
    node: Node,
    tensor: Tensor,
    window: Window,
    bias: Tensor,
    axes: Sequence[int],
    group: int,
) -> Tensor:
    channels_in = tensor.shape[-1]
    channels_out = low.shape(node.inputs[1])[0]
    tensor, mode = pad_spatial(low, tensor, window)
    spatial = [axis + 2 for axis in axes]
    options: dict[str, int | float | bool | tuple[int, ...]] = {
        "padding": int(mode),
        "stride_h": window.stride[0],
        "stride_w": window.stride[1],
        "dilation_h_factor": window.dilation[0],
        "dilation_w_factor": window.dilation[1],
    }
    shape = (tensor.shape[0], *window.size_out, channels_out)
    if group == channels_in and group > 1:
        # (C * multiplier, 1, H, W) -> (1, H, W, C * multiplier)
        weight = _kernel(low, node, (1, *spatial, 0))
        options["depth_multiplier"] = channels_out // channels_in
        return low.emit("DEPTHWISE_CONV_2D", [tensor, weight, bias], shape, options)
    weight = _kernel(low, node, (0, *spatial, 1))
    return low.emit("CONV_2D", [tensor, weight, bias], shape, options)


def _conv_3d(
    low: Lowering,
    node: Node,
    tensor: Tensor,
    window: Window,
    bias: Tensor,
    axes: Sequence[int],
    group: int,
) -> Tensor:
    if group != 1:
        low.refuse(node, f"group={group}; TFLite's CONV_3D takes group=1")
    tensor, mode = pad_spatial(low, tensor, window)
    # (O, I, D, H, W) -> (D, H, W, I, O)
    weight = low.read(node.inputs[1], (*(axis + 2 for axis in axes), 1, 0))
    options: dict[str, int | float | bool | tuple[int, ...]] = {"padding": int(mode)}
    for axis, letter in enumerate("dhw"):
        options[f"stride_{letter}"] = window.stride[axis]
        options[f"dilation_{letter}_factor"] = window.dilation[axis]
    shape = (tensor.shape[0], *window.size_out, weight.shape[-1])
    return low.emit("CONV_3D", [tensor, weight, bias], shape, options)


def _conv_transpose(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    data = node.inputs[0]
    weight = low.need_constant(node, 1, "the weight")
    shape = low.shape(data)
    rank = len(shape) - 2
    if rank not in (1, 2):
        low.refuse(node, f"it has {rank} spatial axes; 1 and 2 can be lowered")
    order = (0, *range(2, len(shape)), 1)
    tensor = low.read(data, order)
    before, size_out = transposed_geometry(node, weight.shape[2:], shape[2:])
    weight = _dilated(weight, node.attribute("dilations", (1,) * rank))
    stride = node.attribute("strides", (1,) * rank)
    if rank == 1:
        tensor = low.reshaped(tensor, (tensor.shape[0], 1, *tensor.shape[1:]))
        weight = weight[:, :, None, :]
        before, size_out, stride = (0, *before), (1, *size_out), (1, *stride)
    result = _transpose_conv(low, node, tensor, weight, stride, before, size_out)
    if rank == 1:
        result = low.reshaped(result, (result.shape[0], *result.shape[2:]))
    low.bind(node.outputs[0], result, order)


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
    wide[(slice(None), slice(None), *(slice(None, None, d) for d in dilation))] = weight
    return wide


def _transpose_conv(
    low: Lowering,
    node: Node,
    tensor: Tensor,
    weight: Array,
    stride: Sequence[int],
    before: Sequence[int],
    size_out: Sequence[int],
) -> Tensor:
    group = node.attribute("group", 1)
    bias = low.read(node.input(2)) if node.input(2) else None
    full = [
        (size - 1) * step + max(kernel, step)
        for size, step, kernel in zip(tensor.shape[1:3], stride, weight.shape[2:], strict=True)
    ]
    inner = [
        (size - 1) * step + kernel
        for size, step, kernel in zip(tensor.shape[1:3], stride, weight.shape[2:], strict=True)
    ]
    same = all(
        out == size * step and first == max(have - out, 0) // 2 and have >= out
        for out, size, step, first, have in zip(
            size_out, tensor.shape[1:3], stride, before, inner, strict=True
        )
    )
    runs_over = any(map(lambda first, out, have: first + out > have, before, size_out, full))
    can_fuse = bias is not None and bias.data is not None and group == 1 and not runs_over
    fused_bias = bias if can_fuse else None
    spatial = tuple(size_out) if same else tuple(full)
    mode = Padding.SAME if same else Padding.VALID
    parts = []
    for index in range(group):
        step_in, step_out = tensor.shape[-1] // group, weight.shape[1]
        part = tensor
        if group > 1:
            begin = np.array([0, 0, 0, index * step_in], np.int32)
            size = (*tensor.shape[:3], step_in)
            part = low.emit("SLICE", [tensor, begin, np.array(size, np.int32)], size)
        # (I, O, H, W) -> (O, H, W, I)
        kernel = weight[index * step_in : (index + 1) * step_in].transpose(1, 2, 3, 0)
        shape = (tensor.shape[0], *spatial, step_out)
        operands: list[Tensor | Array | None] = [np.array(shape, np.int32), kernel, part]
        if fused_bias is not None:
            operands.append(fused_bias)
        parts.append(
            low.emit(
                "TRANSPOSE_CONV",
                operands,
                shape,
                {"padding": int(mode), "stride_h": stride[0], "stride_w": stride[1]},
                dtype=tensor.dtype,
            )
        )
    result = parts[0]
    if group > 1:
        shape = (*result.shape[:3], result.shape[3] * group)
        result = low.emit("CONCATENATION", parts, shape, {"axis": 3})
    result = result if same else crop_or_pad(low, result, before, size_out)
    if bias is not None and fused_bias is None:
        result = low.emit("ADD", [result, bias], result.shape)
    return result


def crop_or_pad(
    low: Lowering, tensor: Tensor, before: Sequence[int], size_out: Sequence[int]
) -> Tensor:
    """Return the window of (N, H, W, C) that starts at ``before``; zeros where it runs over."""
    amounts = [(0, 0)] * 4
    for axis, (first, out) in enumerate(zip(before, size_out, strict=True), start=1):
        amounts[axis] = (max(0, -first), max(0, first + out - tensor.shape[axis]))
    if any(map(any, amounts)):
        tensor = pad(low, tensor, amounts, 0.0)
    begin = (0, *(max(first, 0) for first in before), 0)
    shape = (tensor.shape[0], *size_out, tensor.shape[3])
    if shape == tensor.shape:
        return tensor
    return low.emit("SLICE", [tensor, np.array(begin, np.int32), np.array(shape, np.int32)], shape)


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
}

__all__ = ["LOWERINGS", "pad", "pad_spatial", "spatial_order", "stored_shape"]
