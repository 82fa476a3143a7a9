"""A graph as layers that go back to float one by one, and how much each computes."""

from __future__ import annotations

import math

from edgekit.calibration.sensitivity import Layer
from edgekit.converters.quantize.operators import (
    Role,
    activations,
    interior,
    role_of,
    weight_axis,
    weight_of,
)
from edgekit.graph import Graph, Node
from edgekit.quantized import QuantizedGraph

# What only moves integers follows its neighbours.
_UNITS = (Role.LAYER, Role.MIX, Role.MAP, Role.JOIN, Role.BLEND)


def integer_units(quantized: QuantizedGraph) -> tuple[Layer, ...]:
    """Return the layers that are integers, in order; a fused activation is part of its layer."""
    graph = quantized.graph
    inside, readers = interior(graph), graph.consumers()
    taken: set[str] = set()
    units: list[Layer] = []
    for node in graph.nodes:
        if node.name in taken or not is_integer(node, quantized):
            continue
        chain = [node]
        while chain[-1].outputs[0] in inside and readers.get(chain[-1].outputs[0]):
            chain.append(readers[chain[-1].outputs[0]][0])
        taken.update(item.name for item in chain)
        weight = graph.initializers.get(weight_of(node, graph))
        units.append(
            Layer(
                name=node.name,
                nodes=tuple(item.name for item in chain),
                op_type=node.op_type,
                work=work_of(node, graph),
                weights=0 if weight is None else int(weight.size),
            )
        )
    return tuple(units)


def is_integer(node: Node, quantized: QuantizedGraph) -> bool:
    """Whether the node is one that computes, and does so in integers."""
    graph = quantized.graph
    role = role_of(node, graph)
    if role not in _UNITS or node.name in quantized.float_nodes:
        return False
    if role is Role.LAYER and weight_of(node, graph):
        return weight_of(node, graph) in quantized.codes
    return any(name in quantized.codes for name in activations(node, graph))


def integer_share(quantized: QuantizedGraph) -> float:
    """Return the share of the multiplications that are integers, 0 to 1."""
    graph = quantized.graph
    total = integers = 0
    for node in graph.nodes:
        if role_of(node, graph) is Role.LAYER:
            work = work_of(node, graph)
            total += work
            integers += work if is_integer(node, quantized) else 0
    return integers / total if total else 0.0


def work_of(node: Node, graph: Graph) -> int:
    """Return the multiplications of one run; of what multiplies none, the elements written.

    A dynamic size counts as one.
    """
    written = sum(_elements(name, graph) for name in node.outputs if name)
    if role_of(node, graph) is not Role.LAYER:
        return written
    weight = graph.initializers.get(weight_of(node, graph))
    if weight is None:
        spec = graph.values.get(node.inputs[0])
        last = spec.shape[-1] if spec is not None and spec.shape else 1
        return written * (last if isinstance(last, int) else 1)
    if node.op_type == "ConvTranspose":
        return _elements(node.inputs[0], graph) * int(weight.size) // int(weight.shape[0])
    axis = weight_axis(node, weight)
    channels = int(weight.shape[-1 if axis is None else axis])
    return written * int(weight.size) // max(channels, 1)


def _elements(name: str, graph: Graph) -> int:
    spec = graph.values.get(name)
    if spec is None or spec.shape is None:
        return 1
    return math.prod(dim for dim in spec.shape if isinstance(dim, int))
