"""Make the channels of an activation alike, so that one scale serves them all.

A channel is divided by s > 0 where it begins and the weights that read it are multiplied by s:
the float result stays. With s = sqrt(a / w), a being the channel's largest value on samples and
w its largest weight as a part of its row, neither the channel nor its weights get lost; where
only depthwise layers read it, whose rows have scales of their own, s = a.

Where a channel begins at a layer, also behind ReLU, PReLU or pooling, this is free. A SiLU does
not pass a factor on: u = x / s comes out of the layer, one Mul gives x = s u for the Sigmoid,
and u sigmoid(x) is the channel over s. That Mul takes time, so it is made only where one scale
for all channels loses much: see ``MAX_SQNR_DB`` and ``MIN_GAIN_DB``.

Sources: Nagel et al. 2019, "Data-Free Quantization" (scales move through what is homogeneous);
Xiao et al. 2023, "SmoothQuant", equation 4 with alpha = 0.5 (shares of activation and weight).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgekit.converters.passes.remove_dead import remove_dead
from edgekit.converters.quantize.channels import Channels, Gate, find_channels
from edgekit.converters.quantize.layer import Floats
from edgekit.graph import Array, Graph, Node

logger = logging.getLogger(__name__)

MAX_SQNR_DB = 25.0
"""A SiLU's channels are left alone where their rounding costs its readers less than this."""
MIN_GAIN_DB = 3.0
"""And where scaling them gains less than this."""
LARGEST_FACTOR = 1024.0
"""A channel is enlarged by at most this, against the largest of those scaled with it."""
LEVELS = 256
_SMALLEST = 1e-12


@dataclass(frozen=True)
class _Seen:
    """What samples show.

    Args:
        peaks: By name of a tensor that layers read, each channel's largest absolute value.
        powers: By name of a layer, the variance of each channel of its result.
    """

    peaks: Mapping[str, Floats]
    powers: Mapping[str, Floats]


def balance_channels(graph: Graph, samples: Sequence[Mapping[str, Array]]) -> Graph:
    """Return the same function with channels of like size in what layers read.

    Args:
        graph: The float model, from ``prepare_for_integers``.
        samples: Inputs by name, preprocessed; 16 to 64 of them.
    """
    channels = find_channels(graph)
    if not channels.readers or not samples:
        return graph
    seen = _look(graph, channels.readers, samples)
    factors = _factors(graph, channels, seen)
    worth = _worthwhile(graph, channels, seen, factors)
    for name in channels.gates:
        if name not in worth:
            channels.pin(name)
    factors[list(channels.pinned)] = 1.0
    logger.info("scaled the channels of %d SiLU", len(worth))
    return _rewritten(graph, channels, factors)


def can_balance(graph: Graph) -> bool:
    """Whether there are channels that can be scaled."""
    channels = find_channels(graph)
    pinned = channels.pinned
    return any(
        not pinned.issuperset(map(int, channels.roots(n.inputs[0]))) for n in channels.readers
    )


def _look(graph: Graph, readers: Sequence[Node], samples: Sequence[Mapping[str, Array]]) -> _Seen:
    from edgekit.converters.evaluate import open_graph

    sources = list(dict.fromkeys(node.inputs[0] for node in readers))
    results = [node.outputs[0] for node in readers]
    names = [name for name in dict.fromkeys((*sources, *results)) if name not in graph.input_names]
    tapped = remove_dead(replace(graph, outputs=tuple(graph.values[name] for name in names)))
    peaks: dict[str, Floats] = {}
    sums: dict[str, list[Floats]] = {name: [] for name in results}
    run = open_graph(tapped)
    for sample in samples:
        made = run({name: sample[name] for name in tapped.input_names})
        for name in sources:
            peak = np.abs(made[name]).max(axis=_others(made[name])).astype(np.float64)
            peaks[name] = np.maximum(peaks.get(name, peak), peak)
        for name in results:
            axes = _others(made[name])
            value = made[name]
            sums[name].append(
                np.stack(
                    [value.mean(axis=axes, dtype=np.float64), np.square(value).mean(axis=axes)]
                )
            )
    powers: dict[str, Floats] = {}
    for node in readers:
        mean, square = np.mean(sums[node.outputs[0]], axis=0)
        powers[node.name] = np.maximum(square - np.square(mean), _SMALLEST)
    return _Seen(peaks, powers)


def _others(value: Array) -> tuple[int, ...]:
    return tuple(axis for axis in range(value.ndim) if axis != 1)


def _factors(graph: Graph, channels: Channels, seen: _Seen) -> Floats:
    """Return s for each number of ``channels``, at most 1."""
    largest, weights = np.zeros(channels.count), np.zeros(channels.count)
    is_shared = np.zeros(channels.count, bool)
    for node in channels.readers:
        roots = channels.roots(node.inputs[0])
        np.maximum.at(largest, roots, seen.peaks[node.inputs[0]])
        np.maximum.at(weights, roots, _column_peaks(node, graph))
        is_shared[roots] |= not _is_depthwise(node, graph)
    usable = (largest > 0) & (weights > 0)
    factors = np.ones(channels.count)
    factors[usable] = np.where(
        is_shared, np.sqrt(largest / np.maximum(weights, _SMALLEST)), largest
    )[usable]
    return _normalised(factors, channels, usable)


def _normalised(factors: Floats, channels: Channels, usable: Array) -> Floats:
    """Return factors over the largest of those that meet in a tensor; no channel gets smaller.

    A factor that all of them have changes nothing.
    """
    together = np.arange(channels.count)
    for node in channels.readers:
        roots = channels.roots(node.inputs[0])
        met = np.unique(together[roots])
        together[np.isin(together, met)] = met[0]
    tops = np.zeros(channels.count)
    np.maximum.at(tops, together, np.where(usable, factors, 0.0))
    top = tops[together]
    result: Floats = np.where(usable & (top > 0), factors / np.maximum(top, _SMALLEST), 1.0)
    return np.maximum(result, 1 / LARGEST_FACTOR)


def _column_peaks(node: Node, graph: Graph) -> Floats:
    """Return each input channel's largest weight, as a part of its row's largest."""
    columns = _columns(node, graph)
    rows = np.maximum(columns.max(axis=(2, 3), keepdims=True), _SMALLEST)
    peaks: Floats = (columns / rows).max(axis=(1, 3))
    return peaks.reshape(-1)


def _columns(node: Node, graph: Graph) -> Floats:
    """Return absolute weights as (groups, outputs, inputs, taps)."""
    weight = np.abs(graph.initializers[node.inputs[1]]).astype(np.float64)
    group = node.attribute("group", 1)
    return weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)


def _is_depthwise(node: Node, graph: Graph) -> bool:
    return bool(node.attribute("group", 1) > 1 and graph.initializers[node.inputs[1]].shape[1] == 1)


def _worthwhile(graph: Graph, channels: Channels, seen: _Seen, factors: Floats) -> set[str]:
    """Return the tensors of gates whose Mul pays.

    For each layer that reads it: noise of the rounded tensor times squared weights, over the
    variance of the layer's result, as a mean over its channels; before and after scaling.
    """
    scaled: set[int] = set()
    for node in channels.readers:
        roots = channels.roots(node.inputs[0])
        if _pays(node, graph, seen, factors[roots]):
            scaled.update(map(int, roots))
    return {
        name for name in channels.gates if not scaled.isdisjoint(map(int, channels.roots(name)))
    }


def _pays(node: Node, graph: Graph, seen: _Seen, factors: Floats) -> bool:
    weights = np.square(_columns(node, graph)).sum(axis=3)
    power = seen.powers[node.name].reshape(weights.shape[0], -1, 1)
    # (groups, outputs, inputs) -> (all inputs,): noise at the result by one unit of it there
    load = (weights / power).mean(axis=1).reshape(-1) / weights.shape[0]
    peaks = seen.peaks[node.inputs[0]]
    step = 1 / (LEVELS - 1)
    before = np.square(peaks.max() * step) / 12 * load.sum()
    after = np.square((peaks / factors).max() * step) / 12 * (load * np.square(factors)).sum()
    first, second = (-10 * math.log10(max(float(item), _SMALLEST)) for item in (before, after))
    return first <= MAX_SQNR_DB and second - first >= MIN_GAIN_DB


def _rewritten(graph: Graph, channels: Channels, factors: Floats) -> Graph:
    """Return the graph with the factors in its weights, and a Mul at each SiLU that has one."""
    constants: dict[str, Array] = dict(graph.initializers)
    values = dict(graph.values)
    nodes = {node.name: node for node in graph.nodes}
    behind: dict[str, Node] = {}
    for node in channels.readers:
        _multiply(node, factors[channels.roots(node.inputs[0])], constants)
    for name, layer in channels.makers.items():
        _divide(layer, factors[channels.roots(name)], constants)
    for name, gate in channels.gates.items():
        factor = factors[channels.roots(name)]
        if np.all(factor == 1.0):
            continue
        _divide(gate.layer, factor, constants)
        source = gate.layer.outputs[0]
        scaled, constant = f"{source}/balanced", f"{source}/factor"
        rank = constants[gate.layer.inputs[1]].ndim
        constants[constant] = factor.astype(np.float32).reshape(-1, *[1] * (rank - 2))
        values[scaled] = replace(values[source], name=scaled)
        nodes[gate.layer.name] = replace(gate.layer, outputs=(scaled,))
        nodes[gate.product.name] = _reading(gate, scaled)
        behind[gate.layer.name] = Node(
            "Mul", (scaled, constant), (source,), {}, name=f"{source}/unscale"
        )
    made: list[Node] = []
    for node in graph.nodes:
        made.append(nodes[node.name])
        if node.name in behind:
            made.append(behind[node.name])
    return replace(graph, values=values).with_nodes(made, initializers=constants)


def _reading(gate: Gate, scaled: str) -> Node:
    source = gate.layer.outputs[0]
    names = tuple(scaled if name == source else name for name in gate.product.inputs)
    return replace(gate.product, inputs=names)


def _multiply(node: Node, factor: Floats, constants: dict[str, Array]) -> None:
    weight = constants[node.inputs[1]]
    group = node.attribute("group", 1)
    parts = weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
    scaled = parts * factor.reshape(group, 1, weight.shape[1], 1)
    constants[node.inputs[1]] = scaled.reshape(weight.shape).astype(np.float32)


def _divide(node: Node, factor: Floats, constants: dict[str, Array]) -> None:
    weight = constants[node.inputs[1]]
    divided = weight / factor.reshape(-1, *[1] * (weight.ndim - 1))
    constants[node.inputs[1]] = divided.astype(np.float32)
    if node.input(2):
        constants[node.inputs[2]] = (constants[node.inputs[2]] / factor).astype(np.float32)
