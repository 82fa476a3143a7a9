"""Write a Sum of many tensors as Adds of two, each of which has a range and an integer kernel."""

from __future__ import annotations

from dataclasses import replace

from edgekit.graph import Graph, Node
from edgekit.tensor import TensorSpec


def split_sums(graph: Graph) -> Graph:
    """Return the graph with every Sum as Adds, from left to right as Sum adds."""
    nodes: list[Node] = []
    values: dict[str, TensorSpec] = dict(graph.values)
    for node in graph.nodes:
        spec = values.get(node.outputs[0])
        shapes = {_shape(name, graph) for name in node.inputs}
        # Of one shape each part sum has it too; what broadcasts is left as it is.
        is_plain = spec is not None and shapes == {spec.shape} and len(node.inputs) > 1
        if node.op_type != "Sum" or node.domain or spec is None or not is_plain:
            nodes.append(node)
            continue
        total = node.inputs[0]
        for index, name in enumerate(node.inputs[1:-1], 1):
            part = f"{node.outputs[0]}/part{index}"
            while part in values:
                part += "_"
            values[part] = replace(spec, name=part)
            nodes.append(Node("Add", (total, name), (part,), {}, name=f"{node.name}/part{index}"))
            total = part
        nodes.append(replace(node, op_type="Add", inputs=(total, node.inputs[-1])))
    if all(new is old for new, old in zip(nodes, graph.nodes, strict=False)):
        return graph
    return replace(graph.with_nodes(nodes), values=values)


def _shape(name: str, graph: Graph) -> tuple[int | str, ...] | None:
    if name in graph.initializers:
        return graph.initializers[name].shape
    spec = graph.values.get(name)
    return None if spec is None else spec.shape
