"""Which tensors share one code, and which nodes can be integers at all.

Moving integers (Reshape, MaxPool...) keeps their code, and all inputs of a Concat need its
output's. Such tensors form a group with one range, the union of theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
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
from edgekit.ranges import Range

FIXED_RANGES = {
    "Sigmoid": Range(0.0, 255 / 256, "fixed"),
    "Softmax": Range(0.0, 255 / 256, "fixed"),
    "Tanh": Range(-1.0, 127 / 128, "fixed"),
}
"""Output ranges that the LiteRT quantization specification fixes: scale 1/256, 1/128."""
MIN_LEVELS = 8
"""A Concat that would leave an input fewer of its 256 levels stays float."""

_SHARES = (Role.MOVE, Role.BLEND, Role.JOIN, Role.PICK)
_NEEDS_COMPANY = (Role.MIX, Role.MAP, *_SHARES)


@dataclass(frozen=True)
class Plan:
    """What of a graph becomes integers.

    Args:
        roles: By node name, of the nodes that compute in integers.
        reasons: By node name, why it computes in float although its operator could be
            quantized.
        groups: By tensor name, the tensor that stands for its group.
        ranges: By standing tensor, the range of the whole group.
        symmetric: Standing tensors of groups whose zero point must be 0.
        interior: Tensors inside a fused kernel; they need no code.
    """

    roles: Mapping[str, Role]
    reasons: Mapping[str, str]
    groups: Mapping[str, str]
    ranges: Mapping[str, Range]
    symmetric: frozenset[str] = frozenset()
    interior: frozenset[str] = frozenset()

    def is_symmetric(self, tensor: str) -> bool:
        """Whether the code of the tensor's group must have zero point 0."""
        return self.groups.get(tensor, tensor) in self.symmetric

    def range_of(self, tensor: str) -> Range | None:
        """Return the range of the tensor's group."""
        return self.ranges.get(self.groups.get(tensor, tensor))


def make_plan(
    graph: Graph,
    ranges: Mapping[str, Range],
    *,
    keep_float: Collection[str] = (),
    weights_only: bool = False,
    refused: Mapping[str, str] | None = None,
    codes_layers: bool = False,
) -> Plan:
    """Decide which nodes become integers and which tensors share a code.

    Args:
        graph: The float model, simplified.
        ranges: By tensor name, from calibration.
        keep_float: Names of nodes that stay float.
        weights_only: Whether only layers' weights become integers; no range is needed then.
        refused: By node name, why the target does better with it in float.
        codes_layers: Whether a layer is an integer one only where its result is.
    """
    inside = interior(graph)
    roles = {node.name: role_of(node, graph) for node in graph.nodes}
    roles = {name: role for name, role in roles.items() if role is not Role.FLOAT}
    reasons = {name: why for name, why in (refused or {}).items() if name in roles}
    reasons |= {name: "kept float on request" for name in keep_float if name in roles}
    if weights_only:
        layers = {
            node.name: Role.LAYER
            for node in graph.nodes
            if roles.get(node.name) is Role.LAYER
            and weight_of(node, graph)
            and node.name not in reasons
        }
        return Plan(layers, reasons, {}, {}, interior=inside)
    known = {**ranges, **_constant_ranges(graph)}
    while True:
        roles = {name: role for name, role in roles.items() if name not in reasons}
        groups = _Groups(graph, roles, known)
        found = {**groups.reasons, **_without_range(graph, roles, groups, inside)}
        found = found or _alone(graph, roles, _fused(graph, roles, inside, biases=codes_layers))
        if not found:
            symmetric = _multiplied(graph, roles, groups)
            return Plan(roles, reasons, groups.as_mapping(), groups.ranges, symmetric, inside)
        reasons |= found


class _Groups:
    """A union-find over tensors, with the range of each set."""

    def __init__(self, graph: Graph, roles: Mapping[str, Role], known: Mapping[str, Range]) -> None:
        self._parents: dict[str, str] = {}
        self._fixed: set[str] = set()
        self.ranges: dict[str, Range] = dict(known)
        self.reasons: dict[str, str] = {}
        for node in graph.nodes:
            role = roles.get(node.name)
            if role is None:
                continue
            if node.op_type in FIXED_RANGES:
                self.ranges[node.outputs[0]] = FIXED_RANGES[node.op_type]
                self._fixed.add(node.outputs[0])
            if role in _SHARES:
                self._join(node, graph)

    def find(self, name: str) -> str:
        while name in self._parents:
            name = self._parents[name]
        return name

    def as_mapping(self) -> dict[str, str]:
        return {name: self.find(name) for name in self._parents}

    def _join(self, node: Node, graph: Graph) -> None:
        names = (*activations(node, graph), *constant_operands(node, graph))
        # A moved tensor's own range is the input's or a part of it; the union says no more.
        roots = list(dict.fromkeys(self.find(name) for name in names))
        if len(roots) > 1:
            reason = self._conflict(roots)
            if reason:
                self.reasons[node.name] = reason
                return
        first, *others = roots
        for other in others:
            self._merge(first, other)
        for result in results(node, graph):
            if self.find(result) != first:
                self._merge(first, self.find(result))

    def _merge(self, first: str, other: str) -> None:
        own, new = self.ranges.get(first), self.ranges.pop(other, None)
        self._parents[other] = first
        if first in self._fixed:
            return
        if own is not None and new is not None:
            self.ranges[first] = own.union(new)
        elif new is not None:
            self.ranges[first] = new
        if other in self._fixed:
            self._fixed.add(first)

    def _conflict(self, roots: Iterable[str]) -> str:
        """Return why these cannot share a code, or ``""``."""
        known = {root: self.ranges[root] for root in roots if root in self.ranges}
        if len(known) < 2:
            return ""
        union, *rest = known.values()
        for item in rest:
            union = union.union(item)
        for root, own in known.items():
            if root in self._fixed and (own.low, own.high) != (union.low, union.high):
                return f"it joins {root!r}, whose code is fixed, with others of another range"
            width = union.high - union.low
            if 0 < (own.high - own.low) * 256 < MIN_LEVELS * width:
                return (
                    f"{root!r} spans {own.high - own.low:.3g} of the {width:.3g} that it would "
                    f"share; fewer than {MIN_LEVELS} of 256 levels would be left for it"
                )
        return ""


def _constant_ranges(graph: Graph) -> dict[str, Range]:
    found: dict[str, Range] = {}
    for node in graph.nodes:
        for name in constant_operands(node, graph):
            value = graph.initializers[name]
            if value.size:
                found[name] = Range(float(value.min()), float(value.max()), "constant")
    return found


def _multiplied(graph: Graph, roles: Mapping[str, Role], groups: _Groups) -> frozenset[str]:
    """Return groups of signed tensors that are multiplied with each other, as attention does.

    A zero point on either side of such a product costs a sum over the other; OpenVINO 2026.4
    falls back to float for it (measured: 1.2 times the latency of a vision transformer).
    """
    found: set[str] = set()
    for node in graph.nodes:
        names = activations(node, graph)
        if node.op_type == "MatMul" and node.name in roles and len(names) == 2:
            found.update(groups.find(name) for name in names)
    return frozenset(root for root in found if groups.ranges[root].low < 0)


def _without_range(
    graph: Graph, roles: Mapping[str, Role], groups: _Groups, inside: frozenset[str]
) -> dict[str, str]:
    """Return the nodes that read or write a tensor of unknown range."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        role = roles.get(node.name)
        if role is None or node.name in groups.reasons:
            continue
        # A layer can write floats; everything else needs a code on both sides.
        outputs = () if role is Role.LAYER else results(node, graph)
        for name in (*activations(node, graph), *outputs):
            if name not in inside and groups.find(name) not in groups.ranges:
                found[node.name] = f"{name!r} has no range; calibrate it"
    return found


def _fused(
    graph: Graph, roles: Mapping[str, Role], inside: Collection[str], *, biases: bool
) -> set[str]:
    """Return names of the nodes that an integer layer computes itself, for nothing.

    Those are the activation behind it and, where ``biases``, what makes a MatMul a layer with
    a bias. Without a code for their result the layer would have to write floats.
    """
    producers = graph.producers()
    found: set[str] = set()
    for node in graph.nodes:
        if node.name not in roles:
            continue
        for name in activations(node, graph):
            maker = producers.get(name)
            if name not in inside or maker is None:
                continue
            is_layer = roles.get(maker.name) is Role.LAYER
            if (is_layer and (biases or node.op_type != "Add")) or maker.name in found:
                found.add(node.name)
    return found


def _alone(graph: Graph, roles: Mapping[str, Role], fused: Collection[str]) -> dict[str, str]:
    """Return nodes that no integer layer feeds, or none reads: conversions cost more than they.

    Parts of a layer norm or a GELU that was exported in pieces are found this way.

    Args:
        graph: The model.
        roles: Of the nodes that are integers so far.
        fused: Names of nodes that are part of a layer, which is company enough.
    """
    producers, readers = graph.producers(), graph.consumers()
    outputs = set(graph.output_names)
    found: dict[str, str] = {}
    for node in graph.nodes:
        if roles.get(node.name) not in _NEEDS_COMPANY or node.name in fused:
            continue
        sources = activations(node, graph)
        if not any(_is_integer(producers.get(name), roles) for name in sources):
            found[node.name] = "all that it reads is float"
        made = results(node, graph)
        if not any(
            name in outputs or any(reader.name in roles for reader in readers.get(name, ()))
            for name in made
        ):
            found[node.name] = "all that reads it is float"
    return found


def _is_integer(producer: Node | None, roles: Mapping[str, Role]) -> bool:
    return producer is None or producer.name in roles
