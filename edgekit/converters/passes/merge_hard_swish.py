"""Say HardSwish in one word: x * relu6(x + 3) / 6, and x * HardSigmoid(x), become it.

Integers round once then and not four times, and engines fuse it into the layer before.

Source: Howard et al. 2019, "Searching for MobileNetV3", section 5.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgekit.converters.passes.remove_dead import remove_dead
from edgekit.graph import Graph, Node

HARD_SWISH_OPSET = 14
# Exporters write 1/6 with 7 digits.
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class _Product:
    """``number`` times the product of ``tensors``."""

    number: float
    tensors: tuple[str, ...]


def merge_hard_swish(graph: Graph) -> Graph:
    """Return the graph with every HardSwish that was exported in pieces as one operator."""
    if graph.opset < HARD_SWISH_OPSET:
        return graph
    finder = _Finder(graph)
    sources = {node.name: finder.source_of(node) for node in graph.nodes}
    if not any(sources.values()):
        return graph
    nodes = [
        node if source is None else _hard_swish(node, source)
        for node, source in ((node, sources[node.name]) for node in graph.nodes)
    ]
    return remove_dead(graph.with_nodes(nodes))


def _hard_swish(node: Node, source: str) -> Node:
    return replace(node, op_type="HardSwish", inputs=(source,), attributes={})


class _Finder:
    """Knows who makes and who reads each tensor.

    Args:
        graph: The model.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._makers: Mapping[str, Node] = graph.producers()
        self._readers = graph.consumers()
        self._outputs = set(graph.output_names)

    def source_of(self, node: Node) -> str | None:
        """Return x where the node's result is HardSwish(x)."""
        product = self._product(node)
        rank = self._rank(node.outputs[0])
        if product is None or len(product.tensors) != 2 or rank is None:
            return None
        for source, gate in (product.tensors, product.tensors[::-1]):
            # A constant of higher rank would widen the result.
            if self._rank(source) == rank and self._is_gate(gate, source, product.number):
                return source
        return None

    def _product(self, node: Node) -> _Product | None:
        """Return what a Mul or Div multiplies, with the products that only it reads."""
        if node.domain or node.op_type not in ("Mul", "Div"):
            return None
        number = 1.0
        tensors: list[str] = []
        for place, name in enumerate(node.inputs):
            constant = self._number(name)
            if node.op_type == "Div" and place == 1:
                if constant is None or constant == 0:
                    return None
                number /= constant
            elif constant is not None:
                number *= constant
            else:
                inner = self._inner(name)
                number *= inner.number
                tensors += inner.tensors
        return _Product(number, tuple(tensors))

    def _inner(self, name: str) -> _Product:
        maker = self._makers.get(name)
        inner = None
        if maker is not None and self._is_only_read_once(name):
            inner = self._product(maker)
        return _Product(1.0, (name,)) if inner is None else inner

    def _is_gate(self, gate: str, source: str, number: float) -> bool:
        maker = self._makers.get(gate)
        if maker is None or maker.domain or not self._is_only_read_once(gate):
            return False
        if maker.op_type == "HardSigmoid":
            slope, shift = maker.attribute("alpha", 0.2), maker.attribute("beta", 0.5)
            return (
                maker.inputs[0] == source
                and _near(slope, 1 / 6)
                and _near(shift, 0.5)
                and _near(number, 1.0)
            )
        if maker.op_type != "Clip" or not _near(number, 1 / 6):
            return False
        low, high = (self._number(maker.input(index)) for index in (1, 2))
        return low == 0 and high == 6 and self._is_plus_three(maker.inputs[0], source)

    def _is_plus_three(self, name: str, source: str) -> bool:
        maker = self._makers.get(name)
        if maker is None or maker.domain or maker.op_type != "Add":
            return False
        if not self._is_only_read_once(name) or source not in maker.inputs:
            return False
        other = maker.inputs[1] if maker.inputs[0] == source else maker.inputs[0]
        return self._number(other) == 3

    def _is_only_read_once(self, name: str) -> bool:
        return len(self._readers.get(name, ())) == 1 and name not in self._outputs

    def _number(self, name: str) -> float | None:
        value = self._graph.initializers.get(name)
        if value is None or value.size != 1 or value.dtype.kind != "f":
            return None
        return float(value.reshape(-1)[0])

    def _rank(self, name: str) -> int | None:
        spec = self._graph.values.get(name)
        return None if spec is None or spec.shape is None else len(spec.shape)


def _near(value: float, wanted: float) -> bool:
    return math.isclose(value, wanted, rel_tol=_TOLERANCE)
