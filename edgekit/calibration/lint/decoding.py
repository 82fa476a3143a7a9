"""Ends of detectors and classifiers: decoding by exponent or expectation, and scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.calibration.lint.hazard import Hazard
from edgekit.calibration.lint.view import MOVES, View, as_range, listed
from edgekit.graph import Node


def expectation(view: View) -> Iterator[Hazard]:
    """Find distributions that are turned into a number: Softmax, then a sum over 0, 1, 2, ...

    Source: Li et al. 2020, "Generalized Focal Loss", equation 4 (DFL); used by YOLOv8.
    """
    for node in view.nodes("Softmax"):
        sums = [reader for reader in _readers(view, node) if _is_expectation(view, reader)]
        if not sums:
            continue
        bins = max(_bins(view, reader) for reader in sums)
        head = view.after([node], also=[reader.name for reader in sums])
        yield Hazard(
            rule="dfl",
            severity="high",
            nodes=(node.name, *(reader.name for reader in sums)),
            tensors=(node.input(0), *node.outputs, *sums[0].outputs),
            reason=(
                f"a box's side is the mean of {bins} bins weighted by this Softmax; its 8-bit code "
                f"has steps of 1/256, and {bins} weights that are each off by half a step move the "
                f"side by up to {bins * (bins - 1) / 2 / 512:.2g} bins"
            ),
            fix="keep the head in float from this Softmax on: it is a few operators",
            keep_float=head,
        )


def exponent(view: View) -> Iterator[Hazard]:
    """Find values that grow as a power: box sizes by ``exp``."""
    for node in view.nodes("Exp", "Pow"):
        if node.op_type == "Pow" and view.constant(node.input(0)) is None:
            continue  # x ** 2 is no exponential
        if any(reader.op_type == "ReduceSum" for reader in _readers(view, node)):
            continue  # a Softmax written out; half_precision looks at it
        head = view.after([node])
        seen = view.span(node.outputs[0])
        figures = "" if seen is None else f"; it spans {as_range(seen)} on the samples"
        yield Hazard(
            rule="exponential",
            severity="high" if view.reaches_output(head) else "medium",
            nodes=(node.name,),
            tensors=(node.inputs[0], *node.outputs),
            reason=(
                f"{node.op_type} makes a few values far larger than most{figures}; with one step "
                "for all, small boxes round to nothing or large ones saturate"
            ),
            fix="keep the decoding in float from here, or decode outside of the model",
            keep_float=head,
        )


def score_end(view: View) -> Iterator[Hazard]:
    """Find outputs that are scores: their 8-bit code is the same in every model."""
    ends: list[Node] = []
    for name in view.graph.output_names:
        for _, node in view.origins(name):
            if node is not None and node.op_type in ("Sigmoid", "Softmax") and node not in ends:
                ends.append(node)
    if not ends:
        return
    kinds = " and ".join(sorted({node.op_type for node in ends}))
    yield Hazard(
        rule="score-end",
        severity="medium" if any(node.op_type == "Sigmoid" for node in ends) else "low",
        nodes=tuple(node.name for node in ends),
        tensors=tuple(name for node in ends for name in node.outputs),
        reason=(
            f"the model ends in {kinds} ({len(ends)}); int8 gives it steps of 1/256: scores under "
            "0.002 become 0, those over 0.996 the same, and their order is lost"
        ),
        fix="keep these and what follows in float; it costs next to nothing",
        keep_float=view.after(ends),
    )


def activation_chain(view: View) -> Iterator[Hazard]:
    """Find SiLU and HardSwish: long positive ranges with a short negative tail.

    Source: the minima of x sigmoid(x), -0.2785 at -1.278, and of x relu6(x + 3) / 6, -0.375 at
        -1.5, from their derivatives.
    """
    found = {"SiLU": [], "HardSwish": []}  # type: dict[str, list[Node]]
    for node in view.graph.nodes:
        kind = _swish_kind(view, node)
        if kind:
            found[kind].append(node)
    for kind, nodes in found.items():
        if nodes:
            yield _chain_hazard(view, kind, nodes)


def _chain_hazard(view: View, kind: str, nodes: list[Node]) -> Hazard:
    tail = 0.2785 if kind == "SiLU" else 0.375
    spans = [(node, view.span(node.outputs[0])) for node in nodes]
    coarse = [node for node, span in spans if span is not None and span[1] > 255 * tail / 8]
    figures = ""
    if any(span is not None for _, span in spans):
        figures = f"; in {len(coarse)} of {len(nodes)} it gets less than 8 of 256 steps"
    return Hazard(
        rule="swish",
        severity="medium" if coarse or len(nodes) >= 8 else "low",
        nodes=tuple(node.name for node in (coarse or nodes)),
        tensors=tuple(node.outputs[0] for node in (coarse or nodes)),
        reason=(
            f"{len(nodes)} {kind}, whose negative values all lie in -{tail} .. 0{figures}; "
            "symmetric codes (TensorRT) spend half of their steps below 0, where little lies"
        ),
        fix=(
            "calibrate with a method that clips (mse, entropy, percentile), use asymmetric codes "
            "where the target has them; when layers go back to float, look first at "
            f"{listed(n.name for n in coarse or nodes)}"
        ),
    )


def _swish_kind(view: View, node: Node) -> str:
    if node.op_type == "HardSwish":
        return "HardSwish"
    if node.op_type == "Swish":
        return "SiLU"
    if node.op_type != "Mul" or len(node.inputs) != 2:
        return ""
    for one, other in (node.inputs, node.inputs[::-1]):
        gate = view.producers.get(other)
        if gate is None:
            continue
        if gate.op_type in ("Sigmoid", "HardSigmoid") and gate.input(0) == one:
            return "SiLU" if gate.op_type == "Sigmoid" else "HardSwish"
        if gate.op_type in ("Mul", "Div") and _is_relu6_of(view, gate.input(0), one):
            return "HardSwish"
        if _is_relu6_of(view, other, one):
            return "HardSwish"
    return ""


def _is_relu6_of(view: View, tensor: str, source: str) -> bool:
    clip = view.producers.get(tensor)
    if clip is None or clip.op_type != "Clip":
        return False
    shifted = view.producers.get(clip.input(0))
    return shifted is not None and shifted.op_type == "Add" and source in shifted.inputs


def _readers(view: View, node: Node) -> list[Node]:
    """Return the nodes that read this one's results, moves passed."""
    found: list[Node] = []
    pending = list(node.outputs)
    while pending:
        for reader in view.consumers.get(pending.pop(), []):
            if reader.op_type in MOVES:
                pending += reader.outputs
            else:
                found.append(reader)
    return found


def _is_expectation(view: View, node: Node) -> bool:
    return node.op_type in ("Conv", "MatMul", "Gemm", "Mul") and _bins(view, node) > 0


def _bins(view: View, node: Node) -> int:
    """Return how many the node weighs by 0, 1, 2, ...; 0 where it does not."""
    for name in node.inputs:
        value = view.constant(name)
        if (
            value is not None
            and value.size > 2
            and np.array_equal(value.ravel(), np.arange(value.size))
        ):
            return int(value.size)
    return 0
