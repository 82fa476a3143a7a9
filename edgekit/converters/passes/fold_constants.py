"""Compute once what depends on constants and known shapes only.

The values come from ONNX Runtime's own kernels, a few shape-sized ones from numpy. What is
folded is decided here, so that names stay, nothing else is rewritten, and quantized weights
keep their DequantizeLinear.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from edgekit.converters.onnx_model import infer_shapes
from edgekit.converters.passes.fold_small import fold_small
from edgekit.errors import EngineError
from edgekit.graph import Array, Graph, Node, captured_names
from edgekit.tensor import TensorSpec

logger = logging.getLogger(__name__)

MAX_FOLDED_BYTES = 1 << 30
"""A constant larger than this stays an operator: it would not fit a device either."""
_MAX_ROUNDS = 20
_NEVER = frozenset(
    {
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        *("Bernoulli", "Multinomial", "Dropout"),
        # These are how a quantized model stores its weights.
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
        *("If", "Loop", "Scan"),
    }
)


def fold_constants(graph: Graph) -> Graph:
    """Return the graph with every operator on constants replaced by its result."""
    for _ in range(_MAX_ROUNDS):
        known = _known_shapes(graph)
        shaped = _with_constants(graph, known)
        foldable = _foldable(shaped)
        if not foldable:
            return shaped if not known else infer_shapes(shaped)
        values = _compute(shaped, foldable)
        if values is None:
            return shaped
        graph = infer_shapes(_with_constants(shaped, values))
    return graph


def _with_constants(graph: Graph, values: dict[str, Array]) -> Graph:
    """Return the graph with these tensors constant, their producers gone."""
    if not values:
        return graph
    kept = [node for node in graph.nodes if not any(name in values for name in node.outputs)]
    return graph.with_nodes(kept, initializers={**graph.initializers, **values})


def _known_shapes(graph: Graph) -> dict[str, Array]:
    """Return results of Shape and Size, and of picks from them, that the types tell."""
    values: dict[str, Array] = {}
    partial: dict[str, tuple[int | str, ...]] = {}
    for node in graph.nodes:
        if node.domain:
            continue
        spec = graph.values.get(node.input(0))
        if node.op_type == "Size" and spec is not None and spec.is_static:
            values[node.outputs[0]] = np.array(math.prod(spec.static_shape), dtype=np.int64)
        if node.op_type == "Shape" and spec is not None and spec.shape is not None:
            end = node.attribute("end", len(spec.shape))
            partial[node.outputs[0]] = spec.shape[node.attribute("start", 0) : end]
        picked = partial.get(node.input(0))
        if picked is not None:
            partial |= _pick(node, picked, graph)
    for name, dims in partial.items():
        if all(isinstance(dim, int) for dim in dims):
            values[name] = np.array(dims, dtype=np.int64)
    return {**values, **_scalar_picks(graph, partial)}


def _pick(
    node: Node, dims: tuple[int | str, ...], graph: Graph
) -> dict[str, tuple[int | str, ...]]:
    """Return what a Slice takes from a shape."""
    if node.op_type != "Slice":
        return {}
    bounds = [graph.initializers.get(node.input(index)) for index in (1, 2)]
    steps = graph.initializers.get(node.input(4))
    if any(bound is None or bound.size != 1 for bound in bounds):
        return {}
    if node.input(4) and (steps is None or steps.size != 1):
        return {}
    start, stop = (int(bound.item()) for bound in bounds if bound is not None)
    step = 1 if steps is None else int(steps.item())
    return {node.outputs[0]: dims[slice(start, stop, step)]} if step > 0 else {}


def _scalar_picks(graph: Graph, partial: dict[str, tuple[int | str, ...]]) -> dict[str, Array]:
    """Return what Gather takes from shapes that are known in part."""
    values: dict[str, Array] = {}
    for node in graph.nodes:
        dims = partial.get(node.input(0))
        index = graph.initializers.get(node.input(1))
        if node.op_type != "Gather" or node.domain or dims is None or index is None:
            continue
        positions = index.astype(np.int64).reshape(-1)
        if np.any(positions >= len(dims)) or np.any(positions < -len(dims)):
            continue
        picked = [dims[position] for position in positions]
        if all(isinstance(dim, int) for dim in picked):
            values[node.outputs[0]] = np.array(picked, dtype=np.int64).reshape(index.shape)
    return values


def _foldable(graph: Graph) -> list[Node]:
    """Return the nodes that depend on constants only and whose results are small enough."""
    constant = set(graph.initializers)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.domain or node.op_type in _NEVER or captured_names(node):
            continue
        if not all(name in constant for name in node.inputs if name):
            continue
        if not all(_is_small(graph.values.get(name)) for name in node.outputs if name):
            continue
        nodes.append(node)
        constant.update(node.outputs)
    return nodes


def _is_small(spec: TensorSpec | None) -> bool:
    if spec is None or not spec.is_static or spec.dtype.value in ("string", "int4", "uint4"):
        return False
    return math.prod(spec.static_shape) * spec.dtype.to_numpy().itemsize <= MAX_FOLDED_BYTES


def _compute(graph: Graph, nodes: list[Node]) -> dict[str, Array] | None:
    """Return the results that remaining nodes or outputs read; None where the engine cannot."""
    small = fold_small(graph, nodes)
    if small is not None:
        return small
    # Only a model that has something large to fold pays for the import (0.2 s).
    from edgekit.converters.evaluate import evaluate

    inside = {id(node) for node in nodes}
    made = {name for node in nodes for name in node.outputs if name}
    rest = [node for node in graph.nodes if id(node) not in inside]
    wanted = {*graph.output_names, *_reads(rest)} & made
    outputs = tuple(graph.values[name] for name in sorted(wanted))
    if not outputs:
        return None
    part = replace(graph, inputs=(), outputs=outputs).with_nodes(nodes)
    try:
        values = evaluate(part, {})
    except EngineError as error:
        logger.warning("constants are not folded: %s", error)
        return None
    logger.info("folded %d operators into %d constants", len(nodes), len(values))
    return values


def _reads(nodes: Iterable[Node]) -> set[str]:
    return {name for node in nodes for name in (*node.inputs, *captured_names(node)) if name}
