"""The layers of a small convolutional network in plain numpy, with gradients and ONNX export.

Arrays are float32, pictures (N, C, H, W). ``forward`` keeps what ``backward`` needs;
``backward`` takes the loss's gradient by the result, stores the gradients of the
parameters, and returns the gradient by the input.
"""

# ruff: noqa: D102 - what the methods do is told once, by Layer

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import NodeProto, helper

Floats = NDArray[np.float32]
Exported = tuple[list[NodeProto], dict[str, Floats]]


class Layer(Protocol):
    """What every layer has."""

    parameters: dict[str, Floats]
    gradients: dict[str, Floats]

    def forward(self, x: Floats, *, training: bool) -> Floats:
        """Return the layer's result."""

    def backward(self, gradient: Floats) -> Floats:
        """Return the loss's gradient by the input."""

    def export(self, source: str, result: str) -> Exported:
        """Return the ONNX nodes from one tensor to the other, and their constants."""


class Conv:
    """Square convolution without bias, padded to keep the size at stride 1.

    Args:
        channels: Of the input and of the result.
        kernel: Its side.
        stride: Along both axes.
        depthwise: Whether each channel has its own filter; then both counts are equal.
        rng: Source of the first weights (He et al. 2015, equation 10).
    """

    def __init__(
        self,
        channels: tuple[int, int],
        *,
        kernel: int,
        rng: np.random.Generator,
        stride: int = 1,
        depthwise: bool = False,
    ) -> None:
        self.kernel, self.stride, self.pad = kernel, stride, kernel // 2
        self.depthwise = depthwise
        shape = (channels[1], 1 if depthwise else channels[0], kernel, kernel)
        spread = np.sqrt(2 / np.prod(shape[1:]))
        self.parameters = {"weight": (rng.standard_normal(shape) * spread).astype(np.float32)}
        self.gradients: dict[str, Floats] = {}

    def forward(self, x: Floats, *, training: bool) -> Floats:
        margin = (self.pad, self.pad)
        padded = np.pad(x, ((0, 0), (0, 0), margin, margin))
        windows = sliding_window_view(padded, (self.kernel, self.kernel), axis=(2, 3))
        # (N, C, H, W, k, k), every stride-th window
        self.windows = windows[:, :, :: self.stride, :: self.stride]
        self.padded_shape = padded.shape
        pattern = "nchwij,cij->nchw" if self.depthwise else "nchwij,ocij->nohw"
        weight = self.parameters["weight"]
        filters = weight[:, 0] if self.depthwise else weight
        result: Floats = np.einsum(pattern, self.windows, filters, optimize=True)
        return result

    def backward(self, gradient: Floats) -> Floats:
        weight = self.parameters["weight"]
        if self.depthwise:
            by_weight = np.einsum("nchwij,nchw->cij", self.windows, gradient, optimize=True)
            self.gradients["weight"] = by_weight[:, None]
        else:
            self.gradients["weight"] = np.tensordot(
                gradient, self.windows, axes=((0, 2, 3), (0, 2, 3))
            )
        by_padded = np.zeros(self.padded_shape, np.float32)
        rows, columns = (size * self.stride for size in gradient.shape[2:])
        for i in range(self.kernel):
            for j in range(self.kernel):
                if self.depthwise:
                    share = gradient * weight[:, 0, i, j][:, None, None]
                else:
                    share = np.tensordot(gradient, weight[:, :, i, j], axes=((1,), (0,)))
                    share = share.transpose(0, 3, 1, 2)
                by_padded[:, :, i : i + rows : self.stride, j : j + columns : self.stride] += share
        inner = slice(self.pad, -self.pad or None)
        return by_padded[:, :, inner, inner]

    def export(self, source: str, result: str) -> Exported:
        weight = self.parameters["weight"]
        name = f"{result}_weight"
        node = helper.make_node(
            "Conv",
            [source, name],
            [result],
            name=result,
            kernel_shape=[self.kernel] * 2,
            strides=[self.stride] * 2,
            pads=[self.pad] * 4,
            group=len(weight) if self.depthwise else 1,
        )
        return [node], {name: weight}


class BatchNorm:
    """Batch normalisation (Ioffe and Szegedy 2015) with running statistics."""

    EPSILON = 1e-5
    MOMENTUM = 0.1

    def __init__(self, channels: int) -> None:
        self.parameters = {
            "gamma": np.ones(channels, np.float32),
            "beta": np.zeros(channels, np.float32),
        }
        self.gradients: dict[str, Floats] = {}
        self.mean = np.zeros(channels, np.float32)
        self.variance = np.ones(channels, np.float32)

    def forward(self, x: Floats, *, training: bool) -> Floats:
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
            self.mean += self.MOMENTUM * (mean - self.mean)
            self.variance += self.MOMENTUM * (variance - self.variance)
        self.slope = 1 / np.sqrt(variance + self.EPSILON)
        self.normal = (x - mean[:, None, None]) * self.slope[:, None, None]
        gamma, beta = self.parameters["gamma"], self.parameters["beta"]
        result: Floats = self.normal * gamma[:, None, None] + beta[:, None, None]
        return result

    def backward(self, gradient: Floats) -> Floats:
        self.gradients["gamma"] = (gradient * self.normal).sum(axis=(0, 2, 3))
        self.gradients["beta"] = gradient.sum(axis=(0, 2, 3))
        count = gradient.size // gradient.shape[1]
        centred = gradient - self.gradients["beta"][:, None, None] / count
        centred -= self.normal * self.gradients["gamma"][:, None, None] / count
        result: Floats = centred * (self.parameters["gamma"] * self.slope)[:, None, None]
        return result

    def export(self, source: str, result: str) -> Exported:
        constants = {
            f"{result}_gamma": self.parameters["gamma"],
            f"{result}_beta": self.parameters["beta"],
            f"{result}_mean": self.mean,
            f"{result}_variance": self.variance,
        }
        node = helper.make_node(
            "BatchNormalization",
            [source, *constants],
            [result],
            name=result,
            epsilon=self.EPSILON,
        )
        return [node], constants


class Relu:
    """``max(x, 0)``."""

    def __init__(self) -> None:
        self.parameters: dict[str, Floats] = {}
        self.gradients: dict[str, Floats] = {}

    def forward(self, x: Floats, *, training: bool) -> Floats:
        self.positive = x > 0
        return x * self.positive

    def backward(self, gradient: Floats) -> Floats:
        return gradient * self.positive

    def export(self, source: str, result: str) -> Exported:
        return [helper.make_node("Relu", [source], [result], name=result)], {}


class MaxPool:
    """The largest of each 2 x 2 block; height and width are even."""

    def __init__(self) -> None:
        self.parameters: dict[str, Floats] = {}
        self.gradients: dict[str, Floats] = {}

    def forward(self, x: Floats, *, training: bool) -> Floats:
        batch, channels, height, width = x.shape
        # (N, C, H, W) -> (N, C, H/2, 2, W/2, 2)
        blocks = x.reshape(batch, channels, height // 2, 2, width // 2, 2)
        largest: Floats = blocks.max(axis=(3, 5))
        self.is_largest = blocks == largest[:, :, :, None, :, None]
        return largest

    def backward(self, gradient: Floats) -> Floats:
        batch, channels, height, width = gradient.shape
        ties = self.is_largest.sum(axis=(3, 5))
        spread = self.is_largest * (gradient / ties)[:, :, :, None, :, None]
        result: Floats = spread.reshape(batch, channels, height * 2, width * 2).astype(np.float32)
        return result

    def export(self, source: str, result: str) -> Exported:
        node = helper.make_node(
            "MaxPool", [source], [result], name=result, kernel_shape=[2, 2], strides=[2, 2]
        )
        return [node], {}


class Residual:
    """``x + layers(x)`` (He et al. 2016)."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers
        self.parameters: dict[str, Floats] = {}
        self.gradients: dict[str, Floats] = {}

    def forward(self, x: Floats, *, training: bool) -> Floats:
        y = x
        for layer in self.layers:
            y = layer.forward(y, training=training)
        return x + y

    def backward(self, gradient: Floats) -> Floats:
        inner = gradient
        for layer in reversed(self.layers):
            inner = layer.backward(inner)
        return gradient + inner

    def export(self, source: str, result: str) -> Exported:
        nodes, constants = export_chain(self.layers, source, f"{result}_branch")
        add = helper.make_node("Add", [source, nodes[-1].output[0]], [result], name=result)
        return [*nodes, add], constants


class Classifier:
    """Mean over height and width, then a linear layer; ONNX adds the softmax."""

    def __init__(self, channels: int, classes: int, *, rng: np.random.Generator) -> None:
        weight = rng.standard_normal((classes, channels)) / np.sqrt(channels)
        self.parameters = {
            "weight": weight.astype(np.float32),
            "bias": np.zeros(classes, np.float32),
        }
        self.gradients: dict[str, Floats] = {}

    def forward(self, x: Floats, *, training: bool) -> Floats:
        self.shape = x.shape
        self.features = x.mean(axis=(2, 3))
        result: Floats = self.features @ self.parameters["weight"].T + self.parameters["bias"]
        return result

    def backward(self, gradient: Floats) -> Floats:
        self.gradients["weight"] = gradient.T @ self.features
        self.gradients["bias"] = gradient.sum(axis=0)
        by_features = gradient @ self.parameters["weight"]
        area = self.shape[2] * self.shape[3]
        return np.broadcast_to((by_features / area)[:, :, None, None], self.shape)

    def export(self, source: str, result: str) -> Exported:
        weight, bias = f"{result}_weight", f"{result}_bias"
        inputs = ["features", weight, bias]
        nodes = [
            helper.make_node("GlobalAveragePool", [source], ["pooled"], name="pooled"),
            helper.make_node("Flatten", ["pooled"], ["features"], name="features"),
            helper.make_node("Gemm", inputs, ["logits"], name="logits", transB=1),
            helper.make_node("Softmax", ["logits"], [result], name=result, axis=1),
        ]
        return nodes, {weight: self.parameters["weight"], bias: self.parameters["bias"]}


def export_chain(layers: list[Layer], source: str, prefix: str) -> Exported:
    """Return the nodes of layers one after the other; results are ``prefix_0``, ``prefix_1``..."""
    nodes: list[NodeProto] = []
    constants: dict[str, Floats] = {}
    for index, layer in enumerate(layers):
        result = f"{prefix}_{index}"
        made, own = layer.export(source, result)
        nodes += made
        constants |= own
        source = result
    return nodes, constants


def leaves(layers: list[Layer]) -> list[Layer]:
    """Return the layers that hold parameters, those inside residuals too."""
    found: list[Layer] = []
    for layer in layers:
        found += leaves(layer.layers) if isinstance(layer, Residual) else [layer]
    return [layer for layer in found if layer.parameters]
