"""onnxslim's own clean-up: more patterns than ours, and its own opinion on names."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnxslim

from edgekit.converters.onnx_model import read_graph, write_graph
from edgekit.graph import Graph


def slim(graph: Graph) -> Graph:
    """Return the graph as onnxslim leaves it."""
    with tempfile.TemporaryDirectory(prefix="edgekit-slim-") as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        write_graph(graph, before)
        onnxslim.slim(str(before), str(after))
        return read_graph(after)
