"""The networks of docs/conversion.md for TensorRT: of fixed and of dynamic sizes, and as int8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import onnx
from networks import REAL_FOLDER, graph_inputs, sample_inputs
from networks.opened import Axes, open_axes
from networks.subjects import Subject
from networks.trained import TrainedInput, picture_input
from numpy.typing import NDArray

from edgekit.converters.frontends.onnx import load_onnx
from edgekit.converters.passes import simplify
from edgekit.converters.quantize import pick_scheme, prepare_for_integers, quantize
from edgekit.graph import Graph
from edgekit.pipeline.calibration import measure, ranges_of
from edgekit.quantized import QuantizedGraph
from edgekit.target import ShapeRange

Feed = dict[str, NDArray[np.generic]]

SAMPLES = 2
BATCH = "batch"
# About the mean and the spread that networks are settled on; the parser minds neither.
PICTURES = partial(TrainedInput, "data-imagenet-samples", mean=127.5, scale=1 / 64)
_RECURRENT = (
    *("lstm", "lstm_reverse", "bilstm"),
    *("gru", "gru_reset_first", "bigru", "bigru_reset_first"),
)
_STEPS = {0: BATCH, 1: "steps"}
OWN_AXES: dict[str, dict[str, Axes]] = {
    "mlp": {"features": {0: BATCH}},
    "text_cnn": {"tokens": _STEPS},
    **{name: {"sequence": _STEPS} for name in _RECURRENT},
    "lstm_with_states": {"sequence": {0: "steps", 1: BATCH}, "h0": {1: BATCH}, "c0": {1: BATCH}},
}
"""Axes that are no features; of all other networks the first, and those after the second."""


def open_axes_of(subject: Subject, model: onnx.ModelProto) -> dict[str, Axes]:
    """Return the names of the sizes that could change, by input and axis."""
    if subject.name in OWN_AXES:
        return OWN_AXES[subject.name]
    (value,) = graph_inputs(model)
    rank = len(value.type.tensor_type.shape.dim)
    return {value.name: {0: BATCH, **{axis: f"size_{axis}" for axis in range(2, rank)}}}


@dataclass(frozen=True)
class Fed:
    """Samples in memory, as calibration reads them."""

    feeds: list[Feed]

    @property
    def expected(self) -> int:
        return len(self.feeds)

    def items(self) -> Iterator[tuple[str, Feed]]:
        yield from ((str(number), feed) for number, feed in enumerate(self.feeds))


@dataclass
class Network:
    """One network, and what is made of it; files stay on disk.

    Args:
        subject: Its line of the table.
        place: Folder for its files.
        only_batch: Whether of its sizes only the batch can change.
    """

    subject: Subject
    place: Path
    only_batch: bool = False

    @cached_property
    def source(self) -> Path:
        """Its file."""
        return self.subject.write(self.place)

    @cached_property
    def opened(self) -> Path:
        """Its file with dynamic sizes: the same where it has them."""
        if self.subject.shapes:
            return self.source
        path = self.place / "opened.onnx"
        onnx.save(open_axes(onnx.load(self.source), self.axes), path)
        return path

    @cached_property
    def axes(self) -> dict[str, Axes]:
        """Which sizes are dynamic."""
        axes = open_axes_of(self.subject, onnx.load(self.source))
        return {name: self._kept(each) for name, each in axes.items()}

    @cached_property
    def fixed(self) -> Graph:
        shapes = self.subject.shapes or None
        return prepare_for_integers(simplify(load_onnx(self.source, shapes=shapes)))

    @cached_property
    def dynamic(self) -> Graph:
        return prepare_for_integers(simplify(load_onnx(self.opened)))

    @cached_property
    def fixed_int8(self) -> QuantizedGraph:
        return self._quantized(self.fixed)

    @cached_property
    def dynamic_int8(self) -> QuantizedGraph:
        return self._quantized(self.dynamic)

    @property
    def ranges(self) -> dict[str, ShapeRange]:
        """Shapes from the model's own to four samples of twice the size."""
        low, usual, high = self.grown(), self.grown(batch=2), self.grown(batch=4, size=2)
        return {name: (low[name], usual[name], high[name]) for name in self.axes}

    def feed(self, *, batch: int, size: int) -> Feed:
        """Return one input of so many times its batch and its size."""
        return sample_inputs(
            onnx.load(self.source),
            seed=3,
            highest=self.subject.highest,
            shapes=self.grown(batch=batch, size=size),
        )

    def grown(self, *, batch: int = 1, size: int = 1) -> dict[str, tuple[int, ...]]:
        factors = {
            name: {axis: batch if what == BATCH else size for axis, what in axes.items()}
            for name, axes in self.axes.items()
        }
        return {
            name: tuple(n * factors[name].get(axis, 1) for axis, n in enumerate(values.shape))
            for name, values in self._samples[0].items()
        }

    @cached_property
    def _samples(self) -> list[Feed]:
        model = onnx.load(self.source)
        return [self._sample(model, seed=seed) for seed in range(SAMPLES)]

    def _sample(self, model: onnx.ModelProto, *, seed: int) -> Feed:
        """Return a picture where it takes one and pictures are there, else what it is fed."""
        given = self.subject.inputs(model, seed=seed)
        ((name, values), *others) = given.items()
        if others or self.subject.family == "trained" or values.shape[1] != 3 or values.ndim != 4:
            return given
        picture = picture_input(PICTURES(values.shape), REAL_FOLDER, seed=seed)
        return given if picture is None else {name: picture}

    @cached_property
    def _ranges(self) -> object:
        collected, taps = measure(self.fixed, Fed(self._samples), threads=1)
        return ranges_of(collected, taps, model="", method="auto")

    def _quantized(self, graph: Graph) -> QuantizedGraph:
        return quantize(graph, self._ranges, pick_scheme("tensorrt", "int8"))

    def _kept(self, axes: Axes) -> Axes:
        return {axis: what for axis, what in axes.items() if what == BATCH or not self.only_batch}
