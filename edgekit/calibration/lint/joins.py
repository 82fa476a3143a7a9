"""Concat of what has nothing in common, such as boxes in pixels and scores in 0..1."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.calibration.lint.hazard import Hazard
from edgekit.calibration.lint.view import View, as_range
from edgekit.graph import Node

MAX_RATIO = 8.0
"""From here a branch keeps less than 32 of 256 codes: five bits."""


def mixed_concat(view: View) -> Iterator[Hazard]:
    """Find joins whose inputs share one code although their ranges differ.

    Source: TFLite's and TensorRT's CONCATENATION need one scale for all inputs and the output
        (LiteRT 8-bit quantization specification, "CONCATENATION").
    """
    for node in view.nodes("Concat"):
        hazard = _judge(view, node)
        if hazard is not None:
            yield hazard


def _judge(view: View, node: Node) -> Hazard | None:
    spans = {name: view.span(name) for name in dict.fromkeys(node.inputs)}
    known = {name: span for name, span in spans.items() if span is not None}
    sizes = {name: max(abs(span[0]), abs(span[1])) for name, span in known.items()}
    sizes = {name: size for name, size in sizes.items() if size > 0}
    bounded = [name for name in spans if _is_score(view, name)]
    unbounded = [name for name in spans if name not in bounded and view.constant(name) is None]
    if not sizes:
        return None
    widest, narrowest = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    ratio = sizes[widest] / sizes[narrowest]
    mixes_scores = bool(bounded) and any(name not in known for name in unbounded)
    if ratio <= MAX_RATIO and not mixes_scores:
        return None
    head = view.after([node])
    is_end = view.reaches_output(head)
    if ratio > MAX_RATIO:
        reason = (
            f"{widest!r} spans {as_range(known[widest])} and {narrowest!r} "
            f"{as_range(known[narrowest])}, {ratio:.0f} times less; one 8-bit code for both leaves "
            f"{narrowest!r} {max(1, round(256 / ratio))} of 256 steps"
        )
    else:
        reason = (
            f"{bounded[0]!r} holds scores in 0 .. 1, {unbounded[0]!r} values without bound; one "
            "8-bit code for both follows the larger, and the scores keep few of 256 steps"
        )
    return Hazard(
        rule="mixed-concat",
        severity="high" if is_end or ratio > 4 * MAX_RATIO else "medium",
        nodes=(node.name,),
        tensors=(*node.inputs, *node.outputs),
        reason=reason,
        fix=_fix(is_end),
        rewrite="separate_branches" if is_end else "",
        keep_float=head if is_end else frozenset({node.name}),
    )


def _fix(is_end: bool) -> str:
    if is_end:
        return (
            "join the branches last and in float, or give each as an output of its own "
            "(separate_branches does either); or keep the head in float from here"
        )
    return "equalize the branches' scales (converters/quantize), or keep this join in float"


def _is_score(view: View, tensor: str) -> bool:
    nodes = [node for _, node in view.origins(tensor)]
    return bool(nodes) and all(
        node is not None and node.op_type in ("Sigmoid", "HardSigmoid", "Softmax") for node in nodes
    )
