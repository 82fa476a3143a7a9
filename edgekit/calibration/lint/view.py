"""A graph as the rules look at it: who makes what, what is constant, what leads where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np

from edgekit.graph import Array, Graph, Node
from edgekit.ranges import Statistics

# They move values or pick some; none is changed, so one code serves both sides.
MOVES = frozenset(
    {
        "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Split",
        "Expand", "Tile", "Gather", "DepthToSpace", "SpaceToDepth", "Dropout", "Cast",
    }
)  # fmt: skip
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
# Range of what they give, whatever they take.
BOUNDS = {
    "Sigmoid": (0.0, 1.0),
    "HardSigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
}


class View:
    """A graph with what is known of its tensors.

    Args:
        graph: The float graph.
        statistics: What a calibration saw, by tensor name; may be empty.
    """

    def __init__(self, graph: Graph, statistics: Mapping[str, Statistics]) -> None:
        self.graph = graph
        self.statistics = statistics

    @cached_property
    def producers(self) -> dict[str, Node]:
        """The node that makes each tensor."""
        return self.graph.producers()

    @cached_property
    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each tensor."""
        return self.graph.consumers()

    def nodes(self, *op_types: str) -> list[Node]:
        """Return the nodes of these operators, in order."""
        return [node for node in self.graph.nodes if node.op_type in op_types]

    def constant(self, name: str) -> Array | None:
        """Return the value of a constant; None for what is computed."""
        if name in self.graph.initializers:
            return self.graph.initializers[name]
        node = self.producers.get(name)
        if node is not None and node.op_type == "Constant":
            value = node.attributes.get("value")
            return value if isinstance(value, np.ndarray) else None
        return None

    def is_weighted(self, node: Node) -> bool:
        """Return whether the node multiplies by learned weights."""
        if node.op_type not in WEIGHTED:
            return False
        return node.op_type not in ("MatMul", "Gemm") or any(
            self.constant(name) is not None for name in node.inputs
        )

    def origins(self, tensor: str, *, through_concat: bool = True) -> list[tuple[str, Node | None]]:
        """Return where a tensor's values were made: behind moves and, if wanted, joins.

        Returns:
            The tensor and its node, for each; None for an input or a constant.
        """
        found: list[tuple[str, Node | None]] = []
        pending, seen = [tensor], {tensor}
        while pending:
            name = pending.pop()
            node = self.producers.get(name)
            if node is not None and node.op_type in MOVES:
                nexts: tuple[str, ...] = node.inputs[:1]
            elif node is not None and node.op_type == "Concat" and through_concat:
                nexts = node.inputs
            else:
                found.append((name, node))
                continue
            pending += [item for item in nexts if item and item not in seen]
            seen.update(nexts)
        return found

    def after(self, starts: Iterable[Node], *, also: Iterable[str] = ()) -> frozenset[str]:
        """Return the names of the nodes from these on, up to the next learned weights.

        Args:
            starts: Where to begin; they are among the result.
            also: Names of weighted nodes that are passed all the same.
        """
        passed, names = set(also), set()
        pending = list(starts)
        while pending:
            node = pending.pop()
            if node.name in names:
                continue
            names.add(node.name)
            for output in node.outputs:
                pending += [
                    reader
                    for reader in self.consumers.get(output, [])
                    if reader.name in passed or not self.is_weighted(reader)
                ]
        return frozenset(names)

    def reaches_output(self, names: Iterable[str]) -> bool:
        """Return whether one of these nodes makes an output of the model."""
        wanted, outputs = set(names), set(self.graph.output_names)
        return any(
            node.name in wanted and not outputs.isdisjoint(node.outputs)
            for node in self.graph.nodes
        )

    def span(self, tensor: str) -> tuple[float, float] | None:
        """Return the smallest and largest value that were seen, or that there can be."""
        seen = self.statistics.get(tensor)
        if seen is not None:
            return seen.minimum, seen.maximum
        value = self.constant(tensor)
        if value is not None and value.size and value.dtype.kind in "fiu":
            return float(value.min()), float(value.max())
        bounds = [
            BOUNDS.get(node.op_type) if node is not None else None
            for _, node in self.origins(tensor)
        ]
        known = [item for item in bounds if item is not None]
        if len(known) < len(bounds) or not known:
            return None
        return min(low for low, _ in known), max(high for _, high in known)


def as_range(span: tuple[float, float]) -> str:
    """Return a range as people read it."""
    return f"{span[0]:.3g} .. {span[1]:.3g}"


def listed(names: Iterable[str], most: int = 4) -> str:
    """Return the first names, and how many more there are."""
    items = list(names)
    shown = ", ".join(repr(name) for name in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
