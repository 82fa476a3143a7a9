"""Say a limit in one word: Max and Min with constant numbers become Clip or Relu."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgekit.graph import Array, Graph, Node

# Since this opset Clip takes its limits as inputs.
CLIP_INPUTS_OPSET = 11


@dataclass(frozen=True)
class _Limit:
    """A node that limits ``source`` from below and above; infinities where it does not."""

    source: str
    low: float
    high: float


def merge_clips(graph: Graph) -> Graph:
    """Return the graph with chains of Max, Min, Relu and Clip by numbers merged.

    Frameworks write ReLU6 as a maximum with 0 and a minimum with 6; engines fuse a Clip into
    the layer before, and not those two.
    """
    if graph.opset < CLIP_INPUTS_OPSET:
        return graph
    consumers = graph.consumers()
    limits: dict[str, _Limit] = {}
    merged: dict[str, _Limit] = {}
    for node in graph.nodes:
        limit = _limit_of(graph, node)
        if limit is None:
            continue
        before = limits.get(limit.source)
        # A limit above the one before may not be exchanged with it, so it must be within.
        if before is not None and before.low <= limit.high and limit.low <= before.high:
            limit = _Limit(before.source, max(before.low, limit.low), min(before.high, limit.high))
        limits[node.outputs[0]] = limit
        if node.op_type in ("Max", "Min") or limit.source != node.inputs[0]:
            merged[node.name] = limit
    if not merged:
        return graph
    return _rewritten(graph, merged, consumers)


def _limit_of(graph: Graph, node: Node) -> _Limit | None:
    spec = graph.values.get(node.outputs[0])
    if node.domain or spec is None or spec.dtype.value != "float32":
        return None
    if node.op_type == "Relu":
        return _Limit(node.inputs[0], 0.0, np.inf)
    if node.op_type == "Clip":
        low, high = _number(graph, node.input(1), -np.inf), _number(graph, node.input(2), np.inf)
        if low is None or high is None or low > high:
            return None
        return _Limit(node.inputs[0], low, high)
    if node.op_type not in ("Max", "Min") or len(node.inputs) != 2:
        return None
    for source, other in (node.inputs, node.inputs[::-1]):
        number = _number(graph, other, None)
        # A constant of higher rank would widen the result.
        if (
            number is None
            or source in graph.initializers
            or _rank(graph, other) > _rank(graph, source)
        ):
            continue
        is_max = node.op_type == "Max"
        return _Limit(source, number if is_max else -np.inf, np.inf if is_max else number)
    return None


def _number(graph: Graph, name: str, absent: float | None) -> float | None:
    """Return the one number of a constant; ``absent`` for an omitted input; None otherwise."""
    if not name:
        return absent
    value = graph.initializers.get(name)
    if value is None or value.size != 1 or np.isnan(value).any():
        return None
    return float(value.reshape(-1)[0])


def _rank(graph: Graph, name: str) -> int:
    value = graph.initializers.get(name)
    if value is not None:
        return value.ndim
    spec = graph.values.get(name)
    return 0 if spec is None or spec.shape is None else len(spec.shape)


def _rewritten(graph: Graph, merged: dict[str, _Limit], consumers: dict[str, list[Node]]) -> Graph:
    nodes = []
    constants = dict(graph.initializers)
    for node in graph.nodes:
        limit = merged.get(node.name)
        nodes.append(node if limit is None else _limiting(node, limit, constants))
    kept = graph.with_nodes(nodes, initializers=constants)
    # What only fed a merged node is dead now.
    read = set(kept.consumers()) | set(graph.output_names)
    alive = [
        node
        for node in kept.nodes
        if any(name in read or name not in consumers for name in node.outputs)
    ]
    return kept.with_nodes(alive)


def _limiting(node: Node, limit: _Limit, constants: dict[str, Array]) -> Node:
    if limit.low == 0 and limit.high == np.inf:
        return replace(node, op_type="Relu", inputs=(limit.source,), attributes={})
    names = []
    for word, number in (("low", limit.low), ("high", limit.high)):
        name = ""
        if np.isfinite(number):
            name = f"{node.outputs[0]}/{word}"
            constants[name] = np.array(number, np.float32)
        names.append(name)
    while names and not names[-1]:
        names.pop()
    return replace(node, op_type="Clip", inputs=(limit.source, *names), attributes={})
