"""The ONNX frontend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit.converters.frontends.file_kind import sniff
from edgekit.converters.frontends.shapes import fix_shapes
from edgekit.converters.onnx_model import read_graph
from edgekit.errors import ModelFormatError
from edgekit.graph import Graph
from edgekit.tensor import Dim


def load_onnx(path: Path, *, shapes: Mapping[str, tuple[Dim, ...]] | None = None) -> Graph:
    """Read an ONNX file, weights in files beside it included.

    Args:
        path: The file.
        shapes: Sizes to fix, by input name; a name as size keeps that one dynamic.

    Raises:
        ModelFormatError: It is not a whole, valid ONNX model; the message says what it is.
        UnsupportedOperatorError: It uses an operator that is not standard ONNX.
        UsageError: A shape is given for an input that the model does not have.
        ShapeError: A shape contradicts the model.
    """
    kind = sniff(path)
    if kind.frontend != "onnx":
        raise ModelFormatError(f"{path} is {kind.what}; {kind.advice}")
    graph = read_graph(path)
    return fix_shapes(graph, shapes) if shapes else graph
