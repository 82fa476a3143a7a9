"""Ranges without what makes no difference to those that read a tensor.

An int8 Sigmoid has steps of 1/256: beyond +-6.24 its result is the first or the last of them.
In x * sigmoid(x) the product is then 0, whatever x is below that. HardSwish is 0 below -3 by
itself, and a ReLU below 0, also where a Concat lies between it and the layers. What is cut off
there leaves finer steps for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgekit.converters.quantize.operators import Role, results, role_of
from edgekit.graph import Graph, Node
from edgekit.ranges import Range

SIGMOID_END = 8.0
"""Where sigmoid(-x) is half a step of 1/256: 1 / (1 + 511)."""
HARD_SWISH_END = 3.0
_ALL = (-math.inf, math.inf)


def without_saturated(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Return the ranges of tensors, those narrowed whose ends no reader tells apart.

    Args:
        graph: The float model.
        ranges: By tensor name.
    """
    limits = _limits_of_all(graph)
    found = dict(ranges)
    for name, chosen in ranges.items():
        low, high = limits.get(name, _ALL)
        if low > chosen.low or high < chosen.high:
            found[name] = Range(max(chosen.low, low), min(chosen.high, high), chosen.method)
    return found


def _limits_of_all(graph: Graph) -> dict[str, tuple[float, float]]:
    """Return below and above which no reader tells values apart, of tensors that have limits."""
    readers = graph.consumers()
    outputs = set(graph.output_names)
    limits: dict[str, tuple[float, float]] = {}
    for node in reversed(graph.nodes):
        for name in results(node, graph):
            if name not in outputs and readers.get(name):
                limits[name] = _limits(name, readers[name], graph, limits)
    for name in graph.input_names:
        if name not in outputs and readers.get(name):
            limits[name] = _limits(name, readers[name], graph, limits)
    return limits


def _limits(
    name: str,
    readers: Sequence[Node],
    graph: Graph,
    known: Mapping[str, tuple[float, float]],
) -> tuple[float, float]:
    gates = {node.outputs[0] for node in readers if node.op_type == "Sigmoid"}
    if len(gates) < len(readers) and all(
        node.op_type == "Sigmoid"
        or (node.op_type == "Mul" and name in node.inputs and gates & set(node.inputs))
        for node in readers
    ):
        return -SIGMOID_END, math.inf
    each = [_limits_of_reader(node, graph, known) for node in readers]
    return min(low for low, _ in each), max(high for _, high in each)


def _limits_of_reader(
    node: Node, graph: Graph, known: Mapping[str, tuple[float, float]]
) -> tuple[float, float]:
    if node.op_type == "Sigmoid":
        return -SIGMOID_END, SIGMOID_END
    if node.op_type == "HardSwish":
        return -HARD_SWISH_END, math.inf
    if node.op_type == "Relu":
        return 0.0, math.inf
    if role_of(node, graph) in (Role.MOVE, Role.JOIN):
        each = [known.get(name, _ALL) for name in node.outputs]
        return min(low for low, _ in each), max(high for _, high in each)
    return _ALL
