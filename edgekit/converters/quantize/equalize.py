"""Move scale from a layer's large output channels into the next layer's inputs.

With ``y = B relu(A x)`` and s > 0 per channel, ``B s relu(A x / s)`` is the same function. It
is chosen so that a channel is as large as its share in both layers, and no channel is lost in
the one code of the activation between them. Only what commutes with a positive factor may lie
between: ReLU, LeakyReLU, PReLU and pooling; ReLU6 does not.

The result is another float model: calibrate it, not the one before.

Source: Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and Bias
Correction", equation 11.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgekit.converters.quantize.layer import Floats
from edgekit.converters.quantize.operators import Role, role_of
from edgekit.graph import Array, Graph, Node

logger = logging.getLogger(__name__)

_COMMUTES = frozenset(
    {
        *("Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool"),
        *("GlobalMaxPool", "Identity"),
    }
)
_ROUNDS = 20
LARGEST_FACTOR = 64.0
"""A channel is scaled by at most this; dead channels would ask for any factor."""


def equalize(graph: Graph) -> Graph:
    """Return the same function with channels of like range between layers."""
    pairs = layer_pairs(graph)
    constants: dict[str, Array] = dict(graph.initializers)
    totals = [np.ones(_outputs(first, constants)) for first, _ in pairs]
    for _ in range(_ROUNDS):
        moved = 0.0
        for index, (first, second) in enumerate(pairs):
            wanted = totals[index] * _factor(first, second, constants)
            total = np.clip(wanted, 1 / LARGEST_FACTOR, LARGEST_FACTOR)
            factor = total / totals[index]
            totals[index] = total
            _apply(first, second, factor, constants)
            moved = max(moved, float(np.abs(np.log(factor)).max(initial=0.0)))
        if moved < 1e-3:
            break
    logger.info("equalized %d pairs of layers", len(pairs))
    return replace(graph, initializers=constants)


def layer_pairs(graph: Graph) -> list[tuple[Node, Node]]:
    """Return layers between whose channels scale can move, in order."""
    readers, producers = graph.consumers(), graph.producers()
    pairs: list[tuple[Node, Node]] = []
    for second in graph.nodes:
        if not _has_own_weights(second, graph, readers):
            continue
        name = second.inputs[0]
        while True:
            maker = producers.get(name)
            if maker is None or len(readers[name]) != 1 or name in graph.output_names:
                break
            if maker.op_type not in _COMMUTES:
                if _has_own_weights(maker, graph, readers) and _fits(maker, second, graph):
                    pairs.append((maker, second))
                break
            name = maker.inputs[0]
    return pairs


def _has_own_weights(node: Node, graph: Graph, readers: Mapping[str, Sequence[Node]]) -> bool:
    if node.op_type not in ("Conv", "ConvTranspose") or role_of(node, graph) is not Role.LAYER:
        return False
    constants = [name for name in node.inputs[1:] if name]
    group = node.attribute("group", 1)
    if node.op_type == "ConvTranspose" and group != 1:
        return False
    return all(len(readers[name]) == 1 and name in graph.initializers for name in constants)


def _fits(first: Node, second: Node, graph: Graph) -> bool:
    return _outputs(first, graph.initializers) == _input_peaks(second, graph.initializers).size


def _outputs(node: Node, constants: Mapping[str, Array]) -> int:
    shape = constants[node.inputs[1]].shape
    return int(shape[0] if node.op_type == "Conv" else shape[1])


def _output_peaks(node: Node, constants: Mapping[str, Array]) -> Floats:
    weight = np.abs(constants[node.inputs[1]]).astype(np.float64)
    axis = 0 if node.op_type == "Conv" else 1
    peaks: Floats = weight.max(axis=tuple(i for i in range(weight.ndim) if i != axis))
    return peaks


def _input_peaks(node: Node, constants: Mapping[str, Array]) -> Floats:
    """Return the largest weight on each input channel, over all groups in order."""
    weight = np.abs(constants[node.inputs[1]]).astype(np.float64)
    if node.op_type == "ConvTranspose":
        peaks: Floats = weight.max(axis=tuple(range(1, weight.ndim)))
        return peaks
    group = node.attribute("group", 1)
    # (C_out, C_in / group, ...) -> (group, C_out / group, C_in / group, taps)
    parts = weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
    largest: Floats = parts.max(axis=(1, 3))
    return largest.reshape(-1)


def _factor(first: Node, second: Node, constants: Mapping[str, Array]) -> Floats:
    """Return s per channel: the first layer is divided by it, the second multiplied."""
    made, read = _output_peaks(first, constants), _input_peaks(second, constants)
    usable = (made > 0) & (read > 0)
    factor: Floats = np.ones_like(made)
    factor[usable] = np.sqrt(made[usable] / read[usable])
    # A common factor changes nothing; without it the activation keeps its size.
    common = float(np.exp(np.log(factor).mean()))
    return factor / common


def _apply(first: Node, second: Node, factor: Floats, constants: dict[str, Array]) -> None:
    weight = constants[first.inputs[1]]
    axis = 0 if first.op_type == "Conv" else 1
    shape = [1] * weight.ndim
    shape[axis] = factor.size
    constants[first.inputs[1]] = (weight / factor.reshape(shape)).astype(np.float32)
    if first.input(2):
        bias = constants[first.inputs[2]]
        constants[first.inputs[2]] = (bias / factor).astype(np.float32)
    read = second.inputs[1]
    constants[read] = _scaled_inputs(second, constants[read], factor)


def _scaled_inputs(node: Node, weight: Array, factor: Floats) -> Array:
    if node.op_type == "ConvTranspose":
        return (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32)
    group = node.attribute("group", 1)
    parts = weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
    scaled = parts * factor.reshape(group, 1, weight.shape[1], 1)
    return scaled.reshape(weight.shape).astype(np.float32)
