"""ONNX for ONNX Runtime: the simplified model with its facts inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.converters.emitters.facts import facts_of
from edgekit.converters.emitters.onnx_weights import fold_at_load, keep_apart
from edgekit.converters.onnx_model import write_graph
from edgekit.converters.passes.fuse_preprocess import fuse_preprocess
from edgekit.converters.quantize.written import written_graph
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.target import Target

MODEL_FILE = "model.onnx"
WEIGHTS_ONLY = ("w8", "w4")
"""Precisions whose activations stay float."""


def emit(
    graph: Graph | QuantizedGraph,
    folder: Path,
    *,
    target: Target,
    preprocess: Mapping[str, Preprocess] | None = None,
) -> Artifact:
    """Write the model as ONNX, facts in ``metadata_props``.

    Args:
        graph: The model, simplified; with its table for int8, w8 and w4.
        folder: Where to write; empty.
        target: Its precision is fp32, int8, w8 or w4.
        preprocess: By input name, what to put into the model.

    Raises:
        ModelFormatError: It is over ONNX's limit of 2 GiB.
        UsageError: A graph cannot do that preprocessing.
    """
    fused = dict(preprocess or {})
    graph = written_graph(graph, target)
    if target.precision in WEIGHTS_ONLY:
        graph = fold_at_load(graph)
    if target.precision == "int8":
        graph = keep_apart(graph)
    graph = fuse_preprocess(graph, fused) if fused else graph
    facts = facts_of(graph, target=target, fused=fused)
    write_graph(replace(graph, metadata=facts), folder / MODEL_FILE)
    return Artifact(
        format="onnx",
        precision=target.precision,
        files={"model": MODEL_FILE},
        inputs=graph.inputs,
        outputs=graph.outputs,
        recipe={"opset": graph.opset},
        fused_preprocess=tuple(fused),
    )
