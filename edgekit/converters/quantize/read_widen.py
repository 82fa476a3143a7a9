"""Float32 in place of float16: the table is of a float32 graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgekit.converters.quantize.read_codes import refusal
from edgekit.graph import Graph, Node
from edgekit.tensor import DType, TensorSpec

_FLOAT, _FLOAT16 = 1, 10  # TensorProto.DataType


def widened(graph: Graph) -> Graph:
    """Return the graph with float32 in place of float16; the caller's tensors keep their type.

    Raises:
        UnsupportedOperatorError: An input or output is float16.
    """
    half = np.dtype(np.float16)
    typed = {spec.name for spec in graph.values.values() if spec.dtype is DType.FLOAT16}
    if not typed and not any(value.dtype == half for value in graph.initializers.values()):
        return graph
    borders = [*graph.inputs, *graph.outputs]
    for spec in borders:
        if spec.dtype is DType.FLOAT16:
            node = next(node for node in graph.nodes if spec.name in (*node.inputs, *node.outputs))
            raise refusal(node, f"{spec.name!r} is float16; inputs and outputs must be float32")
    constants = {
        name: value.astype(np.float32) if value.dtype == half else value
        for name, value in graph.initializers.items()
    }
    nodes = [_widened_node(node) for node in graph.nodes]
    values: Mapping[str, TensorSpec] = {
        name: replace(spec, dtype=DType.FLOAT32) if name in typed else spec
        for name, spec in graph.values.items()
    }
    return replace(graph, values=values).with_nodes(nodes, initializers=constants)


def _widened_node(node: Node) -> Node:
    changed = dict(node.attributes)
    if node.op_type == "Cast" and changed.get("to") == _FLOAT16:
        changed["to"] = _FLOAT
    for key, value in node.attributes.items():
        if isinstance(value, np.ndarray) and value.dtype == np.float16:
            changed[key] = value.astype(np.float32)
    return replace(node, attributes=changed)
