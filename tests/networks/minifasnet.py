"""MiniFASNet, which tells a face from a picture of one: the network with its authors' weights.

Source: minivision-ai, "Silent-Face-Anti-Spoofing" (Apache-2.0), src/model_lib/MiniFASNet.py, for
the order of the layers; every size is that of the parameters in the authors' files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from networks.builder import NetBuilder
from networks.torch_file import read_state_dict

Array = NDArray[Any]

FOLDER = Path(__file__).resolve().parents[2].parent / "shared/data/model-face-minifasnet"
WEIGHTS = {
    "2.7": FOLDER / "2.7_80x80_MiniFASNetV2.pth",
    "4.0": FOLDER / "4_0_0_80x80_MiniFASNetV1SE.pth",
}
SIDE = 80
LABELS = ("print", "live", "replay")
PREPROCESS = "stretch,bgr"  # pixels stay 0..255: the authors' ToTensor does not divide
_EPSILON = 1e-5  # PyTorch's default


class MiniFasNet:
    """Writes the network.

    Args:
        weights: Parameters by PyTorch name, without ``module.``.
    """

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.net = NetBuilder("minifasnet")
        self.weights = weights

    def build(self) -> onnx.ModelProto:
        x = self.net.input("image", [1, 3, SIDE, SIDE])
        x = self.conv_act(self.conv_act(x, "conv1", stride=2), "conv2_dw")
        for down, stage in (("conv_23", "conv_3"), ("conv_34", "conv_4"), ("conv_45", "conv_5")):
            x = self.bottleneck(x, down, stride=2)
            count = 0
            while f"{stage}.model.{count}.conv.conv.weight" in self.weights:
                x = self.net.op("Add", x, self.bottleneck(x, f"{stage}.model.{count}"))
                count += 1
        x = self.conv_act(x, "conv_6_sep")
        x = self.batch_norm(self.conv(x, "conv_6_dw.conv", pad=0), "conv_6_dw.bn")
        x = self.dense(self.net.op("Flatten", x, axis=1), "linear")
        x = self.dense(self.batch_norm(x, "bn"), "prob")
        self.net.output(x, "logits", shape=[1, len(LABELS)])
        return self.net.model()

    def bottleneck(self, x: str, name: str, *, stride: int = 1) -> str:
        """Widen, convolve each channel, narrow; weigh the channels where the block does."""
        x = self.conv_act(x, f"{name}.conv")
        x = self.conv_act(x, f"{name}.conv_dw", stride=stride)
        x = self.batch_norm(self.conv(x, f"{name}.project.conv"), f"{name}.project.bn")
        gate = f"{name}.se_module"
        if f"{gate}.fc1.weight" not in self.weights:
            return x
        y = self.net.op("GlobalAveragePool", x)
        y = self.batch_norm(self.conv(y, f"{gate}.fc1"), f"{gate}.bn1")
        y = self.conv(self.net.op("Relu", y), f"{gate}.fc2")
        return self.net.op("Mul", x, self.net.op("Sigmoid", self.batch_norm(y, f"{gate}.bn2")))

    def conv_act(self, x: str, name: str, *, stride: int = 1) -> str:
        x = self.batch_norm(self.conv(x, f"{name}.conv", stride=stride), f"{name}.bn")
        slope = self.weights[f"{name}.prelu.weight"].reshape(-1, 1, 1)
        return self.net.op("PRelu", x, self.net.constant(slope, "slope"))

    def conv(self, x: str, name: str, *, stride: int = 1, pad: int | None = None) -> str:
        weight = self.weights[f"{name}.weight"]
        side = weight.shape[-1]
        # Of the spatial kernels, only the first sees all channels; each other one sees its own.
        group = len(weight) if weight.shape[1] == 1 else 1
        return self.net.op(
            "Conv", x, self.net.constant(weight, "weight"),
            kernel_shape=[side] * 2, strides=[stride] * 2, group=group,
            pads=[side // 2 if pad is None else pad] * 4,
        )  # fmt: skip

    def batch_norm(self, x: str, name: str) -> str:
        words = ("weight", "bias", "running_mean", "running_var")
        parameters = [self.net.constant(self.weights[f"{name}.{word}"], word) for word in words]
        return self.net.op("BatchNormalization", x, *parameters, epsilon=_EPSILON)

    def dense(self, x: str, name: str) -> str:
        weight = self.weights[f"{name}.weight"]
        return self.net.op("Gemm", x, self.net.constant(weight, "weight"), transB=1)


def trained_minifasnet(path: Path) -> onnx.ModelProto:
    """Return the network of one of the authors' ``.pth`` files."""
    state = read_state_dict(path)
    weights = {
        name.removeprefix("module."): value.astype(np.float32) for name, value in state.items()
    }
    return MiniFasNet(weights).build()
