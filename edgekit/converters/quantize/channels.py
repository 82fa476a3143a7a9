"""Which channels of which tensors must be scaled alike, and where a scale can come from.

A channel that is divided by s has to be divided in all tensors that hold it: a Concat lists it
again, an Add ties two of them, pooling and Resize pass it on. It begins at a layer, whose
weights and bias take the division, or at a SiLU behind one; it ends at layers, whose weights
take the product. What does anything else with a channel pins it: s = 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekit.converters.quantize.operators import Role, role_of
from edgekit.graph import Graph, Node, captured_names

Ids = NDArray[np.int64]

COMMUTES = frozenset(
    {
        *("Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool"),
        *("GlobalMaxPool", "Identity", "Resize"),
    }
)
"""What a positive factor per channel passes through."""


@dataclass(frozen=True)
class Gate:
    """A layer whose result x goes into x * sigmoid(x), and nowhere else.

    Args:
        layer: The convolution that makes x.
        sigmoid: Of x.
        product: Of both.
    """

    layer: Node
    sigmoid: Node
    product: Node


@dataclass
class Channels:
    """The channels of a graph.

    Attributes:
        ids: By tensor name, a number for each channel; equal numbers after ``roots`` are
            scaled alike.
        gates: By the name of the tensor that a gate makes.
        makers: By the name of the tensor that it makes, a layer that takes a division itself.
        readers: Layers that can take a product up.
    """

    ids: dict[str, Ids] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)
    makers: dict[str, Node] = field(default_factory=dict)
    readers: list[Node] = field(default_factory=list)
    _parents: list[int] = field(default_factory=list)
    _pinned: list[int] = field(default_factory=list)

    def roots(self, name: str) -> Ids:
        """Return, for each channel of a tensor, the number of those that are scaled alike."""
        return np.array([self._find(int(item)) for item in self.ids[name]], np.int64)

    @property
    def pinned(self) -> frozenset[int]:
        """Numbers, as in ``roots``, of channels that nothing may scale."""
        return frozenset(map(self._find, self._pinned))

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return len(self._parents)

    def begin(self, name: str, size: int) -> None:
        """Give a tensor channels of its own."""
        start = len(self._parents)
        self._parents += range(start, start + size)
        self.ids[name] = np.arange(start, start + size)

    def pin(self, name: str) -> None:
        """Keep a tensor's channels as they are; one that is not known is left alone."""
        if name in self.ids:
            self._pinned += map(int, self.ids[name])

    def tie(self, one: Ids, other: Ids) -> None:
        """Scale channels of two tensors alike."""
        for first, second in zip(one, other, strict=True):
            low, high = sorted((self._find(int(first)), self._find(int(second))))
            self._parents[high] = low

    def _find(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number


def find_channels(graph: Graph) -> Channels:
    """Return the channels of a graph, and what can scale them."""
    found = Channels()
    readers = graph.consumers()
    gates = _gates(graph, readers)
    inside = {gate.layer.outputs[0] for gate in gates.values()}
    for node in graph.nodes:
        gate = gates.get(node.outputs[0])
        if gate is not None:
            found.gates[node.outputs[0]] = gate
            found.begin(node.outputs[0], _outputs(gate.layer, graph))
        elif not _is_inside(node, gates):
            _pass_on(node, graph, found, readers, inside)
    for name in graph.output_names:
        found.pin(name)
    return found


def is_convolution(node: Node, graph: Graph, readers: Mapping[str, Sequence[Node]]) -> bool:
    """Whether a node is a convolution with constants of its own."""
    if node.op_type != "Conv" or role_of(node, graph) is not Role.LAYER:
        return False
    return all(
        len(readers[name]) == 1 and name in graph.initializers for name in node.inputs[1:] if name
    )


def _is_inside(node: Node, gates: Mapping[str, Gate]) -> bool:
    return any(node is gate.sigmoid for gate in gates.values())


def _gates(graph: Graph, readers: Mapping[str, Sequence[Node]]) -> dict[str, Gate]:
    """Return the SiLUs behind convolutions, by the name of their result."""
    makers = graph.producers()
    found: dict[str, Gate] = {}
    for node in graph.nodes:
        if node.op_type != "Mul":
            continue
        for name, other in (node.inputs, node.inputs[::-1]):
            sigmoid, layer = makers.get(other), makers.get(name)
            if (
                sigmoid is not None
                and layer is not None
                and sigmoid.op_type == "Sigmoid"
                and sigmoid.inputs[0] == name
                and is_convolution(layer, graph, readers)
                and {id(item) for item in readers[name]} == {id(sigmoid), id(node)}
                and len(readers[other]) == 1
                and not {name, other} & set(graph.output_names)
            ):
                found[node.outputs[0]] = Gate(layer, sigmoid, node)
    return found


def _outputs(node: Node, graph: Graph) -> int:
    return int(graph.initializers[node.inputs[1]].shape[0])


def _pass_on(
    node: Node,
    graph: Graph,
    found: Channels,
    readers: Mapping[str, Sequence[Node]],
    inside: set[str],
) -> None:
    """Tell what a node makes of the channels that it reads."""
    name, made = node.input(0), node.outputs[0]
    known = [found.ids[item] for item in node.inputs if item in found.ids]
    if is_convolution(node, graph, readers):
        if name in found.ids:
            found.readers.append(node)
        if made not in inside:
            found.makers[made] = node
            found.begin(made, _outputs(node, graph))
    elif len(known) == 1 and _commutes(node, graph, known[0].size):
        found.ids[made] = found.ids[name]
    elif node.op_type == "Concat" and node.attribute("axis", 0) == 1 and known:
        _join(node, graph, found)
    elif (
        node.op_type == "Add"
        and len(known) == len(node.inputs) == 2
        and known[0].size == known[1].size
        and _is_alike(node, graph)
    ):
        found.tie(*known)
        found.ids[made] = known[0]
    else:
        for item in (*node.inputs, *captured_names(node)):
            found.pin(item)


def _commutes(node: Node, graph: Graph, channels: int) -> bool:
    spec = graph.values.get(node.outputs[0])
    shape = None if spec is None else spec.shape
    return (
        node.op_type in COMMUTES
        and role_of(node, graph) is not Role.FLOAT
        and (shape is None or (len(shape) > 1 and shape[1] == channels))
    )


def _is_alike(node: Node, graph: Graph) -> bool:
    shapes = [graph.values[item].shape for item in node.inputs if item in graph.values]
    return len(shapes) == len(node.inputs) and shapes[0] == shapes[1]


def _join(node: Node, graph: Graph, found: Channels) -> None:
    for item in node.inputs:
        if item in found.ids:
            continue
        spec = graph.values.get(item)
        size = None if spec is None or spec.shape is None else spec.shape[1]
        if not isinstance(size, int):
            for other in node.inputs:
                found.pin(other)
            return
        found.begin(item, size)
        found.pin(item)
    found.ids[node.outputs[0]] = np.concatenate([found.ids[item] for item in node.inputs])
