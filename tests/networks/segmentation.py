"""Networks that label every pixel, or make new ones."""

from __future__ import annotations

from functools import partial

import onnx

from networks.builder import NetBuilder
from networks.case import NetworkCase
from networks.settle import settle

CLASSES = 12


def fcn() -> onnx.ModelProto:
    """FCN-8s style: pooled features, scores added from two skips, transposed convolutions."""
    net = NetBuilder("fcn")
    x = net.input("image", [1, 3, 96, 128])
    skips = []
    inside = 3
    for outside in (16, 32, 64, 64):
        x = net.conv_bn(x, (inside, outside))
        x = net.max_pool(net.conv_bn(x, (outside, outside)), 2, 2)
        skips.append(net.conv(x, (outside, CLASSES), 1))
        inside = outside
    x = net.conv_transpose(skips[3], (CLASSES, CLASSES), 4, stride=2, pad=1)
    x = net.op("Add", x, skips[2])
    x = net.conv_transpose(x, (CLASSES, CLASSES), 4, stride=2, pad=1)
    x = net.op("Add", x, skips[1])
    x = net.conv_transpose(x, (CLASSES, CLASSES), 8, stride=4, pad=2)
    net.output(x, "scores", shape=[1, CLASSES, 96, 128])
    return settle(net.model())


def segnet() -> onnx.ModelProto:
    """SegNet: the decoder puts values back where the encoder's maxima were."""
    net = NetBuilder("segnet")
    x = net.input("image", [1, 3, 64, 96])
    places = []
    for channels in ((3, 16), (16, 32), (32, 64)):
        x = net.conv_bn(x, channels)
        x, indices = net.node("MaxPool", x, outputs=2, kernel_shape=[2, 2], strides=[2, 2])
        places.append(indices)
    for channels in ((64, 32), (32, 16), (16, 16)):
        x = net.op("MaxUnpool", x, places.pop(), kernel_shape=[2, 2], strides=[2, 2])
        x = net.conv_bn(x, channels)
    x = net.conv(x, (16, CLASSES))
    net.output(net.op("Softmax", x, axis=1), "probabilities", shape=[1, CLASSES, 64, 96])
    return settle(net.model())


def unet(up: str) -> onnx.ModelProto:
    """U-Net with two skips; ``up`` is "linear", "nearest" or "transpose"."""
    net = NetBuilder(f"unet_{up}")
    x = net.input("image", [1, 3, 96, 96])
    skips = []
    for channels in ((3, 16), (16, 32)):
        x = _double(net, x, channels)
        skips.append(x)
        x = net.max_pool(x, 2, 2)
    x = _double(net, x, (32, 64))
    for channels in ((64, 32), (32, 16)):
        x = _enlarge(net, x, channels, up)
        x = net.op("Concat", skips.pop(), x, axis=1)
        x = _double(net, x, (2 * channels[1], channels[1]))
    net.output(net.conv(x, (16, 3), 1), "scores", shape=[1, 3, 96, 96])
    return settle(net.model())


def _double(net: NetBuilder, x: str, channels: tuple[int, int]) -> str:
    return net.conv_bn(net.conv_bn(x, channels), (channels[1], channels[1]))


def _enlarge(net: NetBuilder, x: str, channels: tuple[int, int], up: str) -> str:
    if up == "transpose":
        return net.conv_transpose(x, channels, 2, stride=2)
    how = {"nearest": ("asymmetric", "floor"), "linear": ("half_pixel", "floor")}[up]
    x = net.op(
        "Resize",
        x,
        "",
        net.floats(1.0, 1.0, 2.0, 2.0),
        mode=up,
        coordinate_transformation_mode=how[0],
        nearest_mode=how[1],
    )
    return net.conv_bn(x, channels, 1)


def espnet_blocks() -> onnx.ModelProto:
    """ESPNet blocks: parallel dilated convolutions, summed and joined, with PRelu."""
    net = NetBuilder("espnet_blocks")
    x = net.input("image", [1, 3, 80, 112])
    x = _prelu(net, net.conv_bn(x, (3, 16), stride=2, act=""), 16)
    small = net.op(
        "AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1
    )
    x = _esp(net, x, (16, 40), stride=2)
    x = net.op("Add", x, _esp(net, x, (40, 40), stride=1))
    x = _prelu(net, net.batch_norm(net.op("Concat", x, small, axis=1), 56), 56)
    x = net.conv_transpose(net.conv(x, (56, CLASSES), 1), (CLASSES, CLASSES), 2, stride=2)
    sizes = net.ints(1, CLASSES, 80, 112)
    x = net.op(
        "Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode="align_corners"
    )
    net.output(x, "scores", shape=[1, CLASSES, 80, 112])
    net.output(
        net.op("ArgMax", x, axis=1, keepdims=0),
        "labels",
        shape=[1, 80, 112],
        dtype=onnx.TensorProto.INT64,
    )
    return settle(net.model())


def _esp(net: NetBuilder, x: str, channels: tuple[int, int], *, stride: int) -> str:
    inside, outside = channels
    width = outside // 5
    x = net.conv(x, (inside, width), 1 if stride == 1 else 3, stride=stride, bias=False)
    branches = [
        net.conv(x, (width, width), dilation=dilation, bias=False) for dilation in (1, 2, 4, 8, 16)
    ]
    total = branches[1]
    joined = [branches[0], total]
    for branch in branches[2:]:
        total = net.op("Add", total, branch)
        joined.append(total)
    return _prelu(net, net.batch_norm(net.op("Concat", *joined, axis=1), outside), outside)


def _prelu(net: NetBuilder, x: str, channels: int) -> str:
    return net.op("PRelu", x, net.constant(net.normal(channels, 1, 1, std=0.1, mean=0.25), "slope"))


def super_resolution() -> onnx.ModelProto:
    """ESPCN: DepthToSpace in PyTorch's order (CRD) makes the large picture."""
    net = NetBuilder("super_resolution")
    x = net.input("luma", [1, 1, 48, 64])
    x = net.op("Tanh", net.conv(x, (1, 32), 5))
    x = net.op("Tanh", net.conv(x, (32, 16), 3))
    x = net.conv(x, (16, 9), 3)
    x = net.op("DepthToSpace", x, blocksize=3, mode="CRD")
    net.output(x, "large", shape=[1, 1, 144, 192])
    return net.model()


def style_transfer() -> onnx.ModelProto:
    """Johnson-style net: reflection padding, InstanceNormalization, residual, nearest up."""
    net = NetBuilder("style_transfer")
    x = net.input("image", [1, 3, 64, 64])
    x = net.op("Relu", _instance_norm(net, _reflected(net, x, (3, 16), 9, 1), 16))
    x = net.op("Relu", _instance_norm(net, _reflected(net, x, (16, 32), 3, 2), 32))
    y = net.op("Relu", _instance_norm(net, _reflected(net, x, (32, 32), 3, 1), 32))
    x = net.op("Add", x, _instance_norm(net, _reflected(net, y, (32, 32), 3, 1), 32))
    x = net.op("Resize", x, "", net.floats(1.0, 1.0, 2.0, 2.0), mode="nearest")
    x = net.op("Relu", _instance_norm(net, _reflected(net, x, (32, 16), 3, 1), 16))
    net.output(_reflected(net, x, (16, 3), 9, 1), "styled", shape=[1, 3, 64, 64])
    return net.model()


def _reflected(net: NetBuilder, x: str, channels: tuple[int, int], kernel: int, stride: int) -> str:
    pad = kernel // 2
    x = net.op("Pad", x, net.ints(0, 0, pad, pad, 0, 0, pad, pad), mode="reflect")
    return net.conv(x, channels, kernel, stride=stride, pad=0)


def _instance_norm(net: NetBuilder, x: str, channels: int) -> str:
    scale = net.constant(net.normal(channels, std=0.15, mean=1.0), "scale")
    return net.op("InstanceNormalization", x, scale, net.bias(channels), epsilon=1e-5)


CASES = (
    NetworkCase("fcn", "segmentation", fcn, notes="ConvTranspose, skips"),
    NetworkCase("segnet", "segmentation", segnet, notes="MaxPool indices, MaxUnpool"),
    NetworkCase("unet_linear", "segmentation", partial(unet, "linear"), notes="bilinear Resize"),
    NetworkCase("unet_nearest", "segmentation", partial(unet, "nearest"), notes="nearest Resize"),
    NetworkCase("unet_transpose", "segmentation", partial(unet, "transpose")),
    NetworkCase(
        "espnet_blocks",
        "segmentation",
        espnet_blocks,
        notes="dilated, PRelu, align_corners; label ties may break either way",
    ),
    NetworkCase("super_resolution", "pixels", super_resolution, notes="DepthToSpace CRD"),
    NetworkCase("style_transfer", "pixels", style_transfer, notes="InstanceNormalization, reflect"),
)
