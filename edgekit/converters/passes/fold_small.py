"""Fold a few shape-sized operators in numpy, so that nothing is imported for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.graph import Array, Graph, Node

# Beyond this, ONNX Runtime's kernels and its import (0.2 s, 30 MB) pay.
MAX_ELEMENTS = 1 << 16


def fold_small(graph: Graph, nodes: Sequence[Node]) -> dict[str, Array] | None:
    """Return the results of the nodes, or None where one is not as simple as that.

    Args:
        graph: Holds the constants that the nodes read.
        nodes: In topological order; all inputs constants or results of earlier ones.
    """
    known: dict[str, Array] = dict(graph.initializers)
    made: dict[str, Array] = {}
    for node in nodes:
        compute = _OPERATORS.get(node.op_type)
        inputs = [known[name] for name in node.inputs if name]
        if compute is None or len(inputs) != len(node.inputs):
            return None
        if max((array.size for array in inputs), default=0) > MAX_ELEMENTS:
            return None
        spec = graph.values.get(node.outputs[0])
        if spec is None or not spec.is_static or np.prod(spec.static_shape) > MAX_ELEMENTS:
            return None
        result = np.ascontiguousarray(compute(node, inputs)).reshape(spec.static_shape)
        known[node.outputs[0]] = made[node.outputs[0]] = result
    return made


def _concat(node: Node, inputs: list[Array]) -> Array:
    return np.concatenate(inputs, axis=node.attribute("axis", 0))


def _expand(node: Node, inputs: list[Array]) -> Array:
    data, shape = inputs
    return np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(map(int, shape))))


def _gather(node: Node, inputs: list[Array]) -> Array:
    return np.take(inputs[0], inputs[1], axis=node.attribute("axis", 0))


def _as_it_is(node: Node, inputs: list[Array]) -> Array:
    return inputs[0]  # the output's shape says the rest


_OPERATORS: Mapping[str, Callable[[Node, list[Array]], Array]] = {
    "Concat": _concat,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": _as_it_is,
    "Reshape": _as_it_is,
    "Squeeze": _as_it_is,
    "Unsqueeze": _as_it_is,
}
