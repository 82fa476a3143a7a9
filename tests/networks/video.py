"""3-D convolutions over short videos."""

from __future__ import annotations

import onnx

from networks.builder import NetBuilder
from networks.case import NetworkCase
from networks.settle import settle


def c3d() -> onnx.ModelProto:
    """C3D at an eighth of its width: 8 frames of 56 x 56, five convolutions, two dense."""
    net = NetBuilder("c3d")
    x = net.input("video", [1, 3, 8, 56, 56])
    x = _pool(net, net.op("Relu", net.conv(x, (3, 8), rank=3)), depth=1)
    x = _pool(net, net.op("Relu", net.conv(x, (8, 16), rank=3)), depth=2)
    x = net.op("Relu", net.conv(x, (16, 32), rank=3))
    x = net.op("Relu", net.batch_norm(net.conv(x, (32, 32), rank=3, bias=False), 32))
    x = _pool(net, x, depth=2)
    x = net.op("Relu", net.conv(x, (32, 64), rank=3))
    x = net.op("AveragePool", x, kernel_shape=[2, 1, 1], strides=[2, 1, 1])
    # (1, 64, 1, 7, 7) -> (1, 3136)
    x = net.op("Relu", net.dense(net.reshape(x, 1, 3136), (3136, 128)))
    x = net.dense(x, (128, 10), gain=4.0)
    net.output(net.op("Softmax", x, axis=1), "probabilities", shape=[1, 10])
    return settle(net.model())


def _pool(net: NetBuilder, x: str, *, depth: int) -> str:
    return net.op("MaxPool", x, kernel_shape=[depth, 2, 2], strides=[depth, 2, 2])


CASES = (NetworkCase("c3d", "video", c3d, notes="Conv3d, MaxPool3d"),)
