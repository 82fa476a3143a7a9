"""Drop operators whose results nobody reads."""

from __future__ import annotations

from edgekit.graph import Graph, captured_names


def remove_dead(graph: Graph) -> Graph:
    """Return the graph without nodes, constants and types that no output depends on."""
    wanted = set(graph.output_names)
    kept = []
    for node in reversed(graph.nodes):
        if wanted.isdisjoint(node.outputs):
            continue
        kept.append(node)
        wanted.update(node.inputs)
        wanted.update(captured_names(node))
    return graph.with_nodes(reversed(kept))
