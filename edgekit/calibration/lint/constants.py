"""Constants that no 8-bit or half-precision code can hold beside ordinary values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.calibration.lint.hazard import Hazard
from edgekit.calibration.lint.view import View, as_range
from edgekit.graph import Node

HALF_MAX = 65504.0
"""Largest float16, IEEE 754-2008 binary16."""
_LARGE_PAD = 100.0
_PAD_OF_RANGE = 2.0


def large_padding(view: View) -> Iterator[Hazard]:
    """Find padding with a value far outside of the tensor's own range."""
    for node in view.nodes("Pad"):
        value = _pad_value(view, node)
        if value is None or value == 0:
            continue
        span = view.span(node.input(0))
        if span is None or not np.isfinite(value):
            is_large, beside = abs(value) >= _LARGE_PAD, "ordinary activations"
        else:
            size = max(abs(span[0]), abs(span[1]), 1e-12)
            is_large, beside = abs(value) > _PAD_OF_RANGE * size, f"values of {as_range(span)}"
        if is_large:
            readers = {reader.op_type for reader in view.consumers.get(node.outputs[0], [])}
            can_merge = readers == {"MaxPool"}
            yield Hazard(
                rule="large-padding",
                severity="high",
                nodes=(node.name,),
                tensors=(node.input(0), *node.outputs),
                reason=(
                    f"it pads {beside} with {value:g}; the code of the result must reach that far, "
                    "so that the values themselves keep few steps or none"
                ),
                fix="let the pooling pad by itself: merge_padding does so"
                if can_merge
                else "pad with a value just outside of the range, where the result allows it",
                rewrite="merge_padding" if can_merge else "",
            )


def huge_constant(view: View) -> Iterator[Hazard]:
    """Find infinite constants, and those beyond half precision: masks, mostly."""
    for name, value in view.graph.initializers.items():
        if value.dtype.kind != "f" or not value.size:
            continue
        is_huge = ~np.isnan(value) & (np.abs(value) > HALF_MAX)
        readers = [node for node in view.consumers.get(name, []) if not _is_bound(node, name)]
        if not is_huge.any() or not readers:
            continue
        worst = float(value[is_huge].ravel()[0])
        yield Hazard(
            rule="huge-constant",
            severity="high",
            nodes=tuple(node.name for node in readers),
            tensors=(name,),
            reason=(
                f"constant {name!r} holds {worst:g} ({int(is_huge.sum())} of {value.size}); it is "
                f"infinite in float16 (over {HALF_MAX:g}), and an 8-bit code that reaches it has "
                "no step left for anything else"
            ),
            fix=(
                "where it masks a Softmax, -10000 does the same: clamp_constants puts it there; "
                "else keep these operators in float32"
            ),
            rewrite="clamp_constants",
            keep_float=frozenset(node.name for node in readers),
        )


def _pad_value(view: View, node: Node) -> float | None:
    mode = node.attributes.get("mode", "constant")
    if mode not in ("constant", b"constant"):
        return None
    if len(node.inputs) < 3 or not node.inputs[2]:
        return float(node.attribute("value", 0.0))
    value = view.constant(node.inputs[2])
    return None if value is None else float(value.ravel()[0])


def _is_bound(node: Node, name: str) -> bool:
    """Return whether the constant only limits: Clip to infinity is no hazard, nor is Pad here."""
    return node.op_type in ("Min", "Max", "Pad", "Less", "Greater", "Equal") or (
        node.op_type == "Clip" and name in node.inputs[1:]
    )
