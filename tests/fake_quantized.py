"""What a table of codes means, in float: the oracle of integer models.

Every coded tensor is rounded to its grid by QuantizeLinear and DequantizeLinear, every weight
and bias is replaced by the values that its integers stand for, and all else is computed in
float by ONNX Runtime without any optimisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgekit.converters.onnx_model import graph_to_bytes
from edgekit.graph import Graph, Node
from edgekit.quantized import Code, QuantizedGraph
from edgekit.ranges import Range, Ranges
from edgekit.tensor import DType, TensorSpec

Array = NDArray[np.generic]
Feed = Mapping[str, Array]
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def open_plain(graph: Graph) -> ort.InferenceSession:
    """Return a session that computes every node as ONNX defines it."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(graph_to_bytes(graph), options, providers=["CPUExecutionProvider"])


def minmax_ranges(graph: Graph, feeds: Sequence[Feed]) -> Ranges:
    """Return the exact range of every float tensor over some inputs."""
    made = [name for node in graph.nodes for name in node.outputs if _is_float(graph, name)]
    names = list(dict.fromkeys(made))
    session = open_plain(replace(graph, outputs=tuple(graph.values[name] for name in names)))
    found: dict[str, Range] = {}
    for feed in feeds:
        values = dict(zip(names, session.run(names, dict(feed)), strict=True))
        values |= {name: value for name, value in feed.items() if value.dtype == np.float32}
        for name, value in values.items():
            if value.size:
                seen = Range(float(value.min()), float(value.max()), "minmax")
                found[name] = seen.union(found[name]) if name in found else seen
    return Ranges("0" * 64, len(feeds), "0" * 64, found)


def fake_quantized(quantized: QuantizedGraph) -> Graph:
    """Return the float graph that computes what integers would."""
    graph, codes = quantized.graph, quantized.codes
    constants = dict(graph.initializers)
    for name, array in graph.initializers.items():
        if name in codes:
            constants[name] = on_grid(array, codes[name])
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    values = dict(graph.values)

    def add_pair(name: str) -> None:
        if name not in codes or name in graph.initializers:
            return
        is_output = name in graph.output_names
        raw = f"{name}/raw" if is_output else name
        rounded = name if is_output else f"{name}/rounded"
        code = codes[name]
        constants[f"{name}/scale"] = np.array(code.quantization.scale[0], np.float32)
        constants[f"{name}/point"] = np.array(
            code.quantization.zero_point[0], code.dtype.to_numpy()
        )
        parts = (f"{name}/scale", f"{name}/point")
        values[f"{name}/int"] = TensorSpec(f"{name}/int", code.dtype, values[name].shape)
        values[rounded] = replace(values[name], name=rounded)
        values[raw] = replace(values[name], name=raw)
        nodes.append(Node("QuantizeLinear", (raw, *parts), (f"{name}/int",), {}, f"{name}/q"))
        nodes.append(
            Node("DequantizeLinear", (f"{name}/int", *parts), (rounded,), {}, f"{name}/dq")
        )
        renamed[name] = rounded

    for spec in graph.inputs:
        add_pair(spec.name)
    for node in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        outputs = tuple(
            f"{name}/raw" if name in codes and name in graph.output_names else name
            for name in node.outputs
        )
        if node.op_type in LAYERS and node.name not in quantized.float_nodes:
            inputs = _with_rounded_bias(node, inputs, quantized, constants)
        nodes.append(replace(node, inputs=inputs, outputs=outputs))
        for name in node.outputs:
            add_pair(name)
    return replace(graph, values=values).with_nodes(nodes, initializers=constants)


def _with_rounded_bias(
    node: Node, inputs: tuple[str, ...], quantized: QuantizedGraph, constants: dict[str, Array]
) -> tuple[str, ...]:
    codes, bias = quantized.codes, node.input(2)
    if bias not in constants or node.inputs[0] not in codes or node.inputs[1] not in codes:
        return inputs
    scale = codes[node.inputs[0]].quantization.scale[0] * np.array(
        codes[node.inputs[1]].quantization.scale
    )
    name = f"{node.name}/bias"
    constants[name] = np.asarray(np.rint(constants[bias] / scale) * scale, np.float32)
    return (*inputs[:2], name)


def on_grid(array: Array, code: Code) -> NDArray[np.float32]:
    """Return the values that a constant's integers stand for."""
    shape = [1] * array.ndim
    if code.quantization.axis is not None:
        shape[code.quantization.axis] = -1
    scale = np.reshape(code.quantization.scale, shape if array.ndim else ())
    point = np.reshape(code.quantization.zero_point, shape if array.ndim else ())
    low = -127 if code.quantization.is_symmetric else -128
    steps = np.clip(np.rint(np.asarray(array, np.float64) / scale) + point, low, 127)
    return np.asarray((steps - point) * scale, np.float32)


def _is_float(graph: Graph, name: str) -> bool:
    spec = graph.values.get(name)
    return bool(name) and spec is not None and spec.dtype is DType.FLOAT32
