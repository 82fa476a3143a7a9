"""Drop operators that hand their input on unchanged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgekit.converters.passes.rewire import bypassed
from edgekit.graph import Graph, Node
from edgekit.tensor import TensorSpec


def remove_identities(graph: Graph) -> Graph:
    """Return the graph without Identity, inference Dropout and operators like them."""
    outputs = set(graph.output_names)
    readers = graph.consumers()
    removed: dict[str, tuple[str, str]] = {}
    for node in graph.nodes:
        is_no_op = _NO_OPS.get(node.op_type)
        if is_no_op is None or node.domain or not is_no_op(node, graph):
            continue
        if any(name in readers or name in outputs for name in node.outputs[1:] if name):
            continue  # Dropout's mask is read.
        removed[node.name] = (node.inputs[0], node.outputs[0])
    return bypassed(graph, removed)


def _always(node: Node, graph: Graph) -> bool:
    return True


def _is_inference_dropout(node: Node, graph: Graph) -> bool:
    training = node.input(2)
    return not training or (
        training in graph.initializers and not np.any(graph.initializers[training])
    )


def _has_one_input(node: Node, graph: Graph) -> bool:
    return len(node.inputs) == 1


def _keeps_type(node: Node, graph: Graph) -> bool:
    before, after = _types(node, graph)
    return before is not None and after is not None and before.dtype == after.dtype


def _keeps_order(node: Node, graph: Graph) -> bool:
    perm = node.attribute("perm", ())
    return bool(perm) and tuple(perm) == tuple(range(len(perm)))


def _keeps_shape(node: Node, graph: Graph) -> bool:
    """Whether the shape stays: for operators that only reshape, cut or repeat."""
    before, after = _types(node, graph)
    if before is None or after is None or not before.is_static or not after.is_static:
        return False
    return before.shape == after.shape and before.dtype == after.dtype


def _is_whole_slice(node: Node, graph: Graph) -> bool:
    steps = node.input(4)
    if steps and (steps not in graph.initializers or np.any(graph.initializers[steps] != 1)):
        return False
    return _keeps_shape(node, graph)


def _is_empty_pad(node: Node, graph: Graph) -> bool:
    pads = graph.initializers.get(node.input(1))
    return pads is not None and not np.any(pads)


def _types(node: Node, graph: Graph) -> tuple[TensorSpec | None, TensorSpec | None]:
    return graph.values.get(node.input(0)), graph.values.get(node.outputs[0])


_NO_OPS: dict[str, Callable[[Node, Graph], bool]] = {
    "Identity": _always,
    "Dropout": _is_inference_dropout,
    "Cast": _keeps_type,
    "Transpose": _keeps_order,
    "Reshape": _keeps_shape,
    "Flatten": _keeps_shape,
    "Expand": _keeps_shape,
    "Tile": _keeps_shape,
    "Slice": _is_whole_slice,
    "Pad": _is_empty_pad,
    **dict.fromkeys(("Concat", "Sum", "Max", "Min", "Mean"), _has_one_input),
}
