"""Name an average over the whole picture for what it is, so that its mean has a code of its own.

An AveragePool's integers stay in their input's code: a kernel averages them and no more. The mean
over a whole picture is many times smaller than the largest pixel (behind a ReLU most are 0), so
that few of the 256 steps are left for it. GlobalAveragePool is a kernel that writes another code.
"""

from __future__ import annotations

from dataclasses import replace

from edgekit.graph import Graph, Node


def name_whole_pools(graph: Graph) -> Graph:
    """Return the graph with each AveragePool of one window as a GlobalAveragePool.

    Args:
        graph: Simplified; where a size is not fixed the pool stays as it is.
    """
    nodes = [_named(node, graph) for node in graph.nodes]
    if all(new is old for new, old in zip(nodes, graph.nodes, strict=True)):
        return graph
    return graph.with_nodes(nodes)


def _named(node: Node, graph: Graph) -> Node:
    if node.op_type != "AveragePool" or node.domain:
        return node
    spec = graph.values.get(node.inputs[0])
    shape = None if spec is None else spec.shape
    kernel: tuple[int, ...] = node.attribute("kernel_shape", ())
    if shape is None or kernel != shape[2:] or _is_spread(node):
        return node
    return replace(node, op_type="GlobalAveragePool", attributes={})


def _is_spread(node: Node) -> bool:
    """Whether the window reaches over padding, or over more than its own size."""
    pads: tuple[int, ...] = node.attribute("pads", ())
    dilations: tuple[int, ...] = node.attribute("dilations", ())
    is_auto = node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return is_auto or any(pads) or any(step != 1 for step in dilations)
