"""Make one operator of two consecutive ones that only move or rename elements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.converters.passes.remove_dead import remove_dead
from edgekit.converters.passes.remove_identities import remove_identities
from edgekit.graph import Graph, Node

_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def merge_moves(graph: Graph) -> Graph:
    """Return the graph with chains of Transposes, and of Reshapes, merged.

    A merged node reads the chain's first input; the nodes before it go when nobody else
    reads them. Pairs that cancel each other go altogether.
    """
    producers = graph.producers()
    nodes: list[Node] = []
    for node in graph.nodes:
        merged = _merge(node, producers, graph)
        nodes.append(merged)
        producers.update(dict.fromkeys(merged.outputs, merged))
    merged_graph = remove_dead(graph.with_nodes(nodes))
    return remove_identities(merged_graph)


def _merge(node: Node, producers: dict[str, Node], graph: Graph) -> Node:
    before = producers.get(node.input(0))
    if before is None or node.domain or before.domain:
        return node
    if node.op_type == before.op_type == "Transpose":
        return _merge_transposes(before, node)
    if node.op_type == "Reshape" and before.op_type in _RESHAPES:
        target = graph.initializers.get(node.input(1))
        # A 0 copies a size from the input, and the input changes.
        if target is not None and np.all(target != 0):
            return replace(node, inputs=(before.inputs[0], *node.inputs[1:]))
    return node


def _merge_transposes(first: Node, second: Node) -> Node:
    outer = second.attribute("perm", ())
    inner = first.attribute("perm", ())
    if not inner or len(inner) != len(outer):
        return second
    perm = tuple(inner[axis] for axis in outer)
    return replace(second, inputs=first.inputs, attributes={"perm": perm})
