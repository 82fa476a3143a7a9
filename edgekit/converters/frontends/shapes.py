"""Fixing the dynamic sizes of a model's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgekit.converters.onnx_model import infer_shapes
from edgekit.errors import ShapeError, UsageError
from edgekit.graph import Graph
from edgekit.registry import unknown_name
from edgekit.tensor import Dim, TensorSpec


def fix_shapes(graph: Graph, shapes: Mapping[str, tuple[Dim, ...]]) -> Graph:
    """Return the graph with these input shapes, all other shapes inferred again.

    A dynamic size that several inputs share by name is fixed in all of them.

    Args:
        graph: The model.
        shapes: By input name; a name as size keeps that size dynamic.

    Raises:
        UsageError: The model has no such input.
        ShapeError: The rank or a fixed size of the model differs.
    """
    for name in shapes:
        if name not in graph.input_names:
            raise UsageError(unknown_name(name, graph.input_names, kind="input"))
    sizes: dict[str, int] = {}
    for spec in graph.inputs:
        _collect(spec, shapes.get(spec.name), sizes)
    inputs = tuple(_fixed(spec, shapes.get(spec.name), sizes) for spec in graph.inputs)
    # Outputs keep only what inference confirms: their sizes follow from the inputs'.
    return infer_shapes(
        replace(
            graph,
            inputs=inputs,
            outputs=tuple(spec.with_shape(_substituted(spec, sizes)) for spec in graph.outputs),
        )
    )


def _collect(spec: TensorSpec, shape: tuple[Dim, ...] | None, sizes: dict[str, int]) -> None:
    """Check one shape against the model and note which dynamic sizes it fixes."""
    if shape is None or spec.shape is None:
        return
    if len(shape) != len(spec.shape):
        raise ShapeError(
            f"input {spec.name!r} has {len(spec.shape)} axes {_text(spec.shape)}; "
            f"--shape gives {len(shape)}: {_text(shape)}"
        )
    for axis, (old, new) in enumerate(zip(spec.shape, shape, strict=True)):
        if isinstance(old, int) and old != new:
            raise ShapeError(
                f"axis {axis} of input {spec.name!r} is fixed to {old} in the model; --shape gives "
                f"{new}; give {_text(spec.shape)} or export the model with that axis dynamic"
            )
        if isinstance(new, int) and new < 1:
            raise ShapeError(
                f"--shape gives {new} for axis {axis} of {spec.name!r}; sizes are >= 1"
            )
        if isinstance(old, str) and isinstance(new, int) and sizes.setdefault(old, new) != new:
            raise ShapeError(
                f"the dynamic size {old!r} cannot be both {sizes[old]} and {new}, as --shape asks"
            )


def _fixed(spec: TensorSpec, shape: tuple[Dim, ...] | None, sizes: Mapping[str, int]) -> TensorSpec:
    if spec.shape is None:
        return spec if shape is None else spec.with_shape(shape)
    if shape is None:
        return spec.with_shape(_substituted(spec, sizes))
    return spec.with_shape(shape)


def _substituted(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[Dim, ...] | None:
    if spec.shape is None:
        return None
    return tuple(sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.shape)


def _text(shape: tuple[Dim, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
