"""Convolutions: 1-D, 2-D, 3-D, grouped, depthwise, dilated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Option, Tensor
from edgekit.converters.emitters.tflite.ops.spatial import (
    Spatial,
    pad_spatial,
    read_spatial,
    without_height,
)
from edgekit.graph import Node


def _conv(low: Lowering, node: Node) -> None:
    shape = low.shape(node.inputs[1])
    seen = read_spatial(low, node, kernel=shape[2:])
    bias = _bias(low, node, shape[0])
    if seen.rank == 3:
        result = _conv_3d(low, node, seen, bias)
    elif seen.rank == 1:
        result = without_height(low, _conv_2d(low, node, seen.with_height(low), bias))
    else:
        result = _conv_2d(low, node, seen, bias)
    low.bind(node.outputs[0], result, seen.order)


def _bias(low: Lowering, node: Node, channels: int) -> Tensor:
    if node.input(2):
        return low.read(node.input(2))
    return low.constant_tensor(np.zeros(channels, np.float32), name=f"{node.outputs[0]}/bias")


def _conv_2d(low: Lowering, node: Node, seen: Spatial, bias: Tensor) -> Tensor:
    window = seen.window
    channels_in = seen.tensor.shape[-1]
    channels_out = low.shape(node.inputs[1])[0]
    group = node.attribute("group", 1)
    tensor, mode = pad_spatial(low, seen.tensor, window)
    options: dict[str, Option] = {
        "padding": int(mode),
        "stride_h": window.stride[0],
        "stride_w": window.stride[1],
        "dilation_h_factor": window.dilation[0],
        "dilation_w_factor": window.dilation[1],
    }
    shape = (tensor.shape[0], *window.size_out, channels_out)
    if group == channels_in and group > 1:
        # (C * multiplier, 1, H, W) -> (1, H, W, C * multiplier)
        weight = _kernel(low, node, (1, *seen.axes, 0))
        options["depth_multiplier"] = channels_out // channels_in
        return low.emit("DEPTHWISE_CONV_2D", [tensor, weight, bias], shape, options)
    weight = _kernel(low, node, (0, *seen.axes, 1))
    return low.emit("CONV_2D", [tensor, weight, bias], shape, options)


def _kernel(low: Lowering, node: Node, order: Sequence[int]) -> Tensor:
    """Return the weights in that order, with a height of 1 for a 1-D one (axes O, I, spatial)."""
    tensor = low.read(node.inputs[1], order)
    if len(order) == 3:
        spatial = order.index(2)
        shape = (*tensor.shape[:spatial], 1, *tensor.shape[spatial:])
        tensor = low.reshaped(tensor, shape)
    return tensor


def _conv_3d(low: Lowering, node: Node, seen: Spatial, bias: Tensor) -> Tensor:
    group = node.attribute("group", 1)
    if group != 1:
        low.refuse(node, f"group={group}; TFLite's CONV_3D takes group=1")
    window = seen.window
    tensor, mode = pad_spatial(low, seen.tensor, window)
    # (O, I, D, H, W) -> (D, H, W, I, O)
    weight = low.read(node.inputs[1], (*seen.axes, 1, 0))
    options: dict[str, Option] = {"padding": int(mode)}
    for axis, letter in enumerate("dhw"):
        options[f"stride_{letter}"] = window.stride[axis]
        options[f"dilation_{letter}_factor"] = window.dilation[axis]
    shape = (tensor.shape[0], *window.size_out, weight.shape[-1])
    return low.emit("CONV_3D", [tensor, weight, bias], shape, options)


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {"Conv": _conv}
