"""Ranges without what makes no difference to those that read a tensor.

An int8 Sigmoid has steps of 1/256: beyond +-6.24 its result is the first or the last of them.
In x * sigmoid(x) the product is then 0, whatever x is below that. HardSwish is 0 below -3 by
itself. What is cut off there leaves finer steps for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgekit.graph import Graph, Node
from edgekit.ranges import Range

SIGMOID_END = 8.0
"""Where sigmoid(-x) is half a step of 1/256: 1 / (1 + 511)."""
HARD_SWISH_END = 3.0


def without_saturated(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Return the ranges of tensors, those narrowed whose ends no reader tells apart.

    Args:
        graph: The float model.
        ranges: By tensor name.
    """
    readers = graph.consumers()
    outputs = set(graph.output_names)
    found = dict(ranges)
    for name, chosen in ranges.items():
        if name in outputs or not readers.get(name):
            continue
        low, high = _limits(name, readers[name])
        if low > chosen.low or high < chosen.high:
            found[name] = Range(max(chosen.low, low), min(chosen.high, high), chosen.method)
    return found


def _limits(name: str, readers: Sequence[Node]) -> tuple[float, float]:
    """Return below and above which no reader tells values apart."""
    kinds = {node.op_type for node in readers}
    if kinds == {"Sigmoid"}:
        return -SIGMOID_END, SIGMOID_END
    if kinds == {"HardSwish"}:
        return -HARD_SWISH_END, math.inf
    gates = {node.outputs[0] for node in readers if node.op_type == "Sigmoid"}
    if gates and all(
        node.op_type == "Sigmoid"
        or (node.op_type == "Mul" and name in node.inputs and gates & set(node.inputs))
        for node in readers
    ):
        return -SIGMOID_END, math.inf
    return -math.inf, math.inf
