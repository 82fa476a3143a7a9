"""Small graphs for the quantizer's tests, their ranges, and engines to run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from tiny_onnx import build

from edgekit.converters.evaluate import evaluate
from edgekit.converters.onnx_model import graph_from_bytes, write_graph
from edgekit.graph import Array, Graph
from edgekit.ranges import Range, Ranges
from edgekit.tensor import DType

Feeds = Sequence[Mapping[str, Array]]


def to_graph(model: onnx.ModelProto) -> Graph:
    """Return the model as a graph."""
    return graph_from_bytes(model.SerializeToString())


def minmax_ranges(graph: Graph, feeds: Feeds) -> Ranges:
    """Return the exact range of every float tensor over some inputs."""
    makers = graph.producers()
    taps = [
        graph.values[name]
        for name in makers
        if name in graph.values
        and graph.values[name].dtype is DType.FLOAT32
        and name not in graph.output_names
    ]
    tapped = replace(graph, outputs=(*graph.outputs, *taps))
    ranges: dict[str, Range] = {}
    for feed in feeds:
        for name, value in {**evaluate(tapped, feed), **feed}.items():
            if value.dtype == np.float32 and value.size:
                seen = Range(float(value.min()), float(value.max()), "minmax")
                ranges[name] = seen.union(ranges[name]) if name in ranges else seen
    return Ranges("", len(feeds), "", ranges)


def noise(graph: Graph, count: int = 4, *, seed: int = 0) -> list[dict[str, Array]]:
    """Return seeded normal inputs."""
    rng = np.random.default_rng(seed)
    return [
        {s.name: rng.standard_normal(s.static_shape).astype(np.float32) for s in graph.inputs}
        for _ in range(count)
    ]


def run_openvino(graph: Graph, feed: Mapping[str, Array], folder: Path) -> list[NDArray[Any]]:
    """Return the outputs that OpenVINO computes in float32 where it does not in integers."""
    import openvino as ov

    write_graph(graph, folder / "model.onnx")
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(folder / "model.onnx", "CPU", config)
    results = compiled.create_infer_request().infer(dict(feed))
    return [np.array(results[port]) for port in compiled.outputs]


def sqnr_db(want: Array, got: Array) -> float:
    """Return the ratio of signal to quantization noise, dB."""
    error = float(np.square(want.astype(np.float64) - got).sum())
    return 10 * float(np.log10(np.square(want.astype(np.float64)).sum() / max(error, 1e-30)))


def weights(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Return seeded weights with channels of different size along the first axis."""
    rng = np.random.default_rng(seed)
    sizes = np.linspace(0.1, 1.0, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return (rng.standard_normal(shape) * sizes).astype(np.float32)


def one_layer(op: str) -> Graph:
    """Return a graph of one layer: x -> layer -> y, with a bias where the operator has one."""
    constants, node, x, y = _LAYERS[op]()
    return to_graph(build([node], inputs={"x": x}, outputs={"y": y}, constants=constants))


def _conv() -> tuple[Any, ...]:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="layer", pads=[1] * 4)
    return {"w": weights(6, 4, 3, 3), "b": weights(6)}, node, [1, 4, 9, 9], [1, 6, 9, 9]


def _depthwise() -> tuple[Any, ...]:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="layer", pads=[1] * 4, group=4)
    return {"w": weights(4, 1, 3, 3), "b": weights(4)}, node, [1, 4, 9, 9], [1, 4, 9, 9]


def _transposed() -> tuple[Any, ...]:
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], name="layer", strides=[2, 2])
    return {"w": weights(4, 5, 2, 2), "b": weights(5)}, node, [1, 4, 5, 5], [1, 5, 10, 10]


def _gemm() -> tuple[Any, ...]:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="layer", transB=1)
    return {"w": weights(20, 32), "b": weights(20)}, node, [3, 32], [3, 20]


def _matmul() -> tuple[Any, ...]:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="layer")
    return {"w": weights(32, 20)}, node, [3, 32], [3, 20]


_LAYERS = {
    "Conv": _conv,
    "depthwise Conv": _depthwise,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
LAYERS = tuple(_LAYERS)


def residual() -> Graph:
    """Return x -> stem -> ReLU -> (conv -> ReLU -> conv) + skip -> ReLU -> pool -> Gemm."""
    conv = {"pads": [1] * 4}
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], name="stem", **conv),
        helper.make_node("Relu", ["c0"], ["r0"], name="relu0"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], name="first", **conv),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="second", **conv),
        helper.make_node("Add", ["c2", "r0"], ["a"], name="add"),
        helper.make_node("Relu", ["a"], ["r2"], name="relu2"),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"], name="third", **conv),
        helper.make_node("GlobalAveragePool", ["c3"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["y"], name="head"),
    ]
    constants = {f"w{i}": weights(8, 3 if i == 0 else 8, 3, 3, seed=i) for i in range(4)}
    constants |= {f"b{i}": weights(8, seed=9 + i) for i in range(4)}
    constants |= {"w4": weights(8, 20, seed=5), "b4": weights(20, seed=6)}
    return to_graph(
        build(nodes, inputs={"x": [1, 3, 12, 12]}, outputs={"y": [1, 20]}, constants=constants)
    )


def joined() -> Graph:
    """Return two convolutions, one pooled and enlarged, joined and convolved."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["left"], name="left_conv"),
        helper.make_node("Conv", ["x", "w1"], ["wide"], name="right_conv"),
        helper.make_node(
            "MaxPool", ["wide"], ["small"], name="pool", kernel_shape=[2, 2], strides=[2, 2]
        ),
        helper.make_node("Resize", ["small", "", "scales"], ["right"], name="enlarge"),
        helper.make_node("Concat", ["left", "right"], ["both"], name="concat", axis=1),
        helper.make_node("Conv", ["both", "w2"], ["y"], name="last"),
    ]
    constants = {
        "w0": weights(4, 3, 1, 1),
        "w1": weights(4, 3, 1, 1, seed=1) * np.float32(3),
        "w2": weights(5, 8, 1, 1, seed=2),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    return to_graph(
        build(nodes, inputs={"x": [1, 3, 8, 8]}, outputs={"y": [1, 5, 8, 8]}, constants=constants)
    )
