"""Renaming tensors across a graph and the graphs nested in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from edgekit.graph import Attribute, Graph, Node


def renamed(nodes: Iterable[Node], names: Mapping[str, str]) -> Iterator[Node]:
    """Yield the nodes with tensors renamed, in nested graphs too.

    Args:
        nodes: Any nodes.
        names: Old name to new name; chains (a to b, b to c) are followed.
    """
    final = {old: _resolve(old, names) for old in names}
    for node in nodes:
        yield _rename(node, final) if final else node


def bypassed(graph: Graph, removed: Mapping[str, tuple[str, str]]) -> Graph:
    """Return the graph without some nodes whose output equals one of their inputs.

    A graph output keeps its name: the producer takes it over. Where that cannot be (the
    input is a graph input, a constant, or itself an output) the node stays.

    Args:
        graph: The model.
        removed: By node name: (input that stands for the output, output).
    """
    fixed = {*graph.input_names, *graph.initializers, *graph.output_names}
    names: dict[str, str] = {}
    dropped: set[str] = set()
    for node, (source, result) in removed.items():
        if result not in graph.output_names:
            names[result] = source
            dropped.add(node)
            continue
        root = _resolve(source, names)
        if root not in fixed and root not in names:
            names[root] = result
            fixed.add(result)
            dropped.add(node)
    if not dropped:
        return graph
    kept = [node for node in graph.nodes if node.name not in dropped]
    return graph.with_nodes(renamed(kept, names))


def _resolve(name: str, names: Mapping[str, str]) -> str:
    while name in names:
        name = names[name]
    return name


def _rename(node: Node, names: Mapping[str, str]) -> Node:
    attributes: dict[str, Attribute] = {
        key: _rename_inside(value, names) if isinstance(value, Graph) else value
        for key, value in node.attributes.items()
    }
    return replace(
        node,
        inputs=tuple(names.get(name, name) for name in node.inputs),
        outputs=tuple(names.get(name, name) for name in node.outputs),
        attributes=attributes,
    )


def _rename_inside(graph: Graph, names: Mapping[str, str]) -> Graph:
    own = {*graph.input_names, *graph.initializers}
    own.update(name for node in graph.nodes for name in node.outputs)
    outer = {old: new for old, new in names.items() if old not in own}
    if not outer:
        return graph
    return replace(
        graph,
        nodes=tuple(_rename(node, outer) for node in graph.nodes),
        outputs=tuple(
            replace(spec, name=outer.get(spec.name, spec.name)) for spec in graph.outputs
        ),
    )
