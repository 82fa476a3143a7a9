"""What overflows in half precision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.calibration.lint.constants import HALF_MAX
from edgekit.calibration.lint.hazard import Hazard
from edgekit.calibration.lint.view import View, as_range
from edgekit.graph import Node

LARGEST_SQUARED = float(np.sqrt(HALF_MAX))  # 255.9
LARGEST_EXPONENT = float(np.log(HALF_MAX))  # 11.09
_SQUARING = ("LayerNormalization", "RMSNormalization", "InstanceNormalization",
             "GroupNormalization", "ReduceL2", "ReduceSumSquare", "LpNormalization")  # fmt: skip


def overflow(view: View) -> Iterator[Hazard]:
    """Find tensors that were seen beyond the largest float16."""
    for node in view.graph.nodes:
        for name in node.outputs:
            seen = view.statistics.get(name)
            if seen is None or max(-seen.minimum, seen.maximum) <= HALF_MAX:
                continue
            yield Hazard(
                rule="fp16-overflow",
                severity="high",
                nodes=(node.name,),
                tensors=(name,),
                reason=(
                    f"it spans {as_range((seen.minimum, seen.maximum))} on the samples; float16 "
                    f"ends at {HALF_MAX:g}, beyond is infinity"
                ),
                fix="keep this operator in float32 where the target computes in fp16, or use bf16",
                keep_float=frozenset({node.name}),
            )


def normalisation(view: View) -> Iterator[Hazard]:
    """Find normalisations whose squares overflow in float16, if inputs are large or unknown."""
    found: list[tuple[Node, float | None]] = []
    for node in view.graph.nodes:
        if node.op_type in _SQUARING or _is_written_out(view, node):
            span = view.span(node.input(0))
            size = None if span is None else max(abs(span[0]), abs(span[1]))
            if size is None or size > LARGEST_SQUARED:
                found.append((node, size))
    if not found:
        return
    known = [size for _, size in found if size is not None]
    figures = (
        f"inputs reach {max(known):.4g}" if known else "their inputs' ranges are not known yet"
    )
    kinds = ", ".join(sorted({node.op_type for node, _ in found}))
    yield Hazard(
        rule="norm-fp16",
        severity="high" if known else "low",
        nodes=tuple(node.name for node, _ in found),
        tensors=tuple(node.input(0) for node, _ in found),
        reason=(
            f"{len(found)} normalisations ({kinds}) square their input; {figures}, and the square "
            f"of more than {LARGEST_SQUARED:.1f} is infinite in float16"
        ),
        fix="keep them in float32 where the target computes in fp16; int8 leaves them in float",
        keep_float=frozenset(node.name for node, _ in found),
    )


def softmax(view: View) -> Iterator[Hazard]:
    """Find a Softmax that was written out without subtracting the largest value first."""
    for node in view.nodes("Exp"):
        readers = view.consumers.get(node.outputs[0], [])
        if not any(reader.op_type == "ReduceSum" for reader in readers):
            continue
        before = view.producers.get(node.input(0))
        subtracts = (
            before is not None
            and before.op_type == "Sub"
            and any(
                maker is not None and maker.op_type in ("ReduceMax", "Max")
                for maker in map(view.producers.get, before.inputs)
            )
        )
        span = view.span(node.input(0))
        if subtracts or (span is not None and span[1] <= LARGEST_EXPONENT):
            continue
        seen = "whose input is not known yet" if span is None else f"of up to {span[1]:.4g}"
        yield Hazard(
            rule="softmax-fp16",
            severity="low" if span is None else "high",
            nodes=(node.name,),
            tensors=(node.input(0), *node.outputs),
            reason=(
                f"an exponential {seen} is summed without subtracting the largest first; in "
                f"float16 it is infinite from {LARGEST_EXPONENT:.2f} on"
            ),
            fix="write it as one Softmax operator, which subtracts, or keep it in float32",
            keep_float=frozenset({node.name, *(reader.name for reader in readers)}),
        )


def _is_written_out(view: View, node: Node) -> bool:
    """Return whether the node squares what is then averaged."""
    is_square = node.op_type == "Mul" and len(set(node.inputs)) == 1
    if node.op_type == "Pow":
        power = view.constant(node.input(1))
        is_square = power is not None and power.size == 1 and float(power.ravel()[0]) == 2
    return is_square and any(
        reader.op_type in ("ReduceMean", "ReduceSum")
        for reader in view.consumers.get(node.outputs[0], [])
    )
