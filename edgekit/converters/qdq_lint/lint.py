"""Run the rules over a graph, and repair what can be repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edgekit.converters.qdq_lint import activations, joins, weights
from edgekit.converters.qdq_lint.edit import Edit
from edgekit.converters.qdq_lint.finding import SEVERITIES, Finding
from edgekit.converters.qdq_lint.pairs import PairView
from edgekit.graph import Graph

Rule = Callable[[PairView], Iterator[Finding]]

RULES: dict[str, Rule] = {
    "zero-point": activations.zero_point,
    "scale": activations.scale,
    "pair-mismatch": activations.pair_mismatch,
    "weight-code": weights.weight_code,
    "weight-axis": weights.weight_axis,
    "weight-per-tensor": weights.per_tensor,
    "bias": weights.quantized_bias,
    "residual": joins.residual,
    "concat": joins.concat,
    "output": joins.quantized_output,
    "inside-fusion": joins.inside_fusion,
}

_ROUNDS = 4
"""A repair can lay open another fault: a shared code that is changed for one."""


def lint_qdq(graph: Graph, *, rules: Sequence[str] | None = None) -> tuple[Finding, ...]:
    """Return what TensorRT would refuse, lose accuracy by, or run slowly; worst first.

    Args:
        graph: With QuantizeLinear and DequantizeLinear nodes, as it was loaded.
        rules: Names in ``RULES``; None for all.
    """
    view = PairView(graph)
    found = [
        finding for name in (RULES if rules is None else rules) for finding in RULES[name](view)
    ]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def repair(
    graph: Graph, *, rules: Sequence[str] | None = None
) -> tuple[Graph, tuple[Finding, ...]]:
    """Return the graph with every repairable fault repaired, and those that were.

    Codes change, so its numbers do, by about a step of each code: measure the result, as
    ``edgekit eval`` does.

    Args:
        graph: With Q/DQ nodes.
        rules: Names in ``RULES``; None for all.
    """
    repaired: list[Finding] = []
    for name in RULES if rules is None else rules:
        for _ in range(_ROUNDS):
            todo = [item for item in RULES[name](PairView(graph)) if item.repair is not None]
            if not todo:
                break
            edit = Edit(graph)
            for finding in todo:
                assert finding.repair is not None
                finding.repair(edit)
            graph = edit.apply()
            repaired += todo
    return graph, tuple(repaired)
