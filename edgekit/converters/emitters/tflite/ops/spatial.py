"""What convolutions and pools share: channels-last inputs, their window, padding, cropping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgekit.converters.emitters.tflite.layout import Permutation
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, need_dtype
from edgekit.converters.emitters.tflite.schema import Padding
from edgekit.converters.emitters.tflite.window import Window, read_window
from edgekit.graph import Node


@dataclass(frozen=True)
class Spatial:
    """The input of an operator that slides a window.

    Args:
        tensor: Stored (N, spatial..., C).
        window: The operator's geometry, spatial axes as stored.
        order: How the tensor is stored; the result is stored likewise.
        is_non_negative: Whether no element of the input can be below 0.
    """

    tensor: Tensor
    window: Window
    order: Permutation
    is_non_negative: bool = False

    @property
    def rank(self) -> int:
        """Number of spatial axes of the ONNX operator."""
        return len(self.order) - 2

    @property
    def axes(self) -> Permutation:
        """Logical spatial axes (2, 3, ...) in stored order."""
        return self.order[1:-1]

    def with_height(self, low: Lowering) -> Spatial:
        """Return a 1-D input as a 2-D one of height 1, (N, 1, W, C)."""
        batch, *rest = self.tensor.shape
        tall = low.reshaped(self.tensor, (batch, 1, *rest))
        return replace(self, tensor=tall, window=self.window.with_height())


def read_spatial(
    low: Lowering, node: Node, *, kernel: Sequence[int], size_out: Sequence[int] = ()
) -> Spatial:
    """Read the input and the window of a Conv or a pool, or refuse the node."""
    need_dtype(low, node, FLOATS)
    data = node.inputs[0]
    value = low.value(data)
    rank = value.rank - 2
    if rank not in (1, 2, 3):
        low.refuse(node, f"it has {rank} spatial axes; 1, 2 and 3 can be lowered")
    order = spatial_order(low, data)
    window = read_window(node, kernel, value.shape[2:], size_out=size_out)
    window = window.ordered([axis - 2 for axis in order[1:-1]])
    return Spatial(low.read(data, order), window, order, value.is_non_negative)


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


def without_height(low: Lowering, tensor: Tensor) -> Tensor:
    """Return (N, 1, W, C) as (N, W, C)."""
    return low.reshaped(tensor, (tensor.shape[0], *tensor.shape[2:]))


def pad_spatial(
    low: Lowering, tensor: Tensor, window: Window, fill: float = 0.0
) -> tuple[Tensor, Padding]:
    """Return the tensor (N, spatial..., C) padded so that the window fits, and the mode left."""
    mode = window.padding
    if mode is not None:
        return tensor, mode
    return pad_window(low, tensor, window, fill), Padding.VALID


def pad_window(low: Lowering, tensor: Tensor, window: Window, fill: float = 0.0) -> Tensor:
    """Return the tensor (N, spatial..., C) with all the padding that the window looks at."""
    amounts = zip(window.before, window.missing, strict=True)
    return pad(low, tensor, [(0, 0), *amounts, (0, 0)], fill)


def pad(low: Lowering, tensor: Tensor, amounts: Sequence[tuple[int, int]], fill: float) -> Tensor:
    """Emit a constant padding of a stored tensor."""
    shape = [size + sum(both) for size, both in zip(tensor.shape, amounts, strict=True)]
    table = np.array(amounts, np.int32)
    if fill == 0:
        return low.emit("PAD", [tensor, table], shape)
    return low.emit("PADV2", [tensor, table, np.array(fill, tensor.dtype.to_numpy())], shape)


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
