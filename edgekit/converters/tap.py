"""Which tensors of a float graph calibration has to see, and the graph that shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgekit.converters.bisect import truncate
from edgekit.graph import Array, Graph, Node
from edgekit.tensor import TensorSpec

# What comes out is what goes in, in another order or shape: the range is the same.
MOVES = frozenset(
    {
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Identity",
        "DepthToSpace",
        "SpaceToDepth",
    }
)

# A kernel of each of these applies an activation before it stores its result.
_TAKES_ACTIVATION = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "BatchNormalization"}
)
# Bounds that every target fuses. Source: LiteRT schema, ActivationFunctionType.
_FUSED_BOUNDS = ((0.0, math.inf), (0.0, 6.0), (-1.0, 1.0))

PART_BYTES = 1 << 30
"""Activations that one run may hold at once."""

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Taps:
    """What to look at in a graph.

    Args:
        measured: Tensors that need a range of their own, inputs of the graph first.
        aliases: Tensors that hold the same values as a measured one, by name.
        joins: Those measured tensors that hold all values of others, by name; the others are
            measured and no joins themselves.
    """

    measured: tuple[str, ...]
    aliases: Mapping[str, str]
    joins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def looked_at(self) -> tuple[str, ...]:
        """Return the measured tensors whose values tell those of all."""
        return tuple(name for name in self.measured if name not in self.joins)


def find_taps(graph: Graph) -> Taps:
    """Return the float tensors that need a range.

    Left out are results that a fused activation alone reads (its own range counts), and, as
    aliases, what only moves values.
    """
    hidden = set(_before_activations(graph))
    measured = [spec.name for spec in graph.inputs if spec.dtype.is_float]
    known: set[str] = set(measured)
    aliases: dict[str, str] = {}
    joins: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        if node.op_type in MOVES and not node.domain:
            root = aliases.get(node.inputs[0], node.inputs[0])
            if root in known:
                aliases[node.outputs[0]] = root
                continue
        for name in node.outputs:
            spec = graph.values.get(name)
            if name and spec is not None and spec.dtype.is_float and name not in hidden:
                measured.append(name)
                known.add(name)
        parts = [aliases.get(name, name) for name in node.inputs]
        if (
            node.op_type == "Concat"
            and not node.domain
            and known.issuperset((*parts, *node.outputs))
        ):
            joins[node.outputs[0]] = tuple(
                part for name in parts for part in joins.get(name, (name,))
            )
    return Taps(tuple(measured), aliases, joins)


def tap_graph(
    graph: Graph, names: Sequence[str], *, part_bytes: int = PART_BYTES
) -> tuple[Graph, ...]:
    """Return graphs whose outputs are these tensors: one, or several where all are too large.

    Args:
        graph: The float graph.
        names: Tensors that nodes compute, in topological order.
        part_bytes: Outputs of one graph together take at most this, or are a single one.
    """
    parts: list[list[str]] = []
    used = 0
    for name in names:
        nbytes = _nbytes(graph.values[name])
        if not parts or used + nbytes > part_bytes:
            parts.append([])
            used = 0
        parts[-1].append(name)
        used += nbytes
    return tuple(truncate(graph, part) for part in parts)


def batchnorm_inputs(graph: Graph) -> dict[str, tuple[Array, Array]]:
    """Return what training saw of the tensors that batch norms read: mean and variance.

    It is evidence of how the model's inputs were made. A tensor is left out where the
    figures are not constant.

    Args:
        graph: As loaded: simplifying folds batch norms away.

    Returns:
        By tensor name; both of shape (channels,), float64.
    """
    found: dict[str, tuple[Array, Array]] = {}
    for node in graph.nodes:
        if node.op_type != "BatchNormalization" or node.domain:
            continue
        mean, variance = (graph.initializers.get(node.input(index)) for index in (3, 4))
        if mean is None or variance is None or node.inputs[0] not in graph.values:
            continue
        found[node.inputs[0]] = (mean.astype(np.float64), variance.astype(np.float64))
    return found


def _before_activations(graph: Graph) -> list[str]:
    """Return results that a fused activation alone reads."""
    consumers = graph.consumers()
    outputs = set(graph.output_names)
    return [
        node.outputs[0]
        for node in graph.nodes
        if node.op_type in _TAKES_ACTIVATION
        and node.outputs[0] not in outputs
        and len(consumers.get(node.outputs[0], [])) == 1
        and _is_fused(consumers[node.outputs[0]][0], graph)
    ]


def _is_fused(node: Node, graph: Graph) -> bool:
    if node.op_type == "Relu":
        return True
    if node.op_type != "Clip":
        return False
    bounds = [
        _constant(graph, node.input(index), default)
        for index, default in ((1, -math.inf), (2, math.inf))
    ]
    return tuple(bounds) in _FUSED_BOUNDS


def _constant(graph: Graph, name: str, default: float) -> float:
    if not name:
        return default
    value = graph.initializers.get(name)
    return math.nan if value is None or value.size != 1 else float(value.reshape(-1)[0])


def _nbytes(spec: TensorSpec) -> int:
    """Return the size of a tensor; a dynamic axis counts as one."""
    sizes = [dim for dim in spec.shape or () if isinstance(dim, int)]
    return math.prod(sizes) * _FLOAT_BYTES
