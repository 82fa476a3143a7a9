"""Quantized models in the forms that other tools write.

ONNX Runtime's are written by its own ``quantize_static``. The two others are built by hand:

* NNCF: what ``nncf.quantize`` 3.4.0 makes of the digits example. Weights are int8 behind a
  DequantizeLinear, batch norms are not folded, the input of a depthwise convolution has a scale
  per channel, nothing stands behind the last layer.
* Model Optimizer: ONNX quantization with ``high_precision_dtype="fp16"`` (its documentation, and
  the TensorRT developer guide on Q/DQ placement). Symmetric, pairs at the inputs of layers and on
  one branch of a residual Add, float16 scales, weights behind a pair of their own on axis 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from fake_quantized import open_plain
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekit.converters.emitters import EMITTERS
from edgekit.converters.onnx_model import graph_from_bytes, read_graph, write_graph
from edgekit.graph import Graph
from edgekit.pipeline.check import open_emitted
from edgekit.quantized import QuantizedGraph
from edgekit.target import Target

Feed = Mapping[str, NDArray[Any]]
ENGINES = (("openvino", "openvino"), ("tflite", "ai_edge_litert"))
"""Format and the package that runs it."""


def run_source(graph: Graph, feeds: list[Any]) -> NDArray[Any]:
    """Return the first output, every node computed as ONNX says."""
    session = open_plain(graph)
    return np.concatenate([session.run(None, feed)[0] for feed in feeds])


def run_emitted(read: QuantizedGraph, format: str, feeds: list[Any], folder: Path) -> NDArray[Any]:
    """Return the first output of the artifact on its own runtime."""
    folder.mkdir()
    target = Target(format, format, "int8")
    artifact = EMITTERS[format].load()(read, folder, target=target)
    with open_emitted(artifact, folder, preprocess={}) as session:
        name = read.graph.output_names[0]
        return np.concatenate([session.run(feed)[name] for feed in feeds])


def cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the least cosine between rows."""
    one, other = (x.reshape(len(x), -1).astype(np.float64) for x in (one, other))
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / norms).min())


def by_onnxruntime(
    graph: Graph, feeds: Sequence[Feed], folder: Path, **options: Any
) -> tuple[Graph, Path]:
    """Return the graph as ONNX Runtime quantizes it, and the file."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> Feed | None:
            return next(self._feeds, None)

    source, result = folder / "float.onnx", folder / "quantized.onnx"
    write_graph(graph, source)
    quantize_static(source, result, Reader(), quant_format=QuantFormat.QDQ, **options)
    return read_graph(result), result


class Builder:
    """Collects nodes and constants of a small model."""

    def __init__(self, *, float_type: Any = np.float32) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._float = float_type

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of the output's name."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any, dtype: Any = None) -> str:
        """Add a constant."""
        self.constants[name] = np.asarray(value, dtype or self._float)
        return name

    def pair(
        self, name: str, scale: Any, point: Any, dtype: Any = np.int8, suffix: str = "", **more: Any
    ) -> str:
        """Quantize and dequantize a tensor; return the result's name."""
        base = f"{name}{suffix}"
        parts = [
            self.constant(f"{base}_scale", scale),
            self.constant(f"{base}_point", point, dtype),
        ]
        self.add("QuantizeLinear", [name, *parts], f"{base}_q", **more)
        return self.add("DequantizeLinear", [f"{base}_q", *parts], f"{base}_dq", **more)

    def stored(self, name: str, integers: NDArray[Any], scale: Any, axis: int = 0) -> str:
        """Add integers and their DequantizeLinear; return the result's name."""
        self.constants[name] = integers
        points = np.zeros(np.shape(scale), integers.dtype)
        parts = [
            self.constant(f"{name}_scale", scale),
            self.constant(f"{name}_point", points, integers.dtype),
        ]
        return self.add("DequantizeLinear", [name, *parts], f"{name}_dq", axis=axis)

    def graph(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], opset: int) -> Graph:
        """Return what was built."""
        made = helper.make_graph(
            self.nodes,
            "model",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 10
        return graph_from_bytes(model.SerializeToString())


def nncf_style(activation: str = "Relu", *, group: int = 8) -> Graph:
    """Return conv, batch norm, activation, depthwise conv by one scale a channel, Gemm."""
    rng = np.random.default_rng(3)
    b = Builder()
    scales = np.linspace(0.005, 0.02, 8)
    weight = rng.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
    depthwise = rng.integers(-127, 128, (8, 8 // group, 3, 3)).astype(np.int8)
    head = rng.integers(-127, 128, (8, 5)).astype(np.int8)
    x = b.pair("x", 0.03, 128, np.uint8)
    b.add("Conv", [x, b.stored("w0", weight, scales)], "c0", pads=[1] * 4)
    norm = {"gamma": rng.uniform(-1, 1, 8), "beta": rng.normal(size=8), "mean": rng.normal(size=8)}
    names = [b.constant(name, value) for name, value in norm.items()]
    variance = b.constant("variance", rng.uniform(0.5, 2, 8))
    b.add("BatchNormalization", ["c0", *names, variance], "n0")
    b.add(activation, ["n0"], "r0")
    r = b.pair("r0", np.linspace(0.01, 0.03, 8), [0] * 8, np.uint8, axis=1)
    b.add("MaxPool", [r], "m0", kernel_shape=[2, 2], strides=[2, 2])
    b.add("Conv", ["m0", b.stored("w1", depthwise, scales), "b1"], "c1", group=group)
    b.constant("b1", rng.normal(size=8))
    b.add("Relu", ["c1"], "r1")
    b.add("GlobalAveragePool", [b.pair("r1", 0.02, 0, np.uint8)], "g")
    b.add("Flatten", [b.pair("g", 0.01, 0, np.uint8)], "f")
    b.add("Gemm", ["f", b.stored("w2", head, np.linspace(0.01, 0.02, 5), axis=1)], "y")
    return b.graph({"x": [1, 3, 8, 8]}, {"y": [1, 5]}, opset=18)


def modelopt_style() -> Graph:
    """Return conv, (conv, conv) + skip, pool, all in float16, symmetric, pairs at layers only."""
    rng = np.random.default_rng(4)
    b = Builder(float_type=np.float16)

    def weight(name: str, *shape: int) -> str:
        value = rng.normal(size=shape) * 0.2
        b.constant(name, value)
        scale = np.abs(value).max(axis=(1, 2, 3)) / 127
        return b.pair(name, scale, [0] * shape[0], axis=0)

    b.add("Cast", ["x"], "h", to=TensorProto.FLOAT16)
    b.add("Conv", [b.pair("h", 0.025, 0), weight("w0", 8, 3, 3, 3)], "c0", pads=[1] * 4)
    b.add("Relu", ["c0"], "r0")
    b.add("Conv", [b.pair("r0", 0.02, 0), weight("w1", 8, 8, 3, 3)], "c1", pads=[1] * 4)
    b.add("Relu", ["c1"], "r1")
    b.add("Conv", [b.pair("r1", 0.03, 0), weight("w2", 8, 8, 3, 3)], "c2", pads=[1] * 4)
    b.add("Add", ["c2", b.pair("r0", 0.02, 0, suffix="_skip")], "a")
    b.add("Relu", ["a"], "r2")
    b.add("MaxPool", ["r2"], "m", kernel_shape=[2, 2], strides=[2, 2])
    b.add("Conv", [b.pair("m", 0.05, 0), weight("w3", 4, 8, 1, 1)], "c3")
    b.add("Cast", ["c3"], "y", to=TensorProto.FLOAT)
    return b.graph({"x": [1, 3, 8, 8]}, {"y": [1, 4, 4, 4]}, opset=19)
