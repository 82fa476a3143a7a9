"""ESPNet, p = 2 and q = 8, for CamVid: the whole network, trained weights included.

Source: Mehta et al. 2018, "ESPNet: Efficient Spatial Pyramid of Dilated Convolutions", section 3
(ESP module, K = 5, hierarchical feature fusion), figure 4 (input reinforcement, the light
decoder); channel counts from the parameters of the authors' file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from networks.builder import NetBuilder
from networks.case import NetworkCase
from networks.settle import settle
from networks.torch_file import read_state_dict

Array = NDArray[Any]

WEIGHTS = (
    Path(__file__).resolve().parents[2].parent
    / "shared/data/model-seg-espnet/espnet_p_2_q_8_camvid.pth"
)
CLASSES = 12  # the last one is void
DILATIONS = (1, 2, 4, 8, 16)
BN_EPSILON = 1e-3
# As in the authors' test code: (x - mean) / std, then / 255, blue first.
PREPROCESS = "none,bgr,mean=110.331:108.409:105.033,std=72.126*255:72.691*255:69.904*255"


class EspNet:
    """Writes the network.

    Args:
        weights: Parameters by PyTorch name; None draws them.
        size: Height and width of the picture, multiples of 8.
    """

    def __init__(self, weights: Mapping[str, Array] | None, size: tuple[int, int]) -> None:
        self.net = NetBuilder("espnet")
        self.weights = weights
        self.size = size

    def build(self) -> onnx.ModelProto:
        height, width = self.size
        image = self.net.input("image", [1, 3, height, width])
        half, quarter = self.pool(image), self.pool(self.pool(image))

        level1 = self.conv_bn_act(image, (3, 16), "encoder.level1", stride=2)
        level1 = self.bn_act(self.concat(level1, half), 19, "encoder.b1")
        reduced = self.esp(level1, (19, 64), "encoder.level2_0", stride=2)
        level2 = reduced
        for index in range(2):
            level2 = self.esp(level2, (64, 64), f"encoder.level2.{index}", adds_input=True)
        level2 = self.bn_act(self.concat(level2, reduced, quarter), 131, "encoder.b2")
        reduced = self.esp(level2, (131, 128), "encoder.level3_0", stride=2)
        level3 = reduced
        for index in range(8):
            level3 = self.esp(level3, (128, 128), f"encoder.level3.{index}", adds_input=True)
        level3 = self.bn_act(self.concat(reduced, level3), 256, "encoder.b3")

        scores = self.conv(level3, (256, CLASSES), "encoder.classifier.conv", kernel=1)
        scores = self.enlarge(self.batch_norm(scores, CLASSES, "br"), "up_l3.0")
        scores = self.concat(self.conv(level2, (131, CLASSES), "level3_C.conv", kernel=1), scores)
        scores = self.bn_act(scores, 2 * CLASSES, "combine_l2_l3.0")
        scores = self.esp(scores, (2 * CLASSES, CLASSES), "combine_l2_l3.1")
        scores = self.bn_act(self.enlarge(scores, "up_l2.0"), CLASSES, "up_l2.1")
        scores = self.conv_bn_act(self.concat(scores, level1), (CLASSES + 19, CLASSES), "conv")
        scores = self.enlarge(scores, "classifier")
        self.net.output(scores, "scores", shape=[1, CLASSES, height, width])
        return self.net.model() if self.weights is not None else settle(self.net.model())

    def esp(
        self,
        x: str,
        channels: tuple[int, int],
        name: str,
        *,
        stride: int = 1,
        adds_input: bool = False,
    ) -> str:
        """Reduce, split over dilations, fuse hierarchically (sums), join, normalise."""
        inside, outside = channels
        width = outside // len(DILATIONS)
        first = outside - width * (len(DILATIONS) - 1)
        kernel = 1 if stride == 1 else 3
        x_small = self.conv(x, (inside, width), f"{name}.c1.conv", kernel=kernel, stride=stride)
        branches = [
            self.conv(
                x_small, (width, first if rate == 1 else width), f"{name}.d{rate}.conv",
                dilation=rate,
            )
            for rate in DILATIONS
        ]  # fmt: skip
        total = branches[1]
        joined = [branches[0], total]
        for branch in branches[2:]:
            total = self.net.op("Add", total, branch)
            joined.append(total)
        result = self.concat(*joined)
        if adds_input:
            result = self.net.op("Add", x, result)
        # A strided block holds its batch norm itself; the others in a module called bn.
        return self.bn_act(result, outside, name if stride == 2 else f"{name}.bn")

    def conv_bn_act(self, x: str, channels: tuple[int, int], name: str, *, stride: int = 1) -> str:
        x = self.conv(x, channels, f"{name}.conv", stride=stride)
        return self.bn_act(x, channels[1], name)

    def bn_act(self, x: str, channels: int, name: str) -> str:
        x = self.batch_norm(x, channels, f"{name}.bn")
        slope = self.parameter(f"{name}.act.weight", (channels,), mean=0.25, std=0.1)
        return self.net.op("PRelu", x, self.net.constant(slope.reshape(-1, 1, 1), "slope"))

    def batch_norm(self, x: str, channels: int, name: str) -> str:
        if self.weights is None:
            return self.net.batch_norm(x, channels, epsilon=BN_EPSILON)
        words = ("weight", "bias", "running_mean", "running_var")
        parameters = [self.net.constant(self.weights[f"{name}.{word}"], word) for word in words]
        return self.net.op("BatchNormalization", x, *parameters, epsilon=BN_EPSILON)

    def conv(
        self,
        x: str,
        channels: tuple[int, int],
        name: str,
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
    ) -> str:
        shape = (channels[1], channels[0], kernel, kernel)
        std = (2 / (channels[0] * kernel**2)) ** 0.5
        weight = self.net.constant(self.parameter(f"{name}.weight", shape, std=std), "weight")
        pad = (kernel - 1) // 2 * dilation
        return self.net.op(
            "Conv", x, weight,
            kernel_shape=[kernel] * 2, strides=[stride] * 2, dilations=[dilation] * 2,
            pads=[pad] * 4,
        )  # fmt: skip

    def enlarge(self, x: str, name: str) -> str:
        weight = self.parameter(f"{name}.weight", (CLASSES, CLASSES, 2, 2), std=CLASSES**-0.5)
        return self.net.op(
            "ConvTranspose", x, self.net.constant(weight, "weight"),
            kernel_shape=[2, 2], strides=[2, 2],
        )  # fmt: skip

    def pool(self, x: str) -> str:
        return self.net.op(
            "AveragePool", x,
            kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1,
        )  # fmt: skip

    def concat(self, *inputs: str) -> str:
        return self.net.op("Concat", *inputs, axis=1)

    def parameter(
        self, name: str, shape: tuple[int, ...], *, std: float, mean: float = 0.0
    ) -> Array:
        if self.weights is None:
            return self.net.normal(*shape, std=std, mean=mean)
        value = self.weights[name].astype(np.float32)
        assert value.shape == shape, f"{name} has shape {value.shape}, expected {shape}"
        return value


def espnet() -> onnx.ModelProto:
    """Return the network with drawn weights, for a small picture."""
    return EspNet(None, (96, 128)).build()


def trained_espnet(path: Path = WEIGHTS) -> onnx.ModelProto:
    """Return the network with the authors' weights for CamVid, for 480 x 360 pictures."""
    return EspNet(read_state_dict(path), (360, 480)).build()


CASES = (
    NetworkCase("espnet", "segmentation", espnet, notes="dilation 16, PRelu, 12 joins, deconv"),
)
