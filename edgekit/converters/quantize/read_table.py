"""Complete the table of a model that another tool quantized.

Tools write a code where their own engine wants one. Others want some more: those that follow
from the codes that are there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.converters.quantize.operators import (
    Role,
    activations,
    interior,
    results,
    role_of,
    weight_axis,
    weight_of,
)
from edgekit.converters.quantize.weights import weight_code
from edgekit.graph import Graph, Node
from edgekit.quantization import Quantization
from edgekit.quantized import Code, QuantizedGraph
from edgekit.tensor import DType

# What they make holds every value that they read, so that its code fits both.
_KEEPS_ALL = frozenset(
    {
        *("Reshape", "Transpose", "Concat", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Tile"),
        *("DepthToSpace", "SpaceToDepth", "Identity"),
    }
)
_MOVES = (Role.MOVE, Role.JOIN)


def tidy(read: QuantizedGraph) -> QuantizedGraph:
    """Return the model with codes that EdgeKit's emitters write.

    Weights: symmetric, along the layer's output channels; others get a new code. Constants of
    elementwise operators: one scale; others stay float.
    """
    graph = read.graph
    codes: dict[str, Code] = {}
    weights: set[str] = set()
    for node in graph.nodes:
        name = weight_of(node, graph) if role_of(node, graph) is Role.LAYER else ""
        if name in read.codes:
            weights.add(name)
            codes[name] = _weight(node, name, read)
    present = {*graph.input_names, *graph.producers(), *graph.initializers}
    for name, code in read.codes.items():
        is_constant = name in graph.initializers
        if name not in present or name in weights:
            continue
        if not (is_constant and code.quantization.is_per_channel):
            codes[name] = code
    return replace(read, codes=codes)


def _weight(node: Node, name: str, read: QuantizedGraph) -> Code:
    code, weight = read.codes[name], read.graph.initializers[name]
    axis = weight_axis(node, weight)
    if code.quantization.is_symmetric and code.quantization.axis in (None, axis):
        return code
    return weight_code(weight, axis)


def complete(read: QuantizedGraph) -> QuantizedGraph:
    """Return the model with the codes that follow, and the nodes that compute in float named."""
    graph = read.graph
    inside = interior(graph)
    codes = {name: code for name, code in read.codes.items() if name not in inside}
    _spread_forward(graph, codes)
    _spread_back(graph, codes)
    _add_branches(graph, codes)
    _spread_back(graph, codes)
    return replace(
        read, codes=codes, float_nodes=read.float_nodes | _float_nodes(graph, codes, inside)
    )


def _spread_forward(graph: Graph, codes: dict[str, Code]) -> None:
    """What only moves a coded tensor keeps its code."""
    for node in graph.nodes:
        names = activations(node, graph)
        own = {codes.get(name) for name in names}
        if role_of(node, graph) in _MOVES and len(own) == 1 and None not in own:
            for name in results(node, graph):
                codes.setdefault(name, codes[names[0]])


def _spread_back(graph: Graph, codes: dict[str, Code]) -> None:
    """What is only moved into a coded tensor has its code: rounding and moving commute."""
    readers = graph.consumers()
    for node in reversed(graph.nodes):
        made = {codes.get(name) for name in results(node, graph)}
        if role_of(node, graph) not in _MOVES or len(made) != 1 or None in made:
            continue
        code = codes[results(node, graph)[0]]
        for name in activations(node, graph):
            alone = len(readers[name]) == 1 and name not in graph.output_names
            if alone or node.op_type in _KEEPS_ALL:
                codes.setdefault(name, code)


def _add_branches(graph: Graph, codes: dict[str, Code]) -> None:
    """Give a code to the float branch of an Add whose other branch and result have one.

    TensorRT's style leaves the branch that a convolution makes in float. Its values count only
    where the sum stays within the result's ends; that is its range.
    """
    readers = graph.consumers()
    for node in graph.nodes:
        names = activations(node, graph)
        if node.op_type != "Add" or len(names) != 2 or len(set(names)) != 2:
            continue
        result = node.outputs[0]
        if result not in codes and [reader.op_type for reader in readers.get(result, ())] == [
            "Relu"
        ]:
            result = readers[result][0].outputs[0]
        known = [name for name in names if name in codes]
        other = next((name for name in names if name not in codes), "")
        if result not in codes or len(known) != 1 or len(readers[other]) != 1:
            continue
        codes[other] = _difference(codes[result], codes[known[0]])


def _difference(total: Code, part: Code) -> Code:
    """Return the code of what can be added to a part to reach a total."""
    (low, high), (part_low, part_high) = _ends(total), _ends(part)
    low, high = min(low - part_high, 0.0), max(high - part_low, 0.0)
    if total.quantization.is_symmetric and part.quantization.is_symmetric:
        scale = float(np.float32(max(-low, high) / 127))
        return Code(DType.INT8, Quantization((scale,), (0,)))
    scale = float(np.float32((high - low) / 255))
    return Code(DType.INT8, Quantization((scale,), (int(np.rint(-128 - low / scale)),)))


def _ends(code: Code) -> tuple[float, float]:
    scale, point = code.quantization.scale[0], code.quantization.zero_point[0]
    return (-128 - point) * scale, (127 - point) * scale


def _float_nodes(graph: Graph, codes: dict[str, Code], inside: frozenset[str]) -> frozenset[str]:
    """Return nodes that lack a code; the last layer may write floats."""
    found: set[str] = set()
    for node in graph.nodes:
        role = role_of(node, graph)
        if role is Role.FLOAT:
            continue
        needed = list(activations(node, graph))
        if role is Role.LAYER:
            needed += [weight_of(node, graph)] if weight_of(node, graph) else []
        else:
            needed += results(node, graph)
        if any(name not in codes and name not in inside for name in needed):
            found.add(node.name)
    return frozenset(found)
