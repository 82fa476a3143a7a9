"""A source that another tool quantized: its integers are taken as they are, not calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

from edgekit.converters.quantize.read_qdq import has_integer_activations, has_integers, read_qdq
from edgekit.converters.quantize.scheme import pick_scheme
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.pipeline.build import Built, emit
from edgekit.pipeline.check import Check
from edgekit.pipeline.progress import Progress
from edgekit.pipeline.terms import Terms
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.target import Target

FAR_COSINE = 0.99
"""Below it a note says how far an artifact is from the source's own integers."""

__all__ = [
    "FAR_COSINE",
    "check_given",
    "emit_given",
    "given_precision",
    "has_integers",
    "notes_on",
    "read_given",
]


def check_given(graph: Graph, targets: Sequence[Target], *, model: Path, terms: Terms) -> None:
    """Refuse what makes no sense for a model that is quantized already.

    Args:
        graph: The source, or its simplified form.
        targets: What to make.
        model: The source file, for messages.
        terms: What else is asked for.

    Raises:
        UsageError: Data for a calibration that is done, or a target of another precision.
    """
    precision = given_precision(graph)
    if terms.calibration is not None or terms.ranges is not None:
        raise UsageError(
            f"{model.name} is quantized already: its QuantizeLinear and DequantizeLinear nodes "
            "bring their own scales; leave out --calibration and --ranges, or give the float model"
        )
    asked = _changed(terms)
    if asked:
        raise UsageError(
            f"{model.name} is quantized already, so there is no float model to keep a promise "
            f"to; leave out what asks for a search ({', '.join(asked)}), or give the float model"
        )
    for target in targets:
        if target.precision != precision:
            raise UsageError(
                f"{model.name} is quantized already, and target {target.name!r} is to be "
                f"{target.precision}; give --precision {precision}, or the float model"
            )


def given_precision(graph: Graph) -> str:
    """Return the precision of a model that is quantized already: int8, or w8 for weights alone."""
    return "int8" if has_integer_activations(graph) else "w8"


def _changed(terms: Terms) -> list[str]:
    """Return the names of the terms that are not at their default."""
    standard = Terms()
    return [
        field.name for field in fields(terms)
        if getattr(terms, field.name) != getattr(standard, field.name)
    ]  # fmt: skip


def emit_given(
    graph: Graph,
    target: Target,
    stage: Path,
    *,
    fused: Mapping[str, Preprocess],
    progress: Progress,
) -> Built:
    """Return the target's artifact, of the source's own integers."""
    return emit(
        graph, target, stage, fused=fused, progress=progress, quantized=partial(read_given, target)
    )


def read_given(target: Target, graph: Graph) -> QuantizedGraph:
    """Return the source as its float graph and table.

    Raises:
        UsageError: The target cannot take its codes.
        UnsupportedOperatorError: A node stores something that cannot be read.
    """
    read = read_qdq(graph)
    constants = read.graph.initializers
    is_symmetric = pick_scheme(target.format, target.precision).symmetric
    for name, code in read.codes.items():
        if is_symmetric and name not in constants and not code.quantization.is_symmetric:
            raise UsageError(
                f"{target.name} needs zero points of 0, and the source gives {name!r} "
                f"{code.quantization.zero_point[0]} (as int8); quantize it with symmetric "
                "activations, or give the float model and --calibration"
            )
    return read


def notes_on(checks: Mapping[str, Check]) -> tuple[str, ...]:
    """Return what to tell of a conversion of a quantized model."""
    notes = ["the source is quantized already; its own scales were taken, nothing was calibrated"]
    for name, check in checks.items():
        cosine = min((output.cosine for output in check.outputs), default=1.0)
        if cosine < FAR_COSINE:
            notes.append(
                f"{name}: cosine {cosine:.4f} to the source under ONNX Runtime, where its "
                "kernels round elsewhere; check your own metric"
            )
    return tuple(notes)
