"""What brings a quantized model nearer to its float model, on samples that are kept for that.

A mean error measured on few samples is partly those samples' own, and weights that are rounded
for one layer's output may serve the model's less; so each step is measured at the model's
outputs, on samples that it was not made from. What usually helps stays and the usual choice is
taken where the samples do not tell: two values of a classifier say little about a step, the maps
of a detector tell a tenth of a decibel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from edgekit.calibration.contract import Recipe
from edgekit.graph import Array, Graph
from edgekit.pipeline.progress import Progress
from edgekit.pipeline.tap import GraphTap

MIN_SAMPLES = 4
"""Fewer say nothing about a gain's standard error."""
_CERTAIN = 3.0  # standard errors: such a difference is no chance, also of the largest of five
_MOST_DB = 120.0  # float32 itself: what is nearer is equal

_KEPT_BYTES = 64 << 20  # of the float model's outputs

Decibels = NDArray[np.float64]


def helpful_steps(
    steps: Sequence[str],
    make: Callable[[tuple[str, ...]], Graph],
    measure: Callable[[Graph], Decibels],
    *,
    progress: Progress,
) -> tuple[str, ...]:
    """Return the steps that are not seen to harm: all, without those that do, one after the other.

    From all of them downwards, since they make up for each other: balanced channels alone may be
    nothing to a model whose weights are rounded to nearest, and much behind adaptive rounding.

    Args:
        steps: Names, the one first that costs most to have.
        make: Returns the model with some of the steps.
        measure: As ``Yard`` does.
        progress: Told what came of each.
    """
    kept = tuple(steps)
    best = measure(make(kept))
    for name in steps:
        fewer = tuple(each for each in kept if each != name)
        without = measure(make(fewer))
        gain, error = difference_db(best, without)
        is_harmful = gain < -_CERTAIN * error
        word = "left out" if is_harmful else "kept"
        progress(f"{name}: {gain:+.2f} dB (standard error {error:.2f}) on other samples: {word}")
        if is_harmful:
            kept, best = fewer, without
    return kept


def nearest(
    recipes: Sequence[Recipe],
    make: Callable[[Recipe], Graph],
    measure: Callable[[Graph], Decibels],
    *,
    progress: Progress,
) -> Recipe:
    """Return the first recipe, or the nearest of those that are nearer for certain.

    Args:
        recipes: The usual one first.
        make: Returns the model by a recipe.
        measure: As ``Yard`` does.
        progress: Told what came of it.
    """
    usual, *others = recipes
    start = measure(make(usual))
    chosen, most = usual, 0.0
    for recipe in others:
        gain, error = difference_db(measure(make(recipe)), start)
        if gain > max(_CERTAIN * error, most):
            chosen, most = recipe, gain
    if chosen != usual:
        progress(f"{chosen}: {most:+.2f} dB against {usual}")
    return chosen


def difference_db(first: Decibels, second: Decibels) -> tuple[float, float]:
    """Return by how much ``first`` is nearer, as the mean over samples, and its standard error."""
    gains = (first - second).mean(axis=1)
    return float(gains.mean()), float(gains.std(ddof=1) / math.sqrt(gains.size))


class Yard:
    """Measures how near a model's outputs are to those of the float model.

    Args:
        wanted: The float model.
        samples: Inputs by name; at least ``MIN_SAMPLES``.
    """

    def __init__(self, wanted: Graph, samples: Sequence[Mapping[str, Array]]) -> None:
        self._wanted = wanted
        self._samples = samples
        self._kept: list[dict[str, Array]] = []

    def __call__(self, made: Graph) -> Decibels:
        """Return signal to noise of each float output on each sample: (samples, outputs), in dB.

        Args:
            made: As ONNX Runtime takes it, with the same inputs and outputs.
        """
        names = list(self._wanted.output_names)
        rows: list[list[float]] = []
        # In turns: only one sample's outputs are held where they are large.
        with GraphTap(made, names) as run, closing(self._rights(names)) as rights:
            for sample, right in zip(self._samples, rights, strict=True):
                given = dict(run(sample))
                floats = [name for name in names if right[name].dtype.kind == "f"]
                rows.append([_ratio_db(given[name], right[name]) for name in floats])
        return np.array(rows).reshape(len(rows), -1)

    def _rights(self, names: Sequence[str]) -> Generator[dict[str, Array]]:
        """Yield the float model's outputs; they are kept while they are small."""
        yield from self._kept
        if len(self._kept) == len(self._samples):
            return
        with GraphTap(self._wanted, names) as run:
            for sample in self._samples[len(self._kept) :]:
                # A session may hand out the same memory again.
                right = {name: np.array(value) for name, value in run(sample)}
                size = sum(value.nbytes for value in right.values())
                if size * len(self._samples) <= _KEPT_BYTES:
                    self._kept.append(right)
                yield right


def _ratio_db(given: Array, right: Array) -> float:
    signal = float(np.square(right, dtype=np.float64).sum())
    noise = float(np.square(np.subtract(given, right, dtype=np.float64)).sum())
    if not signal or not math.isfinite(noise / signal):
        return 0.0
    return -10 * math.log10(max(noise / signal, 10 ** (-_MOST_DB / 10)))
