"""Find the operator where two ways of running one graph part, in about log2(nodes) runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from edgekit.errors import ModelError
from edgekit.graph import Graph, Node, captured_names

Parts = Callable[[str], bool]
"""Whether the two ways differ at the tensor of that name."""


def truncate(graph: Graph, names: Iterable[str]) -> Graph:
    """Return the part of the graph that computes these tensors, which become its outputs.

    All inputs stay, so that the same feed runs every truncation.

    Raises:
        ModelError: A tensor is not computed by the graph, or its type is not known.
    """
    wanted = tuple(names)
    for name in wanted:
        if name not in graph.values:
            raise ModelError(f"the type of tensor {name!r} is not known; it cannot be an output")
    producers = graph.producers()
    needed = {id(producers[name]) for name in wanted}
    pending = [producers[name] for name in wanted]
    while pending:
        for parent in _parents(pending.pop(), producers):
            if id(parent) not in needed:
                needed.add(id(parent))
                pending.append(parent)
    part = replace(graph, outputs=tuple(graph.values[name] for name in wanted))
    return part.with_nodes(node for node in graph.nodes if id(node) in needed)


def first_parting(graph: Graph, output: str, *, parts: Parts, probed: Iterable[str]) -> Node | None:
    """Return the first node whose result differs, given that ``output`` differs.

    A tensor that agrees clears all that it was computed from, as a good commit clears
    its ancestors in ``git bisect``: branches that the fault does not touch cost nothing.

    Args:
        graph: The graph, nodes in topological order.
        output: Name of a tensor that is known to differ.
        parts: Asked for one tensor at a time.
        probed: Tensors that may be asked for (both ways know them, and they are float).

    Returns:
        The node that makes the earliest differing tensor among ``probed``; None where
        ``output`` is no result of a node.
    """
    producers = graph.producers()
    if output not in producers:
        return None
    order = {name: index for index, name in enumerate(producers)}
    above = _ancestors(graph)
    bad = output
    suspects = {name for name in probed if name in above[output]}
    while suspects:
        # Near the middle in topological order; each answer removes about half.
        ranked = sorted(suspects, key=lambda name: order[name])
        middle = ranked[len(ranked) // 2]
        if parts(middle):
            bad = middle
            suspects &= above[middle]
        else:
            suspects -= {middle, *above[middle]}
    return producers[bad]


def _ancestors(graph: Graph) -> dict[str, set[str]]:
    """Return, for each computed tensor, all computed tensors that it depends on."""
    producers = graph.producers()
    above: dict[str, set[str]] = {}
    for node in graph.nodes:
        names: set[str] = set()
        for name in (*node.inputs, *captured_names(node)):
            if name in producers:
                names |= {name, *above[name]}
        above.update({name: names for name in node.outputs if name})
    return above


def _parents(node: Node, producers: dict[str, Node]) -> list[Node]:
    return [producers[name] for name in (*node.inputs, *captured_names(node)) if name in producers]
