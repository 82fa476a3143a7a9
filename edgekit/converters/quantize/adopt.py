"""Take the constants of a graph that was fixed as a whole into one with some layers in float."""

from __future__ import annotations

from dataclasses import replace

from edgekit.graph import Node
from edgekit.quantized import QuantizedGraph


def adopt_constants(made: QuantizedGraph, fixed: QuantizedGraph) -> QuantizedGraph:
    """Return a graph whose integer layers have the weights and biases of another."""
    graph, other = made.graph, fixed.graph
    # A corrected bias has another name there.
    names = [
        name for name in made.codes if name in graph.initializers and name in other.initializers
    ]
    weights = {n: other.initializers[n] for n in names if fixed.codes.get(n) == made.codes[n]}
    constants = {**graph.initializers, **weights}
    makers, theirs = graph.producers(), {node.name: node for node in other.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        new = theirs.get(node.name, node)
        layer = node
        if node.op_type == "Add":  # the bias of a MatMul
            found = (makers.get(name) for name in node.inputs)
            layer = next((item for item in found if item and item.op_type == "MatMul"), node)
        if new.inputs == node.inputs or layer.input(1) not in made.codes:
            nodes.append(node)
            continue
        nodes.append(new)
        added = set(new.inputs) - set(node.inputs)
        constants.update({name: other.initializers[name] for name in added if name})
    return replace(made, graph=graph.with_nodes(nodes, initializers=constants))
