"""How far float16 weights alone move a model: some networks are sensitive to their rounding.

An artifact is right when it does what the model does with rounded weights; whether that
is good enough is for a task's own metric to say. So where the usual tolerance is too
narrow, it is measured: ONNX Runtime runs the model with its weights rounded to float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgekit.bundle import Tolerance
from edgekit.errors import GateError
from edgekit.graph import Array, Graph
from edgekit.pipeline.reference import Reference
from edgekit.pipeline.samples import Sample
from edgekit.runtimes.parity import OutputParity, compare_outputs, worst

MIN_COSINE = 0.95
"""Below it the rounded model is another model: weights overflow or underflow float16."""

# Emitters keep biases in float32 and runtimes sum in another order, so that an artifact's
# errors are others than the rounded model's, of the same size.
_MARGIN = 2.0


def rounding_figures(
    graph: Graph, samples: Sequence[Sample], reference: Reference
) -> tuple[OutputParity, ...]:
    """Return how far the model with weights rounded to float16 is from the source.

    Raises:
        GateError: So far that it is no more the same model.
    """
    from edgekit.converters.evaluate import evaluate

    weights = {name: _rounded(value) for name, value in graph.initializers.items()}
    rounded = replace(graph, initializers=weights)
    figures = worst(
        compare_outputs(evaluate(rounded, sample.tensors), reference(sample)) for sample in samples
    )
    least = min(figures, key=lambda item: item.cosine)
    if least.cosine < MIN_COSINE:
        raise GateError(
            f"float16 weights change this model: under ONNX Runtime, output {least.name!r} has "
            f"cosine {least.cosine:.4f} with the source; at least {MIN_COSINE} is needed: "
            "convert to fp32"
        )
    return figures


def widened(usual: Tolerance, figures: Sequence[OutputParity]) -> Tolerance:
    """Return the tolerance with room for what the rounding alone does.

    Args:
        usual: For models that are not sensitive.
        figures: Of the rounded model, from ``rounding_figures``.
    """
    cosine = min(item.cosine for item in figures)
    relative = max(item.relative_error for item in figures)
    return Tolerance(
        cosine_min=min(usual.cosine_min, 1 - _MARGIN * (1 - cosine)),
        relative_error_max=max(usual.relative_error_max, _MARGIN * relative),
        reason=(
            f"measured: rounding this model's weights to float16 moves its outputs by up to "
            f"{relative:.2g} of their range, cosine {cosine:.5f} (ONNX Runtime); {_MARGIN:g} "
            "times that"
        ),
        absolute_error_floor=usual.absolute_error_floor,
    )


def _rounded(value: Array) -> Array:
    if value.dtype != np.float32:
        return value
    with np.errstate(over="ignore"):
        return value.astype(np.float16).astype(np.float32)
