"""The ranges of shapes that an engine is to be built for, and whether the model can have them.

NVIDIA's builder does not ask: it compiles a layer for a range of sizes that no run of it can
have (measured with TensorRT-RTX 1.7.1: a Reshape to fixed sizes behind a picture of any size),
and the device would find out at the first call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgekit.converters.frontends.shapes import fix_shapes
from edgekit.errors import ShapeError
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.target import ShapeRange
from edgekit.tensor import Layout

_WINDOWS = frozenset({"Conv", "MaxPool", "AveragePool"})
"""Where the picture is smaller than the window, inference leaves the size open, or 0."""


def ranges_of_frames(
    ranges: Mapping[str, ShapeRange], fused: Mapping[str, Preprocess]
) -> dict[str, ShapeRange]:
    """Return the ranges of what is fed: frames where the preprocessing is in the file.

    Args:
        ranges: By input name, as the model has them, such as (N, C, height, width).
        fused: By input name, what is put into the file; it takes (N, height, width, channels).
    """
    return {
        name: (
            _frame(low, fused[name]),
            _frame(usual, fused[name]),
            _frame(high, fused[name]),
        )
        if name in fused
        else (low, usual, high)
        for name, (low, usual, high) in ranges.items()
    }


def _frame(shape: tuple[int, ...], preprocess: Preprocess) -> tuple[int, ...]:
    height, width = shape[2:] if preprocess.layout is Layout.NCHW else shape[1:3]
    return shape[0], height, width, preprocess.frame_channels


def check_ranges(graph: Graph, ranges: Mapping[str, ShapeRange]) -> None:
    """Refuse ranges whose smallest, usual or largest shapes the model cannot have.

    Args:
        graph: With dynamic sizes.
        ranges: By input name; a dynamic input may be left out.

    Raises:
        ShapeError: A layer cannot have its sizes; it is named.
    """
    for word, index in (("smallest", 0), ("usual", 1), ("largest", 2)):
        shapes = {name: given[index] for name, given in ranges.items()}
        if not shapes:
            return
        try:
            _check_nodes(fix_shapes(graph, shapes))
        except ShapeError as error:
            texts = (f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
            raise ShapeError(
                f"the {word} shapes of --shape, {', '.join(texts)}, are none that the model can "
                f"have: {error}"
            ) from error


def _check_nodes(graph: Graph) -> None:
    """Refuse what onnx's shape inference lets pass."""
    for node in graph.nodes:
        before, after = graph.values.get(node.input(0)), graph.values.get(node.outputs[0])
        if node.domain or before is None or after is None or not before.is_static:
            continue
        if node.op_type in _WINDOWS and not (after.is_static and all(after.static_shape)):
            raise ShapeError(
                f"node {node.name!r} ({node.op_type}) finds no place for its window in "
                f"{_text(before.static_shape)}; give larger sizes"
            )
        if node.op_type != "Reshape" or not after.is_static:
            continue
        if math.prod(before.static_shape) != math.prod(after.static_shape):
            raise ShapeError(
                f"node {node.name!r} (Reshape) makes {_text(after.static_shape)} of "
                f"{_text(before.static_shape)}; give other sizes, or export the model with these "
                "axes dynamic"
            )


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
