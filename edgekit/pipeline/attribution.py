"""Whose time it is: from an engine's steps to the layers of the source graph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgekit.calibration.sensitivity import Layer
from edgekit.converters.quantize.operators import Role, role_of
from edgekit.graph import Graph, Node
from edgekit.runtimes.layer_times import StepTime

# What only moves or picks values has the type that its neighbours have.
_FOLLOWS = (Role.MOVE, Role.PICK)
# As converters/quantize/qdq.py names its nodes, by the tensor that they convert.
_CONVERSION = re.compile(
    r"(?P<tensor>.+)_(?:de)?quantized(?:_\d+)?_(?P<kind>Quantize|Dequantize)Linear(?:_\d+)?"
)
_QUANTIZE = "Quantize"


@dataclass(frozen=True)
class Attribution:
    """Times of one call, by layer.

    Args:
        microseconds: By ``Layer.name``, every layer.
        other_us: Of what belongs to no layer and stays float whatever they are.
        unknown_us: Of steps that could not be traced to any node.
    """

    microseconds: Mapping[str, float]
    other_us: float
    unknown_us: float

    @property
    def known_share(self) -> float:
        """Share of the time that is traced to nodes, 0 to 1."""
        known = sum(self.microseconds.values()) + self.other_us
        total = known + self.unknown_us
        return known / total if total > 0 else 0.0


def attribute(steps: Sequence[StepTime], units: Sequence[Layer], graph: Graph) -> Attribution:
    """Return the steps' times by layer.

    A step is shared by the layers that it computes, by their work. One that computes none but
    moves or converts values is shared evenly by the layers beside it: a conversion to integers
    by those that read them, everything else by those that write what it reads. What the engine
    added (a change of layout) follows the steps that read it. A layer that no step names is in
    the step that reads its result (the Sigmoid in a SiLU), else in the one that writes its input.

    Args:
        steps: Of a float or int8 artifact of the model.
        units: The layers.
        graph: The float model.
    """
    tracer = _Tracer(steps, units, graph)
    spent = {unit.name: 0.0 for unit in units}
    other = unknown = 0.0
    for index, step in enumerate(steps):
        if not tracer.nodes[index] and not tracer.tensors[index]:
            unknown += step.microseconds
            continue
        shares = tracer.shares(index)
        if not shares:
            other += step.microseconds
        for name, share in shares.items():
            spent[name] += step.microseconds * share
    return Attribution(spent, other, unknown)


@dataclass(frozen=True)
class _Converted:
    """A tensor that a step turns into integers, or back."""

    tensor: str
    is_to_integers: bool


class _Tracer:
    """Which source nodes, or which converted tensors, each step stands for.

    Attributes:
        nodes: By step, names of source nodes.
        tensors: By step, what it converts.
    """

    def __init__(self, steps: Sequence[StepTime], units: Sequence[Layer], graph: Graph) -> None:
        self._graph = graph
        self._by_name = {node.name: node for node in graph.nodes}
        self._makers, self._readers = graph.producers(), graph.consumers()
        self._units = {name: unit for unit in units for name in unit.nodes}
        self.nodes: list[set[str]] = [set() for _ in steps]
        self.tensors: list[set[_Converted]] = [set() for _ in steps]
        for index, step in enumerate(steps):
            for origin in step.origins:
                self._trace(index, origin)
        self._absorb(units)
        self._follow(steps)

    def shares(self, index: int) -> dict[str, float]:
        """Return the parts of a step's time by layer; nothing where it is no layer's."""
        inside = {
            unit.name: unit
            for name in self.nodes[index]
            if (unit := self._units.get(name)) is not None
        }
        if inside:
            return _parts({name: max(unit.work, 1) for name, unit in inside.items()})
        beside: set[str] = set()
        for item in self.tensors[index]:
            beside |= self._beside(item.tensor, is_after=item.is_to_integers)
        for name in self.nodes[index]:
            if role_of(self._by_name[name], self._graph) in _FOLLOWS:
                beside |= self._beside(self._by_name[name].outputs[0], is_after=False)
        return _parts(dict.fromkeys(sorted(beside), 1))

    def _trace(self, index: int, origin: str) -> None:
        """Find an origin by its own name, else by what is left without the engine's endings."""
        name = origin
        while name:
            if name in self._by_name:
                self.nodes[index].add(name)
                return
            found = _CONVERSION.fullmatch(name)
            if found is not None and self._is_tensor(found["tensor"]):
                is_to_integers = found["kind"] == _QUANTIZE
                self.tensors[index].add(_Converted(found["tensor"], is_to_integers))
                return
            if name in self._makers:
                self.nodes[index].add(self._makers[name].name)
                return
            # "conv/WithoutBiases", "conv.bias"
            name = name[: max(name.rfind("/"), name.rfind("."), 0)]

    def _is_tensor(self, name: str) -> bool:
        return name in self._readers or name in self._makers

    def _follow(self, steps: Sequence[StepTime]) -> None:
        """Give steps without nodes those of the steps that read them, else that they read."""
        places: dict[str, int] = {step.name: index for index, step in enumerate(steps)}
        writers: dict[str, list[str]] = {}
        for step in steps:
            for name in step.readers:
                writers.setdefault(name, []).append(step.name)
        # The last step first: of two without nodes in a row, the second knows before the first.
        for index in reversed(range(len(steps))):
            self._copy(index, (places[n] for n in steps[index].readers if n in places))
        for index, step in enumerate(steps):
            self._copy(index, (places[name] for name in writers.get(step.name, ())))

    def _copy(self, index: int, others: Iterable[int]) -> None:
        if self.nodes[index] or self.tensors[index]:
            return
        for other in others:
            self.nodes[index] |= self.nodes[other]
            self.tensors[index] |= self.tensors[other]

    def _absorb(self, units: Sequence[Layer]) -> None:
        """Put layers that no step names into the step that reads or makes their tensors."""
        holders: dict[str, int] = {}
        for index, names in enumerate(self.nodes):
            for name in names:
                # The first computes it; a change of layout may write its tensor once more.
                holders.setdefault(name, index)
        lost = [unit for unit in units if not any(name in holders for name in unit.nodes)]
        # From the outputs: a chain that is fused as a whole is named after its last node.
        for unit in reversed(lost):
            after = {holders.get(node.name) for node in self._nodes_after(unit)}
            if len(after) == 1:
                self._put(unit, after.pop(), holders)
        for unit in lost:
            makers = (self._makers.get(name) for name in self._by_name[unit.name].inputs)
            before = [holders.get(node.name, -1) for node in makers if node is not None]
            if unit.name not in holders and max(before, default=-1) >= 0:
                # Of both operands of an Add, the later one is still being made.
                self._put(unit, max(before), holders)

    def _put(self, unit: Layer, index: int | None, holders: dict[str, int]) -> None:
        if index is not None:
            self.nodes[index].update(unit.nodes)
            holders.update(dict.fromkeys(unit.nodes, index))

    def _nodes_after(self, unit: Layer) -> list[Node]:
        outputs = self._by_name[unit.nodes[-1]].outputs
        return [node for name in outputs for node in self._readers.get(name, ())]

    def _beside(self, tensor: str, *, is_after: bool) -> set[str]:
        """Return the layers on one side of a tensor; where there are none, on the other."""
        return self._layers(tensor, is_after=is_after) or self._layers(
            tensor, is_after=not is_after
        )

    def _layers(self, tensor: str, *, is_after: bool) -> set[str]:
        found: set[str] = set()
        waiting, seen = [tensor], {tensor}
        while waiting:
            name = waiting.pop()
            maker = self._makers.get(name)
            nodes = self._readers.get(name, []) if is_after else [maker] if maker else []
            for node in nodes:
                unit = self._units.get(node.name)
                if unit is not None:
                    found.add(unit.name)
                elif role_of(node, self._graph) in _FOLLOWS:
                    new = set(node.outputs if is_after else node.inputs) - seen - {""}
                    seen |= new
                    waiting += sorted(new)
        return found


def _parts(weights: Mapping[str, int]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
