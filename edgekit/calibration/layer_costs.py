"""Measure what quantizing each layer alone costs, from one set of kept activations.

For each layer: its inputs, weights and result are rounded as the integers would be; the rounded
result runs through the rest of the network only. So a layer costs a part of one run, never a
pass over the data. How a layer is rounded and how the rest is run is told by a callable; nothing
here knows ONNX.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.calibration.sensitivity import Layer, Sensitivity, rank
from edgekit.errors import UsageError
from edgekit.graph import Array
from edgekit.metrics.base import Metric

MOST_DB = 120.0
"""A layer that changes nothing is given this ratio: float32 itself has about 140 dB."""

_CHANNELLED = 3  # axes of an output that has channels
_MOST_CHANNELS = 1024

Tensors = Mapping[str, Array]

Alone = Callable[[Layer], Callable[[Tensors], tuple[Tensors, Tensors]]]
"""Prepares a layer: from a sample's activations by name to the layer's results, computed with
integers, and to the model's outputs where it gives these."""


class LayerCosts:
    """What each layer costs, from as many samples as were added.

    Args:
        layers: Those that can be integers.
        outputs: Names of the model's outputs.
        metric: Makes an empty record of the user's metric; None measures noise alone.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        outputs: Sequence[str],
        *,
        metric: Callable[[], Metric] | None = None,
    ) -> None:
        self._layers = layers
        self._outputs = outputs
        self._local: dict[str, float] = {layer.name: MOST_DB for layer in layers}
        self._end: dict[str, float] = {layer.name: MOST_DB for layer in layers}
        self._float = None if metric is None else metric()
        self._records = {} if metric is None else {layer.name: metric() for layer in layers}

    def add(
        self,
        activations: Sequence[Tensors],
        alone: Alone,
        *,
        read: Callable[[int, Tensors], tuple[Any, Any]] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Take some samples in.

        Args:
            activations: Every tensor of the float model by name, for each sample.
            alone: Runs a layer in integers, and what follows it.
            read: Returns what the metric takes of a sample's outputs: the model's answer and
                what is right. Given the sample's index in ``activations``, and the outputs.
            progress: Told how many layers are done.
        """
        for index, kept in enumerate(activations):
            self._record(self._float, index, {name: kept[name] for name in self._outputs}, read)
        for number, layer in enumerate(self._layers, 1):
            run = alone(layer)
            for index, kept in enumerate(activations):
                results, changed = run(kept)
                if results:
                    own = _ratio((results[name], kept[name]) for name in results)
                    ends = [output_db(changed[name], kept[name]) for name in self._outputs]
                    self._local[layer.name] = min(self._local[layer.name], own)
                    self._end[layer.name] = min(self._end[layer.name], *ends)
                self._record(self._records.get(layer.name), index, changed, read)
            if progress is not None:
                progress(number)

    def costs(self) -> tuple[Sensitivity, ...]:
        """Return each layer's cost, the most worthwhile to keep in float first."""
        total = sum(layer.work for layer in self._layers) or 1
        found = []
        for layer in self._layers:
            lost, sure = self._lost(layer.name)
            ratios = self._local[layer.name], self._end[layer.name]
            share = layer.work / total
            found.append(Sensitivity(layer, *ratios, share, lost=lost, sure_lost=sure))
        return rank(found)

    @property
    def baseline(self) -> float:
        """The float model's metric on the samples that were added; NaN without a metric."""
        return math.nan if self._float is None else _value(self._float)

    def _record(
        self,
        record: Metric | None,
        index: int,
        outputs: Tensors,
        read: Callable[[int, Tensors], tuple[Any, Any]] | None,
    ) -> None:
        if record is not None and read is not None:
            actual, expected = read(index, outputs)
            record.add([actual], [expected])

    def _lost(self, name: str) -> tuple[float, float]:
        """Return what the metric loses, and what of it is sure as a share of the float value."""
        record, base = self._records.get(name), self._float
        if record is None or base is None or not base.count:
            return math.nan, 0.0
        sign = 1 if base.higher_is_better else -1
        whole = _value(base)
        lost = sign * (whole - _value(record))
        if not math.isfinite(lost):
            return math.nan, 0.0
        apart = np.subtract(base.scores(), record.scores())
        apart = apart[np.isfinite(apart)]
        error = float(apart.std(ddof=1) / math.sqrt(apart.size)) if apart.size > 1 else 0.0
        return lost, max(0.0, lost - error) / (abs(whole) or 1.0)


def _value(record: Metric) -> float:
    """Return the metric; NaN where so few samples do not define it, such as one of each person."""
    try:
        return record.value()
    except UsageError:
        return math.nan


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
