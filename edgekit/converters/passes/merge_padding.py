"""Let a max pool pad by itself, instead of a Pad with minus infinity before it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from edgekit.converters.passes.remove_dead import remove_dead
from edgekit.graph import Array, Graph, Node

# Nothing in a float network is smaller; ONNX MaxPool pads with minus infinity by itself.
LOWEST_USUAL = -65504.0
_NOT_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax")


def merge_padding(graph: Graph, nodes: Collection[str] | None = None) -> Graph:
    """Return the graph with Pads merged into the MaxPools that read them.

    It is exact: a window always holds at least one real value, which is not below the
    padding: minus infinity (or -65504 and less), or up to 0 where values are not negative.

    Args:
        graph: The model.
        nodes: Names of the Pads to consider; None for all. Others among them are left.
    """
    producers, readers = graph.producers(), graph.consumers()
    merged: dict[str, Node] = {}
    for node in graph.nodes:
        if node.op_type != "Pad" or (nodes is not None and node.name not in nodes):
            continue
        pools = readers.get(node.outputs[0], [])
        pads = _spatial_pads(graph, node)
        if pads is None or not pools or node.outputs[0] in graph.output_names:
            continue
        if not _is_below_all(graph, node, producers):
            continue
        padded = [_padded(pool, pads, node) for pool in pools]
        if all(pool is not None for pool in padded):
            merged.update({pool.name: pool for pool in padded if pool is not None})
    if not merged:
        return graph
    return remove_dead(graph.with_nodes(merged.get(node.name, node) for node in graph.nodes))


def _spatial_pads(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """Return begins and ends of the spatial axes; None where others are padded or unknown."""
    if node.attributes.get("mode", "constant") not in ("constant", b"constant"):
        return None
    if len(node.inputs) > 3 and node.inputs[3]:
        return None
    given: Array | None = graph.initializers.get(node.input(1))
    pads = np.asarray(node.attributes.get("pads", ())) if given is None else given
    rank = len(pads) // 2
    if rank < 3 or (pads < 0).any() or pads[[0, 1, rank, rank + 1]].any():
        return None
    return tuple(int(pad) for pad in (*pads[2:rank], *pads[rank + 2 :]))


def _is_below_all(graph: Graph, node: Node, producers: dict[str, Node]) -> bool:
    value = float(node.attribute("value", 0.0))
    if node.input(2):
        constant = graph.initializers.get(node.input(2))
        if constant is None:
            return False
        value = float(constant.ravel()[0])
    source = producers.get(node.inputs[0])
    is_positive = source is not None and source.op_type in _NOT_NEGATIVE
    return value <= LOWEST_USUAL or (value <= 0 and is_positive)


def _padded(pool: Node, pads: tuple[int, ...], pad: Node) -> Node | None:
    """Return the pool with these pads added; None where it cannot take them."""
    if pool.op_type != "MaxPool" or len(pool.outputs) > 1:
        return None
    if pool.attribute("ceil_mode", 0) or pool.attributes.get("auto_pad", "NOTSET") not in (
        "NOTSET", b"NOTSET", "VALID", b"VALID",
    ):  # fmt: skip
        return None
    kernel: tuple[int, ...] = pool.attribute("kernel_shape", ())
    own = pool.attribute("pads", (0,) * len(pads))
    total = tuple(one + other for one, other in zip(own, pads, strict=True))
    # A window of padding alone would give minus infinity.
    windows: tuple[int, ...] = (*kernel, *kernel)
    if any(size >= window for size, window in zip(total, windows, strict=True)):
        return None
    attributes = {key: value for key, value in pool.attributes.items() if key != "auto_pad"}
    return replace(pool, inputs=pad.inputs[:1], attributes={**attributes, "pads": total})
