"""What quantizing one layer alone costs, and which layers are worth keeping in float.

For each layer: its inputs, weights and result are rounded as the integers would be, on a few
samples whose activations are kept; the rounded result runs through the rest of the network
only. So a layer costs a part of one run, never a pass over the data. How a layer is rounded and
how the rest is run is told by two callables; nothing here knows ONNX.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.graph import Array

MOST_DB = 120.0
"""A layer that changes nothing is given this ratio: float32 itself has about 140 dB."""

# A float layer between integer ones costs two conversions, whatever it computes; as a share of
# the whole model's work. Without it the smallest layers would always come first.
_OVERHEAD = 0.02
_CHANNELLED = 3  # axes of an output that has channels
_MOST_CHANNELS = 1024


@dataclass(frozen=True)
class Layer:
    """What goes back to float together: a layer, and the activation fused into it.

    Args:
        name: Of its main node.
        nodes: Names of all its nodes, in order.
        op_type: Of its main node.
        work: Multiplications of one run (elements written, where it multiplies none).
        weights: Number of its constant weights.
    """

    name: str
    nodes: tuple[str, ...]
    op_type: str
    work: int
    weights: int = 0


@dataclass(frozen=True)
class Sensitivity:
    """What quantizing one layer alone costs.

    Args:
        layer: Which.
        local_db: Signal-to-quantization-noise ratio of its own result, in dB.
        output_db: The same at the model's outputs, every channel of an output counting alike:
            the worst of them, over the samples.
        work_share: Its part of the model's work, 0 to 1.
    """

    layer: Layer
    local_db: float
    output_db: float
    work_share: float

    @property
    def noise(self) -> float:
        """Noise power over signal power at the outputs."""
        return float(10 ** (-self.output_db / 10))

    @property
    def worth(self) -> float:
        """Noise that keeping it in float takes away, for the time that it costs."""
        return self.noise / (self.work_share + _OVERHEAD)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "layer": self.layer.name,
            "operator": self.layer.op_type,
            "nodes": list(self.layer.nodes),
            "local_sqnr_db": round(self.local_db, 2),
            "output_sqnr_db": round(self.output_db, 2),
            "work_share": round(self.work_share, 6),
            "weights": self.layer.weights,
        }


Tensors = Mapping[str, Array]
Rounded = Callable[[Layer, Tensors], Tensors]
"""A layer and a sample's activations by name to its results, computed with integers."""

Rest = Callable[[Layer, Tensors, Tensors], Tensors]
"""A layer, its rounded results and the sample's activations to the model's outputs."""


def measure_sensitivity(
    layers: Sequence[Layer],
    activations: Sequence[Tensors],
    *,
    rounded: Rounded,
    rest: Rest,
    outputs: Sequence[str],
    progress: Callable[[int], None] | None = None,
) -> tuple[Sensitivity, ...]:
    """Return each layer's cost, the most worthwhile to keep in float first.

    Args:
        layers: Those that can be integers.
        activations: Every tensor of the float model by name, for each of a few samples.
        rounded: Computes a layer alone.
        rest: Computes what follows it.
        outputs: Names of the model's outputs.
        progress: Told how many layers are done.
    """
    total = sum(layer.work for layer in layers) or 1
    found: list[Sensitivity] = []
    for number, layer in enumerate(layers, 1):
        local, end = [], []
        for kept in activations:
            results = rounded(layer, kept)
            if not results:
                continue
            local.append(_ratio((results[name], kept[name]) for name in results))
            changed = rest(layer, results, kept)
            end += [output_db(changed[name], kept[name]) for name in outputs]
        found.append(
            Sensitivity(
                layer,
                min(local, default=MOST_DB),
                min(end, default=MOST_DB),
                layer.work / total,
            )
        )
        if progress is not None:
            progress(number)
    return rank(found)


def rank(costs: Iterable[Sensitivity]) -> tuple[Sensitivity, ...]:
    """Return them, the most worthwhile to keep in float first."""
    return tuple(sorted(costs, key=lambda item: (-item.worth, item.layer.name)))


def sqnr_db(actual: Array, reference: Array) -> float:
    """Return ``10 log10(signal power / noise power)``, at most ``MOST_DB``; NaN counts as -inf."""
    return _ratio([(actual, reference)])


def output_db(actual: Array, reference: Array) -> float:
    """Return the ratio of an output whose channels may differ in scale.

    A detector's rows hold pixels beside scores: over all elements, only the pixels would count.
    So noise over signal is averaged over the slices of an axis, at most 1 each, and the worst
    axis is taken.

    Args:
        actual: With a layer rounded.
        reference: Of the float model.
    """
    right = np.asarray(reference, np.float64)
    noise = np.square(np.asarray(actual, np.float64) - right)
    least = _ratio([(actual, reference)])
    for axis, size in enumerate(right.shape):
        if right.ndim < _CHANNELLED or not 1 < size <= _MOST_CHANNELS:
            continue
        others = tuple(index for index in range(right.ndim) if index != axis)
        signals, noises = np.square(right).sum(axis=others), noise.sum(axis=others)
        there = signals > 0
        if there.any() and np.isfinite(noises).all():
            share = float(np.minimum(noises[there] / signals[there], 1.0).mean())
            least = min(least, -10 * math.log10(share) if share > 0 else MOST_DB)
    return least


def _ratio(pairs: Iterable[tuple[Array, Array]]) -> float:
    signal = noise = 0.0
    for actual, reference in pairs:
        right = np.asarray(reference, np.float64)
        signal += float(np.square(right).sum())
        noise += float(np.square(np.asarray(actual, np.float64) - right).sum())
    if not math.isfinite(noise):
        return -MOST_DB
    if noise == 0:
        return MOST_DB
    if signal == 0:
        return -MOST_DB
    return min(MOST_DB, 10 * math.log10(signal / noise))
