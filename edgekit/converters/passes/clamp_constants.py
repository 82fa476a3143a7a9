"""Put a finite, moderate number where a Softmax is masked with minus infinity."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from edgekit.graph import Array, Graph, Node

MASK = -1e4
"""exp(-1e4 + s - max) is 0 in float32 for every s - max below 9896: e^-104 is its smallest."""

# Through these, a masked place of a score stays masked.
_PASSED = frozenset({"Add", "Where", "Reshape", "Transpose", "Expand", "Unsqueeze", "Squeeze"})


def clamp_constants(
    graph: Graph, nodes: Collection[str] | None = None, *, limit: float = MASK
) -> Graph:
    """Return the graph with masks of ``limit`` instead of minus infinity or the lowest float.

    Only constants are changed that nothing but a Softmax can see, by addition or selection,
    and that do not mask a whole row, since a row with nothing left is spread evenly by the
    lowest float and not by a moderate one. Elsewhere the result might change.

    Args:
        graph: The model.
        nodes: Names of operators whose constants to consider; None for all.
        limit: What to put there, below every difference of scores that is not nothing.
    """
    readers = graph.consumers()
    clamped: dict[str, Array] = {}
    for name, value in graph.initializers.items():
        users = readers.get(name, [])
        if nodes is not None and not any(user.name in nodes for user in users):
            continue
        if value.dtype.kind != "f" or not (value < -65504).any() or name in graph.output_names:
            continue
        if users and all(_masks_only(graph, user, name, value, readers) for user in users):
            clamped[name] = np.where(value < limit, limit, value).astype(value.dtype)
    if not clamped:
        return graph
    return graph.with_nodes(graph.nodes, initializers={**graph.initializers, **clamped})


def _masks_only(
    graph: Graph, node: Node, name: str, value: Array, readers: dict[str, list[Node]]
) -> bool:
    if node.op_type == "Where":
        if node.inputs[0] == name or value.size != 1:
            return False
    elif node.op_type != "Add" or not _leaves_some(value):
        return False
    pending, seen = [node], {node.name}
    while pending:
        current = pending.pop()
        for output in current.outputs:
            following = readers.get(output, [])
            if output in graph.output_names or not following:
                return False
            for reader in following:
                if reader.op_type == "Softmax":
                    continue
                if reader.op_type not in _PASSED:
                    return False
                if reader.name not in seen:
                    seen.add(reader.name)
                    pending.append(reader)
    return True


def _leaves_some(value: Array) -> bool:
    """Return whether every row of the mask, along the last axis, leaves a place unmasked."""
    return value.ndim > 0 and value.shape[-1] > 1 and bool((value > MASK).any(axis=-1).all())
