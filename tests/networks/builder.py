"""Writes a network node by node, with seeded weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 8


class NetBuilder:
    """A graph under construction; every method returns the name of what it made.

    Args:
        name: Name of the graph; it also seeds the weights.
        opset: ONNX operator set.
    """

    def __init__(self, name: str, *, opset: int = 17) -> None:
        self.name = name
        self.opset = opset
        self.rng = np.random.default_rng(list(name.encode()))
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def unique(self, hint: str) -> str:
        self._count += 1
        return f"{hint}_{self._count}"

    def input(
        self, name: str, shape: Sequence[int | str], *, dtype: int = TensorProto.FLOAT
    ) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def output(
        self, value: str, name: str, *, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT
    ) -> None:
        """Give a value its public name; shape is checked by the runtime."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"output_{name}"))
        self.outputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))

    def constant(self, array: Any, hint: str = "const") -> str:
        name = self.unique(hint)
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def floats(self, *values: float) -> str:
        return self.constant(np.array(values[0] if len(values) == 1 else values, np.float32))

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64), "ints")

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        names = [self.unique(op.lower()) for _ in range(outputs)]
        self.nodes.append(
            helper.make_node(op, list(inputs), names, name=f"{op}_{self._count}", **attributes)
        )
        return names

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.node(op, *inputs, **attributes)[0]

    def normal(self, *shape: int, std: float = 1.0, mean: float = 0.0) -> NDArray[np.float32]:
        drawn = self.rng.standard_normal(shape, dtype=np.float32)
        return np.asarray(drawn * np.float32(std) + np.float32(mean))

    def weight(self, *shape: int, fan_in: int, gain: float = 2.0) -> str:
        """He initialisation: variance gain / fan_in keeps the activations' scale."""
        return self.constant(self.normal(*shape, std=(gain / fan_in) ** 0.5), "weight")

    def bias(self, size: int) -> str:
        return self.constant(self.normal(size, std=0.1), "bias")

    def conv(
        self,
        x: str,
        channels: tuple[int, int],
        kernel: int | tuple[int, ...] = 3,
        *,
        stride: int | tuple[int, ...] = 1,
        pad: int | tuple[int, ...] | None = None,
        group: int = 1,
        dilation: int = 1,
        bias: bool = True,
        rank: int = 2,
    ) -> str:
        """Convolve from channels[0] to channels[1]; "same" size at stride 1 by default."""
        inside, outside = channels
        kernels = (kernel,) * rank if isinstance(kernel, int) else kernel
        strides = (stride,) * rank if isinstance(stride, int) else stride
        if pad is None:
            pad = tuple(dilation * (size - 1) // 2 for size in kernels)
        pads = (pad,) * len(kernels) if isinstance(pad, int) else pad
        fan_in = inside // group * int(np.prod(kernels))
        inputs = [x, self.weight(outside, inside // group, *kernels, fan_in=fan_in)]
        if bias:
            inputs.append(self.bias(outside))
        return self.op(
            "Conv",
            *inputs,
            kernel_shape=kernels,
            strides=strides,
            pads=[*pads, *pads],
            dilations=[dilation] * len(kernels),
            group=group,
        )

    def conv_transpose(
        self, x: str, channels: tuple[int, int], kernel: int, *, stride: int, pad: int = 0
    ) -> str:
        inside, outside = channels
        fan_in = inside * max(1, kernel * kernel // (stride * stride))
        weight = self.weight(inside, outside, kernel, kernel, fan_in=fan_in)
        return self.op(
            "ConvTranspose",
            x,
            weight,
            self.bias(outside),
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
        )

    def batch_norm(self, x: str, channels: int, *, epsilon: float = 1e-5) -> str:
        """Normalise; mean and variance are placeholders until ``settle`` measures them."""
        parameters = (
            self.constant(self.normal(channels, std=0.15, mean=1.0), "bn_scale"),
            self.constant(self.normal(channels, std=0.2), "bn_bias"),
            self.constant(np.zeros(channels, np.float32), "bn_mean"),
            self.constant(np.ones(channels, np.float32), "bn_var"),
        )
        return self.op("BatchNormalization", x, *parameters, epsilon=epsilon)

    def conv_bn(
        self, x: str, channels: tuple[int, int], kernel: int = 3, *, act: str = "Relu", **how: Any
    ) -> str:
        """Convolution without bias, batch norm, activation (``""`` for none)."""
        x = self.batch_norm(self.conv(x, channels, kernel, bias=False, **how), channels[1])
        return self.activate(x, act)

    def activate(self, x: str, act: str) -> str:
        """Apply an activation the way that exporters write it."""
        if act == "":
            return x
        if act == "Relu6":
            return self.op("Clip", x, self.floats(0.0), self.floats(6.0))
        if act == "Silu":
            return self.op("Mul", x, self.op("Sigmoid", x))
        if act == "Gelu":
            erf = self.op("Erf", self.op("Div", x, self.floats(2**0.5)))
            scaled = self.op("Mul", x, self.op("Add", erf, self.floats(1.0)))
            return self.op("Mul", scaled, self.floats(0.5))
        return self.op(act, x)

    def dense(self, x: str, sizes: tuple[int, int], *, gain: float = 2.0) -> str:
        """Gemm with the (out, in) weight of PyTorch's Linear; x is (batch, in)."""
        weight = self.weight(sizes[1], sizes[0], fan_in=sizes[0], gain=gain)
        return self.op("Gemm", x, weight, self.bias(sizes[1]), transB=1)

    def linear(self, x: str, sizes: tuple[int, int], *, gain: float = 1.0) -> str:
        """MatMul and Add, for x of any rank."""
        product = self.op("MatMul", x, self.weight(*sizes, fan_in=sizes[0], gain=gain))
        return self.op("Add", product, self.bias(sizes[1]))

    def max_pool(self, x: str, kernel: int, stride: int, *, pad: int = 0) -> str:
        return self.op(
            "MaxPool", x, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4
        )

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.ints(*shape))

    def model(self) -> onnx.ModelProto:
        """Return the checked model."""
        graph = helper.make_graph(
            self.nodes, self.name, self.inputs, self.outputs, self.initializers
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model
