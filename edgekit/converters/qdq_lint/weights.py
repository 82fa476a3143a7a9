"""Faults of constants: the axis of their scales, one scale for all channels, integer biases."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from edgekit.converters.qdq_lint.edit import Edit
from edgekit.converters.qdq_lint.finding import Finding
from edgekit.converters.qdq_lint.pairs import Pair, PairView
from edgekit.converters.quantize.operators import weight_axis as output_axis
from edgekit.graph import Node

_BITS = 0.5
"""Lost by half of the channels or more, below which one scale for all is as good."""


def weight_code(view: PairView) -> Iterator[Finding]:
    """Weights have to be symmetric int8."""
    for layer, pair in _weights(view):
        points = np.zeros(1) if pair.zero_point is None else pair.zero_point
        if pair.dtype == "int8" and not points.any():
            continue
        what = f"{pair.dtype} with zero point {int(points.flat[0])}"
        yield Finding(
            rule="weight-code",
            severity="refused",
            node=layer.name,
            reason=f"its weight is {what}; TensorRT takes int8 with zero point 0 only",
            fix="quantize weights symmetrically; the repair rounds them once more",
            repair=partial(_recode, layer, pair) if pair.scale is not None else None,
        )


def weight_axis(view: PairView) -> Iterator[Finding]:
    """Scales of a weight have to run along the layer's output channels."""
    for layer, pair in _weights(view):
        axis = _axis_in_file(layer, pair, view)
        if pair.axis is None or pair.axis == axis:
            continue
        yield Finding(
            rule="weight-axis",
            severity="speed",
            node=layer.name,
            reason=f"the scales of its weight run along axis {pair.axis}, its output channels "
            f"along {axis}; the parser takes it, and the layer then multiplies floats",
            fix="quantize along the output channels; the repair rounds the weight once more",
            repair=partial(_recode, layer, pair),
        )


def per_tensor(view: PairView) -> Iterator[Finding]:
    """One scale for all channels loses the small ones."""
    for layer, pair in _weights(view):
        if pair.axis is not None or pair.scale is None:
            continue
        values = pair.values()
        axis = _axis_in_file(layer, pair, view)
        others = tuple(index for index in range(values.ndim) if index != axis)
        ranges = np.abs(values).max(axis=others)
        ranges = ranges[ranges > 0]
        lost = float(np.log2(ranges.max() / np.median(ranges))) if ranges.size else 0.0
        if lost < _BITS:
            continue
        can = pair.real is not None
        yield Finding(
            rule="weight-per-tensor",
            severity="accuracy",
            node=layer.name,
            reason=f"its weight has one scale for {ranges.size} channels, whose ranges differ "
            f"{ranges.max() / ranges.min():.0f}-fold: half of them lose {lost:.1f} bits or more",
            fix="quantize per channel"
            + ("" if can else ": the file holds the integers only, so do it from the float model"),
            repair=partial(_recode, layer, pair) if can else None,
        )


def quantized_bias(view: PairView) -> Iterator[Finding]:
    """A bias has to be float: the parser refuses a DequantizeLinear of int32."""
    for pair in view.pairs.values():
        if not pair.is_constant or pair.dtype != "int32":
            continue
        readers = view.readers.get(pair.result, [])
        yield Finding(
            rule="bias",
            severity="refused",
            node=readers[0].name if readers else pair.name,
            reason=f"its bias {pair.source!r} is int32 behind a DequantizeLinear; the parser "
            "refuses that, and TensorRT rounds biases by itself",
            fix="keep biases in float; the repair puts the real values there",
            repair=lambda edit, pair=pair: edit.to_float_constant(pair),  # type: ignore[misc]
        )


def _weights(view: PairView) -> Iterator[tuple[Node, Pair]]:
    for layer in view.layers:
        pair = view.weight(layer)
        if pair is not None and pair.dtype in ("int8", "uint8"):
            yield layer, pair


def _axis_in_file(layer: Node, pair: Pair, view: PairView) -> int:
    """Return the axis of the output channels in the constant, in front of a Transpose."""
    values = pair.values()
    reads = [view.through_transpose(name) for name in layer.inputs]
    place = reads.index(pair.result)
    transpose = view.producers.get(layer.inputs[place])
    if transpose is None or transpose.op_type != "Transpose":
        return output_axis(layer, values) or 0
    permutation = transpose.attribute("perm", tuple(range(values.ndim))[::-1])
    return int(permutation[output_axis(layer, values.transpose(permutation)) or 0])


def _recode(layer: Node, pair: Pair, edit: Edit) -> None:
    edit.set_weight(pair, pair.values(), _axis_in_file(layer, pair, PairView(edit.graph)))
