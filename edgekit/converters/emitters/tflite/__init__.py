"""ONNX graph to TFLite flatbuffer, with no TensorFlow.

``lower`` walks the graph once. Each value carries the order of axes in which it is stored
(``layout.py``), so NCHW becomes NHWC where convolutions want it and almost no TRANSPOSE is
left. An operator that no builtin kernel can compute is refused by name.

    lower.py      the walk, inputs and outputs
    patterns.py   idioms that TFLite has one operator for
    lowering.py   the state of one lowering
    ops/          one lowering per ONNX operator
    fuse.py       fused activations and biases, float16 storage
    model.py writer.py schema.py   the flatbuffer
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.artifact import Artifact
from edgekit.converters.emitters.tflite.lower import Lowered, lower
from edgekit.converters.emitters.tflite.writer import write_model
from edgekit.graph import Graph
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.preprocess import Preprocess

MODEL_FILE = "model.tflite"

__all__ = ["MODEL_FILE", "Lowered", "emit", "lower"]


def emit(
    graph: Graph,
    folder: Path,
    *,
    target: Target,
    preprocess: Mapping[str, Preprocess] | None = None,
) -> Artifact:
    """Write ``model.tflite`` into the folder.

    Args:
        graph: Simplified, opset 13 or newer, all shapes fixed.
        folder: Where the file goes.
        target: Its precision says how weights are stored.
        preprocess: Steps to fuse into the file, by input name.

    Raises:
        UnsupportedOperatorError: A node cannot be lowered; the message names it.
        ShapeError: An input's shape is not fixed.
    """
    if preprocess:
        from edgekit.converters.passes.fuse_preprocess import fuse_preprocess

        graph = fuse_preprocess(graph, preprocess)
    lowered = lower(graph, precision=target.precision)
    write_model(lowered.model, folder / MODEL_FILE)
    return Artifact(
        format="tflite",
        precision=target.precision,
        files={"model": MODEL_FILE},
        inputs=lowered.inputs,
        outputs=lowered.outputs,
        fused_preprocess=tuple(preprocess or ()),
    )
