"""ONNX graph to TFLite flatbuffer, with no TensorFlow.

``lower`` walks the graph once. Each value carries the order of axes in which it is stored
(``layout.py``), so NCHW becomes NHWC where convolutions want it and almost no TRANSPOSE is
left. An operator that no builtin kernel can compute is refused by name.

    lower.py      the walk, inputs and outputs
    patterns.py   idioms that TFLite has one operator for
    lowering.py   the state of one lowering
    ops/          one lowering per ONNX operator
    fuse.py       fused activations and biases, float16 storage
    focus.py      slices side by side as one SPACE_TO_DEPTH
    integer.py    int8 kernels from a table of codes (docs/tflite-int8.md)
    weights_only.py  int8 and int4 weights under float activations
    wide.py       int16 activations
    model.py writer.py schema.py   the flatbuffer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.converters.emitters.facts import facts_of, labels_of, preprocess_of
from edgekit.converters.emitters.tflite.lower import Lowered, lower
from edgekit.converters.emitters.tflite.metadata import attach_metadata
from edgekit.converters.emitters.tflite.writer import write_model
from edgekit.converters.passes.fuse_preprocess import fuse_preprocess
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.target import Target
from edgekit.tensor import DType

MODEL_FILE = "model.tflite"

__all__ = ["MODEL_FILE", "Lowered", "emit", "lower"]


def emit(
    source: Graph | QuantizedGraph,
    folder: Path,
    *,
    target: Target,
    preprocess: Mapping[str, Preprocess] | None = None,
    io_dtype: DType = DType.FLOAT32,
) -> Artifact:
    """Write ``model.tflite`` into the folder, its facts as text and as TFLite metadata.

    Args:
        source: Simplified, opset 13 or newer, all shapes fixed; with a table of codes it
            becomes an int8 model.
        folder: Where the file goes.
        target: Its precision says how the weights of a float graph are stored.
        preprocess: Steps to fuse into the file, by input name.
        io_dtype: What float inputs and outputs of an int8 model become: FLOAT32, INT8, UINT8.

    Raises:
        UnsupportedOperatorError: A node cannot be lowered; the message names it.
        ShapeError: An input's shape is not fixed.
    """
    fused = dict(preprocess or {})
    if fused:
        source = _fused(source, fused)
    graph = source.graph if isinstance(source, QuantizedGraph) else source
    lowered = lower(source, precision=target.precision, io_dtype=io_dtype)
    facts = facts_of(graph, target=target, fused=fused)
    lowered.model.metadata.update({key: text.encode() for key, text in facts.items()})
    told = {name: steps for name, steps in preprocess_of(facts).items() if name not in fused}
    labels = {name: labels_of(facts) for name in _classes(lowered, labels_of(facts))}
    files = attach_metadata(lowered.model, name=graph.name, preprocess=told, labels=labels)
    write_model(lowered.model, folder / MODEL_FILE, files=files)
    return Artifact(
        format="tflite",
        precision=target.precision,
        files={"model": MODEL_FILE},
        inputs=lowered.inputs,
        outputs=lowered.outputs,
        fused_preprocess=tuple(fused),
    )


def _fused(
    source: Graph | QuantizedGraph, preprocess: Mapping[str, Preprocess]
) -> Graph | QuantizedGraph:
    if isinstance(source, QuantizedGraph):
        return replace(source, graph=fuse_preprocess(source.graph, preprocess))
    return fuse_preprocess(source, preprocess)


def _classes(lowered: Lowered, labels: Sequence[str]) -> list[str]:
    """Return the outputs whose last axis has one element per label."""
    return [
        spec.name
        for spec in lowered.outputs
        if labels and spec.shape is not None and spec.shape[-1:] == (len(labels),)
    ]
