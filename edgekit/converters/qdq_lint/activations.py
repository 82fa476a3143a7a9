"""Faults of single codes: zero points, scales, a Q that its DQ does not match."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from edgekit.converters.qdq_lint.edit import Edit
from edgekit.converters.qdq_lint.finding import Finding
from edgekit.converters.qdq_lint.pairs import Pair, PairView
from edgekit.graph import Array


def zero_point(view: PairView) -> Iterator[Finding]:
    """Activations have to be int8 with zero point 0."""
    for pair in view.pairs.values():
        if pair.is_constant or pair.dtype not in ("int8", "uint8"):
            continue
        points = np.zeros(1) if pair.zero_point is None else pair.zero_point
        shifted = points.any()
        if not shifted and pair.dtype == "int8":
            continue
        what = f"zero point {int(points.flat[0])}" if shifted else "type uint8"
        yield Finding(
            rule="zero-point",
            severity="refused",
            node=pair.name,
            reason=f"activations are coded with {what}; TensorRT takes int8 with zero point 0 only",
            fix="quantize with symmetric activations; the repair widens the range to both sides, "
            "which costs up to half of the levels",
            repair=None
            if pair.amax is None or pair.quantize is None
            else partial(_symmetric, pair),
        )


def scale(view: PairView) -> Iterator[Finding]:
    """Scales have to be constants, positive and finite, and one per tensor for activations."""
    for pair in view.pairs.values():
        if pair.scale is None:
            yield Finding(
                "scale",
                "refused",
                pair.name,
                "its scale is computed in the graph; TensorRT needs a constant",
                "quantize statically, with calibration data",
            )
            continue
        bad = ~(np.isfinite(pair.scale) & (pair.scale > 0))
        if bad.any():
            yield Finding(
                "scale",
                "refused",
                pair.name,
                f"{int(bad.sum())} of {pair.scale.size} scales are not finite and above 0, such as "
                f"{float(pair.scale.reshape(-1)[bad.reshape(-1)][0])}",
                "calibrate again; a channel of zeros takes any positive scale",
            )
        elif pair.axis is not None and not pair.is_constant:
            yield Finding(
                "scale",
                "speed",
                pair.name,
                f"an activation has {pair.scale.size} scales along axis {pair.axis}; NVIDIA's "
                "guide has one per tensor, and its parser lets this through",
                "quantize activations per tensor; the repair takes the largest scale",
                repair=None if pair.quantize is None else partial(_symmetric, pair),
            )
        if pair.scale.dtype == np.float16 and view.graph.opset < 19:
            yield Finding(
                "scale",
                "refused",
                pair.name,
                f"float16 scales in opset {view.graph.opset}; they came with opset 19",
                "write float32 scales, or opset 19 (TensorRT 10 and newer)",
            )


def pair_mismatch(view: PairView) -> Iterator[Finding]:
    """A Q and its DQ have to hold the same code."""
    for pair in view.pairs.values():
        if pair.quantize is None or pair.scale is None:
            continue
        first = view.constant(pair.quantize.input(1))
        point = view.constant(pair.quantize.input(2))
        if first is None:
            continue
        same_scale = np.array_equal(first, pair.scale)
        same_point = np.array_equal(_points(point, first), _points(pair.zero_point, pair.scale))
        if same_scale and same_point:
            continue
        what = "scale" if not same_scale else "zero point"
        yield Finding(
            rule="pair-mismatch",
            severity="accuracy",
            node=pair.name,
            reason=f"the {what} of {pair.quantize.name} is not that of {pair.dequantize.name}: the "
            "values come back multiplied or shifted, or the two do not fuse",
            fix="give both the same code; the repair takes that of the QuantizeLinear",
            repair=lambda edit, pair=pair: edit.match_dequantize(pair),  # type: ignore[misc]
        )


def _points(point: Array | None, scale: Array) -> Array:
    return np.zeros(scale.shape, np.int64) if point is None else point.astype(np.int64)


def _symmetric(pair: Pair, edit: Edit) -> None:
    assert pair.amax is not None
    edit.set_symmetric(pair, np.asarray(pair.amax).max())
