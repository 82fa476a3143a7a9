"""Where the Q/DQ pairs of a target lie: what decides how fast it runs.

To add a placement: a function here, one line in ``PLACEMENTS``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from edgekit.converters.quantize.operators import (
    Role,
    activations,
    constant_operands,
    interior,
    results,
    role_of,
    weight_of,
)
from edgekit.graph import Graph, Node
from edgekit.quantized import QuantizedGraph

# Operators that ONNX Runtime's CPU provider computes in integers, or moves them through.
_ONNX_RUNTIME = frozenset(
    {
        *("Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool"),
        *("LeakyRelu", "Sigmoid", "MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze"),
        *("Flatten", "Gather", "Slice", "Split", "Resize", "Expand", "DepthToSpace"),
    }
)
# OpenVINO's kernels take integers there at no cost, and what follows reads fewer bytes.
_OPENVINO_INPUTS = frozenset({"AveragePool", "GlobalAveragePool", "Resize"})


@dataclass(frozen=True)
class Placement:
    """Where pairs lie.

    Args:
        pairs: By tensor name, the names of the nodes that read it through a pair; None for all
            of them, and for the caller where it is an output.
        layers: Names of the nodes whose weights (and bias) are integers.
        constants: Float constants that become integers beside the weights.
        signed: Tensors whose pair is int8 although the scheme writes uint8.
    """

    pairs: Mapping[str, frozenset[str] | None]
    layers: frozenset[str]
    constants: frozenset[str] = frozenset()
    signed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class View:
    """A quantized graph as a placement looks at it."""

    graph: Graph
    roles: Mapping[str, Role]
    coded: frozenset[str]
    producers: Mapping[str, Node]

    def is_layer(self, node: Node) -> bool:
        """Whether the node is a layer all of whose operands have codes."""
        if self.roles.get(node.name) is not Role.LAYER:
            return False
        weight = weight_of(node, self.graph)
        names = (*activations(node, self.graph), *((weight,) if weight else ()))
        return all(name in self.coded for name in names)


def view_of(quantized: QuantizedGraph) -> View:
    """Return the integer nodes of a quantized graph and their roles."""
    graph = quantized.graph
    roles = {
        node.name: role_of(node, graph)
        for node in graph.nodes
        if node.name not in quantized.float_nodes
    }
    return View(
        graph,
        {name: role for name, role in roles.items() if role is not Role.FLOAT},
        frozenset(quantized.codes),
        graph.producers(),
    )


def flow(view: View) -> Placement:
    """OpenVINO: one pair where integers begin, as far before the layer as they stay exact.

    A layer's input that only moves integers (MaxPool, Concat, nearest Resize, Transpose...)
    gets its pair in front of the moving operators, so that they move bytes and not floats.
    What follows a layer (activation, SiLU) is fused into it in float. A residual Add reads
    integers where it also writes them, which halves the traffic of its branches. Where a Mul
    reads what is pooled as well (squeeze and excite), the pool gets no pair: it would make the
    Mul read integers too (measured on PP-OCR cls: 1.04 times the latency).

    Operands that are multiplied with each other are int8 with zero point 0: with any other code
    OpenVINO multiplies in float. Elsewhere uint8, even for zero point 0: OpenVINO 2026.4 reads
    int8 behind a ReLU or in a Concat wrongly (measured on a U-Net: 7 dB, uint8: 20 dB).
    """
    found: set[str] = set()
    layers: set[str] = set()
    readers = view.graph.consumers()
    for node in view.graph.nodes:
        if view.is_layer(node):
            layers.add(node.name)
        elif not _reads_integers(node, view, readers):
            continue
        for name in activations(node, view.graph):
            found.update(_sources(name, view))
    found |= _residual_sources(view, found)
    pairs: dict[str, frozenset[str] | None] = dict.fromkeys(found)
    constants = {
        name
        for node in view.graph.nodes
        if view.roles.get(node.name) is Role.JOIN
        for name in constant_operands(node, view.graph)
        if name in view.coded
    }
    signed = {
        source
        for node in view.graph.nodes
        if node.name in layers and len(names := activations(node, view.graph)) == 2
        for name in names
        for source in _sources(name, view)
    }
    return Placement(pairs, frozenset(layers), frozenset(constants), frozenset(signed))


def _reads_integers(node: Node, view: View, readers: Mapping[str, Sequence[Node]]) -> bool:
    """Whether OpenVINO gains from integers in front of an operator that is no layer."""
    if node.op_type == "GlobalAveragePool" and len(readers[node.inputs[0]]) > 1:
        return False
    return node.op_type in _OPENVINO_INPUTS and node.name in view.roles


def everywhere(view: View) -> Placement:
    """ONNX Runtime: pairs on both sides of every operator that has an integer kernel.

    What comes after the last layer (pooling, Sigmoid, decoding of boxes) computes in float: it
    costs little there and writes the outputs, whose small values no code would keep.
    """
    graph = view.graph
    leading = _leading_to_layers(view)
    inside = interior(graph)
    readers = graph.consumers()
    pairs: dict[str, frozenset[str] | None] = {}
    layers: set[str] = set()
    constants: set[str] = set()
    for node in graph.nodes:
        role = view.roles.get(node.name)
        if role is None or node.op_type not in _ONNX_RUNTIME or node.name not in leading:
            continue
        if role is Role.LAYER:
            if not view.is_layer(node):
                continue
            layers.add(node.name)
        wanted = [*activations(node, graph)]
        if inside.isdisjoint(node.inputs):
            # Not the bias behind a MatMul: nothing rounds what it is added to.
            constants.update(name for name in constant_operands(node, graph) if name in view.coded)
        # These write floats from integers as fast; an output loses nothing then.
        if node.op_type not in ("Gemm", "MatMul"):
            wanted += [_fused_result(name, inside, readers) for name in results(node, graph)]
        pairs.update(dict.fromkeys(name for name in wanted if name in view.coded))
    return Placement(pairs, frozenset(layers), frozenset(constants))


def inputs(view: View) -> Placement:
    """TensorRT: pairs at the inputs of layers only, and on the skip branch of a residual Add.

    Source: TensorRT developer guide, "Q/DQ layer-placement recommendations".
    """
    pairs: dict[str, set[str]] = {}
    layers: set[str] = set()
    for node in view.graph.nodes:
        if view.is_layer(node):
            layers.add(node.name)
            for name in activations(node, view.graph):
                pairs.setdefault(name, set()).add(node.name)
        elif node.op_type == "Add" and node.name in view.roles:
            skip = _skip_branch(node, view)
            if skip in view.coded:
                pairs.setdefault(skip, set()).add(node.name)
    return Placement(
        {name: frozenset(readers) for name, readers in pairs.items()}, frozenset(layers)
    )


def weights(view: View) -> Placement:
    """Weight-only: no activation is touched."""
    return Placement(
        {},
        frozenset(
            node.name for node in view.graph.nodes if weight_of(node, view.graph) in view.coded
        ),
    )


PLACEMENTS: dict[str, Callable[[View], Placement]] = {
    "flow": flow,
    "everywhere": everywhere,
    "inputs": inputs,
    "weights": weights,
}


def _leading_to_layers(view: View) -> set[str]:
    """Return names of the layers, and of the nodes whose results reach one."""
    needed: set[str] = set()
    names: set[str] = set()
    for node in reversed(view.graph.nodes):
        if view.is_layer(node) or needed.intersection(node.outputs):
            names.add(node.name)
            needed.update(node.inputs)
    return names


def _residual_sources(view: View, found: set[str]) -> set[str]:
    """Return where integers begin for each Add whose own result becomes integers."""
    inside = interior(view.graph)
    readers = view.graph.consumers()
    sources: set[str] = set()
    for node in view.graph.nodes:
        if node.op_type != "Add" or node.name not in view.roles:
            continue
        result = _fused_result(node.outputs[0], inside, readers)
        names = activations(node, view.graph)
        if result in found and len(names) == 2:
            for name in names:
                sources.update(_sources(name, view))
    return sources


def _fused_result(name: str, inside: Collection[str], readers: Mapping[str, Sequence[Node]]) -> str:
    """Return what a kernel writes in place of a tensor inside it: Conv, Relu -> Relu's."""
    while name in inside:
        name = readers[name][0].outputs[0]
    return name


def _sources(name: str, view: View) -> list[str]:
    """Return the tensors where integers begin whose moving makes this one."""
    found: list[str] = []
    waiting, seen = [name], set()
    while waiting:
        tensor = waiting.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        maker = view.producers.get(tensor)
        role = None if maker is None else view.roles.get(maker.name)
        if maker is not None and role in (Role.MOVE, Role.JOIN):
            waiting += activations(maker, view.graph)
        elif tensor in view.coded:
            found.append(tensor)
    return found


def _skip_branch(add: Node, view: View) -> str:
    """Return the operand of a residual Add that no layer makes for it alone, or ``""``.

    Where layers make both, the later one fuses with the Add and the other is the skip branch.
    """
    names = activations(add, view.graph)
    if len(names) != 2 or names[0] == names[1]:
        return ""
    order = {node.name: index for index, node in enumerate(view.graph.nodes)}
    readers = view.graph.consumers()
    fused = [
        name
        for name in names
        if (maker := view.producers.get(name)) is not None
        and view.is_layer(maker)
        and len(readers[name]) == 1
    ]
    if not fused:
        return ""
    main = max(fused, key=lambda name: order[view.producers[name].name])
    return next(name for name in names if name != main)
