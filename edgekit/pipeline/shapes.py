"""Which sizes of the model are fixed, for which target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgekit.converters.frontends.shapes import fix_shapes
from edgekit.errors import ShapeError, UsageError
from edgekit.graph import Graph
from edgekit.runtimes.tensorrt.profile import Profile, fit_profiles
from edgekit.target import Target

NEEDS_STATIC_SHAPES = ("tflite",)
"""Formats whose runtime plans its memory once, for one set of shapes."""

_BATCH_AXIS = 0


def give_shapes(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """Return the graph with the caller's shapes; the name ``""`` means the only input.

    Raises:
        UsageError: There is no such input, or ``""`` is given and there are several.
        ShapeError: A shape contradicts the model.
    """
    if "" in shapes and len(graph.inputs) != 1:
        raise UsageError(
            f"--shape without a name, but the model has inputs {', '.join(graph.input_names)}; "
            "give each as NAME:SIZES"
        )
    named = {name or graph.inputs[0].name: sizes for name, sizes in shapes.items()}
    return fix_shapes(graph, named) if named else graph


def give_ranges(targets: Sequence[Target], graph: Graph) -> tuple[Target, ...]:
    """Return the targets with their ranges of shapes by input name, checked.

    Raises:
        UsageError: There is no such input, or a range contradicts its fixed sizes.
    """
    given = []
    for target in targets:
        if "" in target.ranges and len(graph.inputs) != 1:
            raise UsageError(
                f"--shape without a name, but the model has inputs {', '.join(graph.input_names)}; "
                "give each as NAME:MIN..MAX"
            )
        ranges = {name or graph.inputs[0].name: sizes for name, sizes in target.ranges.items()}
        if ranges:
            fit_profiles((Profile(ranges),), graph.inputs, assumed=())
        given.append(replace(target, ranges=ranges))
    return tuple(given)


def graph_for(graph: Graph, target: Target) -> tuple[Graph, str]:
    """Return the graph as the target can take it, and a line on what was fixed (or ``""``).

    A dynamic batch becomes 1 where the target needs fixed shapes.

    Raises:
        ShapeError: Another size than the batch is dynamic; it has to be given.
    """
    if target.format not in NEEDS_STATIC_SHAPES or all(spec.is_static for spec in graph.inputs):
        return graph, ""
    shapes: dict[str, tuple[int, ...]] = {}
    fixed: list[str] = []
    for spec in graph.inputs:
        if spec.is_static:
            continue
        if spec.name in target.ranges:
            shapes[spec.name] = usual = target.ranges[spec.name][1]
            fixed.append(f"{spec.name} = {'x'.join(map(str, usual))}")
            continue
        open_axes = [axis for axis, dim in enumerate(spec.shape or ()) if isinstance(dim, str)]
        if spec.shape is None or open_axes != [_BATCH_AXIS]:
            raise ShapeError(
                f"{target.name} needs fixed shapes, and input {spec} has dynamic sizes; give them: "
                f"--shape {spec.name}:{_example(spec.shape)}"
            )
        shapes[spec.name] = (1, *(dim for dim in spec.shape[1:] if isinstance(dim, int)))
        fixed.append(f"{spec.name} {spec.shape[_BATCH_AXIS]!r} = 1")
    what = "" if target.ranges else "batch of "
    note = f"{target.name} needs fixed shapes: {what}{', '.join(fixed)} (--shape sets another)"
    return fix_shapes(graph, shapes), note


def _example(shape: tuple[int | str, ...] | None) -> str:
    if shape is None:
        return "1x3x224x224"
    sizes = (
        dim if isinstance(dim, int) else 1 if axis == 0 else 224 for axis, dim in enumerate(shape)
    )
    return "x".join(map(str, sizes))
