"""ONNX idioms that TFLite has one operator for, replaced before lowering."""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgekit.graph import Graph, Node


def fuse_patterns(graph: Graph) -> Graph:
    """Return the graph with Gelu spelled in pieces replaced by one Gelu node."""
    producers, consumers = graph.producers(), graph.consumers()
    replaced: dict[str, Node] = {}
    for node in graph.nodes:
        if node.op_type != "Erf":
            continue
        found = _match_gelu(graph, node, producers, consumers)
        if found is not None:
            source, last = found
            replaced[last.name] = Node(
                "Gelu", (source,), last.outputs, {"approximate": "none"}, f"{last.name}/gelu"
            )
    if not replaced:
        return graph
    return graph.with_nodes(replaced.get(node.name, node) for node in graph.nodes)


def _scalar(graph: Graph, name: str) -> float | None:
    value = graph.initializers.get(name)
    return float(value.reshape(())) if value is not None and value.size == 1 else None


def _other(graph: Graph, node: Node, name: str) -> tuple[str, float | None]:
    """Return the operand beside ``name`` and its value where it is one constant number."""
    other = node.inputs[1] if node.inputs[0] == name else node.inputs[0]
    return other, _scalar(graph, other)


def _near(value: float | None, wanted: float) -> bool:
    return value is not None and math.isclose(value, wanted, rel_tol=1e-4)


def _match_gelu(
    graph: Graph, erf: Node, producers: Mapping[str, Node], consumers: Mapping[str, list[Node]]
) -> tuple[str, Node] | None:
    """Return x and the last node of x * 0.5 * (1 + erf(x / sqrt 2)), factors in any order."""
    scale = producers.get(erf.inputs[0])
    if scale is None or scale.op_type not in ("Div", "Mul"):
        return None
    divides = scale.op_type == "Div"
    if divides:
        source, factor = scale.inputs[0], _scalar(graph, scale.inputs[1])
    else:
        constant = scale.inputs[1] if _scalar(graph, scale.inputs[1]) else scale.inputs[0]
        source, factor = _other(graph, scale, constant)[0], _scalar(graph, constant)
    if not _near(factor, math.sqrt(2) if divides else math.sqrt(0.5)):
        return None
    add = _only_reader(graph, erf.outputs[0], consumers)
    if add is None or add.op_type != "Add" or not _near(_other(graph, add, erf.outputs[0])[1], 1.0):
        return None
    return _match_product(graph, source, add, producers, consumers)


def _match_product(
    graph: Graph,
    source: str,
    node: Node,
    producers: Mapping[str, Node],
    consumers: Mapping[str, list[Node]],
) -> tuple[str, Node] | None:
    """Follow the multiplications by x and by 0.5, either first, or by 0.5 x at once."""
    seen_source = seen_half = False
    while not (seen_source and seen_half):
        result = node.outputs[0]
        reader = _only_reader(graph, result, consumers)
        if reader is None or reader.op_type not in ("Mul", "Div"):
            return None
        other, value = _other(graph, reader, result)
        halves = _near(value, 0.5) if reader.op_type == "Mul" else _near(value, 2.0)
        if halves and not seen_half and (reader.op_type == "Mul" or reader.inputs[0] == result):
            seen_half = True
        elif reader.op_type == "Mul" and other == source and not seen_source:
            seen_source = True
        elif reader.op_type == "Mul" and _is_half_of(graph, other, source, producers):
            if seen_source or seen_half:
                return None
            seen_source = seen_half = True
        else:
            return None
        node = reader
    return source, node


def _is_half_of(graph: Graph, name: str, source: str, producers: Mapping[str, Node]) -> bool:
    node = producers.get(name)
    if node is None or node.op_type != "Mul" or source not in node.inputs:
        return False
    return _near(_other(graph, node, source)[1], 0.5)


def _only_reader(graph: Graph, name: str, consumers: Mapping[str, list[Node]]) -> Node | None:
    readers = consumers.get(name, [])
    return readers[0] if len(readers) == 1 and name not in graph.output_names else None
