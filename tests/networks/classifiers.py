"""Image classifiers and blocks of them that no package carries."""

from __future__ import annotations

import onnx

from networks.builder import NetBuilder
from networks.case import NetworkCase
from networks.settle import settle

# Expansion, channels, repeats, first stride: table 2 of Sandler et al. 2018.
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2() -> onnx.ModelProto:
    """MobileNetV2, width 1.0, 224 x 224, as torchvision exports it with batch norms."""
    net = NetBuilder("mobilenet_v2")
    x = net.input("input", [1, 3, 224, 224])
    x = net.conv_bn(x, (3, 32), 3, stride=2, act="Relu6")
    inside = 32
    for expand, outside, repeats, first in MOBILENET_V2:
        for index in range(repeats):
            x = _inverted_residual(
                net, x, (inside, outside), expand=expand, stride=1 if index else first
            )
            inside = outside
    x = net.conv_bn(x, (320, 1280), 1, act="Relu6")
    x = net.op("Flatten", net.op("GlobalAveragePool", x), axis=1)
    net.output(net.dense(x, (1280, 1000), gain=4.0), "logits", shape=[1, 1000])
    return settle(net.model())


def _inverted_residual(
    net: NetBuilder, x: str, channels: tuple[int, int], *, expand: int, stride: int
) -> str:
    inside, outside = channels
    hidden = inside * expand
    y = x if expand == 1 else net.conv_bn(x, (inside, hidden), 1, act="Relu6")
    y = net.conv_bn(y, (hidden, hidden), 3, stride=stride, group=hidden, act="Relu6")
    y = net.conv_bn(y, (hidden, outside), 1, act="")
    return net.op("Add", x, y) if stride == 1 and inside == outside else y


def mobilenet_v3_blocks() -> onnx.ModelProto:
    """Three MobileNetV3 blocks: HardSwish, squeeze-and-excite with HardSigmoid."""
    net = NetBuilder("mobilenet_v3_blocks")
    x = net.input("input", [1, 3, 96, 96])
    x = net.conv_bn(x, (3, 16), 3, stride=2, act="HardSwish")
    inside = 16
    for hidden, outside, kernel, stride, act in (
        (16, 16, 3, 2, "Relu"),
        (96, 40, 5, 2, "HardSwish"),
        (240, 40, 5, 1, "HardSwish"),
    ):
        y = net.conv_bn(x, (inside, hidden), 1, act=act)
        y = net.conv_bn(y, (hidden, hidden), kernel, stride=stride, group=hidden, act=act)
        y = _squeeze_excite(net, y, hidden)
        y = net.conv_bn(y, (hidden, outside), 1, act="")
        x = net.op("Add", x, y) if stride == 1 and inside == outside else y
        inside = outside
    x = net.op("ReduceMean", x, axes=[2, 3], keepdims=0)
    x = net.activate(net.dense(x, (40, 64)), "HardSwish")
    net.output(net.dense(x, (64, 10), gain=4.0), "logits", shape=[1, 10])
    return settle(net.model())


def _squeeze_excite(net: NetBuilder, x: str, channels: int) -> str:
    squeezed = net.op("ReduceMean", x, axes=[2, 3], keepdims=1)
    squeezed = net.op("Relu", net.conv(squeezed, (channels, channels // 4), 1))
    gate = net.conv(squeezed, (channels // 4, channels), 1)
    return net.op("Mul", x, net.op("HardSigmoid", gate, alpha=1 / 6, beta=0.5))


def grouped_net() -> onnx.ModelProto:
    """Grouped, depthwise-with-multiplier and asymmetrically padded convolutions."""
    net = NetBuilder("grouped_net")
    x = net.input("input", [1, 8, 33, 47])
    x = net.conv_bn(x, (8, 32), 3, group=4)
    x = net.conv_bn(x, (32, 64), 3, group=32, stride=2, act="LeakyRelu")
    x = net.conv(x, (64, 48), (1, 5), group=8, stride=(1, 2))
    x = net.op("Elu", x)
    x = net.op("Pad", x, net.ints(0, 0, 1, 0, 0, 0, 2, 3), net.floats(0.0))
    x = net.conv(x, (48, 24), 3, pad=0, dilation=2)
    x = net.op(
        "AveragePool",
        net.op("Softplus", x),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        count_include_pad=1,
    )
    x = net.op("GlobalMaxPool", x)
    x = net.dense(net.op("Flatten", x), (24, 10), gain=4.0)
    net.output(net.op("LogSoftmax", x, axis=-1), "log_probabilities", shape=[1, 10])
    return settle(net.model())


def mlp() -> onnx.ModelProto:
    """Three dense layers with batch norm, dropout and softmax, batch of 4."""
    net = NetBuilder("mlp")
    x = net.input("features", [4, 64])
    for sizes in ((64, 128), (128, 96)):
        x = net.op("Relu", net.batch_norm(net.dense(x, sizes), sizes[1]))
        x = net.op("Dropout", x)
    x = net.op("Tanh", net.linear(x, (96, 32)))
    x = net.dense(x, (32, 10), gain=4.0)
    net.output(net.op("Softmax", x, axis=-1), "probabilities", shape=[4, 10])
    return settle(net.model())


CASES = (
    NetworkCase("mobilenet_v2", "classifier", mobilenet_v2, notes="ReLU6, depthwise"),
    NetworkCase(
        "mobilenet_v3_blocks", "classifier", mobilenet_v3_blocks, notes="HardSwish, SE gates"
    ),
    NetworkCase(
        "grouped_net", "classifier", grouped_net, notes="groups, multiplier 2, odd sizes, Pad"
    ),
    NetworkCase("mlp", "classifier", mlp, notes="BatchNormalization of rank 2"),
)
