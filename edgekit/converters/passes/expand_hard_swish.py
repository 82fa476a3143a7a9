"""Write HardSwish as x * HardSigmoid(x), for parsers that do not have it.

Source: ONNX operator HardSwish-14, which defines it so.
"""

from __future__ import annotations

from dataclasses import replace

from edgekit.graph import Graph, Node
from edgekit.tensor import TensorSpec


def expand_hard_swish(graph: Graph) -> Graph:
    """Return the graph without HardSwish."""
    nodes: list[Node] = []
    values: dict[str, TensorSpec] = dict(graph.values)
    for node in graph.nodes:
        if node.op_type != "HardSwish" or node.domain:
            nodes.append(node)
            continue
        source, output = node.inputs[0], node.outputs[0]
        gate = f"{output}/gate"
        while gate in values:
            gate += "_"
        spec = values.get(source) or values.get(output)
        if spec is not None:
            values[gate] = replace(spec, name=gate)
        slope = {"alpha": 1 / 6, "beta": 0.5}
        nodes.append(Node("HardSigmoid", (source,), (gate,), slope, name=f"{node.name}/gate"))
        nodes.append(replace(node, op_type="Mul", inputs=(source, gate), attributes={}))
    if len(nodes) == len(graph.nodes):
        return graph
    return replace(graph.with_nodes(nodes), values=values)
