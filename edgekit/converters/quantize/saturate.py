"""Ranges without what makes no difference to those that read a tensor.

An int8 Sigmoid has steps of 1/256: beyond +-6.24 its result is the first or the last of them.
In x * sigmoid(x) the product is then 0, whatever x is below that. Tanh has steps of 1/128.
HardSwish is 0 below -3 by itself, HardSigmoid 0 or 1 past its slope, and a ReLU 0 below 0, also
where a Concat lies between it and the layers. What is cut off there leaves finer steps for the
rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgekit.converters.quantize.operators import Role, results, role_of
from edgekit.graph import Graph, Node
from edgekit.ranges import Range

SIGMOID_END = 8.0
"""Past log(511) = 6.24 sigmoid is less than half a step of 1/256 from its end. The margin is for
coarse steps: the last code has to stay past it, or x * sigmoid(x) of all below is not 0."""
HARD_SWISH_END = 3.0
TANH_END = 3.5
"""Past 3.03 tanh is less than half a step of 1/128 from 1."""
_REACH = 1.01
"""A range ends up to half a step of 255 early, where zero gets a code of its own."""
_ALL = (-math.inf, math.inf)
_LIMITS = {
    "Sigmoid": (-SIGMOID_END, SIGMOID_END),
    "Tanh": (-TANH_END, TANH_END),
    "HardSwish": (-HARD_SWISH_END, math.inf),
    "Relu": (0.0, math.inf),
}


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
    leaving = set(graph.output_names)
    limits: dict[str, tuple[float, float]] = {}
    made = [name for node in graph.nodes for name in results(node, graph)]
    for name in (*reversed(made), *graph.input_names):
        users = readers.get(name, ())
        if any(_passes_to(user, leaving, graph) for user in users):
            leaving.add(name)
        if users and name not in leaving and not _ends(users, leaving):
            limits[name] = _limits(name, users, graph, limits)
    return limits


def _passes_to(user: Node, leaving: set[str], graph: Graph) -> bool:
    """Whether what a node reads leaves the model, or goes into floats, with all its values."""
    role = role_of(user, graph)
    moves = role in (Role.MOVE, Role.JOIN) and not leaving.isdisjoint(user.outputs)
    return moves or (role is Role.FLOAT and user.op_type not in _LIMITS)


def _ends(users: Sequence[Node], leaving: set[str]) -> bool:
    """Whether a Sigmoid or Tanh among them leaves: engines compute the last one in float.

    Its small values are scores that a fixed code would not keep.
    """
    return any(
        user.op_type in ("Sigmoid", "Tanh") and not leaving.isdisjoint(user.outputs)
        for user in users
    )


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
    if node.op_type in _LIMITS:
        return _LIMITS[node.op_type]
    if node.op_type == "HardSigmoid":
        slope, middle = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
        return -middle / slope * _REACH, (1 - middle) / slope * _REACH
    if role_of(node, graph) in (Role.MOVE, Role.JOIN):
        each = [known.get(name, _ALL) for name in node.outputs]
        return min(low for low, _ in each), max(high for _, high in each)
    return _ALL
