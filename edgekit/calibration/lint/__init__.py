"""What in a model will hurt when it is quantized, before anything is calibrated.

To add a rule: a function ``(View) -> Iterator[Hazard]`` in a file here, a line in ``RULES``,
a model that has the hazard and one that has not in ``tests/test_lint.py``, a paragraph in
docs/hazards.md. Rules read the graph and, where there are any, statistics; they change
nothing. What changes a graph is in ``converters/passes``, named by ``Hazard.rewrite``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.calibration.lint.hazard import SEVERITIES, Hazard
from edgekit.registry import Entry, pick

if TYPE_CHECKING:
    from edgekit.graph import Graph
    from edgekit.ranges import Statistics

_HERE = "edgekit.calibration.lint"

RULES: dict[str, Entry] = {
    "mixed-concat": Entry(
        f"{_HERE}.joins:mixed_concat", summary="a join of what differs in range: boxes and scores"
    ),
    "dfl": Entry(
        f"{_HERE}.decoding:expectation", summary="a box side as the mean of a distribution"
    ),
    "exponential": Entry(f"{_HERE}.decoding:exponent", summary="sizes decoded by an exponential"),
    "score-end": Entry(f"{_HERE}.decoding:score_end", summary="outputs of Sigmoid or Softmax"),
    "swish": Entry(f"{_HERE}.decoding:activation_chain", summary="SiLU and HardSwish"),
    "large-padding": Entry(
        f"{_HERE}.constants:large_padding", summary="padding far outside of the tensor's range"
    ),
    "huge-constant": Entry(
        f"{_HERE}.constants:huge_constant", summary="infinite constants, or beyond float16"
    ),
    "depthwise-range": Entry(
        f"{_HERE}.weights:depthwise_channels", summary="depthwise channels of different size"
    ),
    "fp16-overflow": Entry(f"{_HERE}.half:overflow", summary="values seen beyond float16"),
    "norm-fp16": Entry(f"{_HERE}.half:normalisation", summary="squares that overflow float16"),
    "softmax-fp16": Entry(f"{_HERE}.half:softmax", summary="exponentials that overflow float16"),
}


def lint(
    graph: Graph,
    statistics: Mapping[str, Statistics] | None = None,
    *,
    rules: Sequence[str] | None = None,
) -> tuple[Hazard, ...]:
    """Return what will hurt, worst first.

    Args:
        graph: The float graph, simplified, so that batch norms are folded.
        statistics: What a calibration saw, by tensor name; with it the figures are real, and
            rules that need ranges speak.
        rules: Names in ``RULES``; None for all.

    Raises:
        UsageError: There is no rule of that name.
    """
    from edgekit.calibration.lint.view import View

    view = View(graph, statistics or {})
    found: list[Hazard] = []
    for name in RULES if rules is None else rules:
        found += pick(RULES, name, kind="rule").load()(view)
    return tuple(sorted(found, key=lambda hazard: SEVERITIES.index(hazard.severity)))


def float_nodes(hazards: Sequence[Hazard], *, rules: Sequence[str] | None = None) -> frozenset[str]:
    """Return the operators that the hazards would keep in float.

    Args:
        hazards: What ``lint`` found.
        rules: Only those of these rules; None for the ones about integers, since the fp16
            ones say nothing against int8.
    """
    chosen = [name for name in RULES if "fp16" not in name] if rules is None else rules
    return frozenset(
        name for hazard in hazards if hazard.rule in chosen for name in hazard.keep_float
    )


__all__ = ["RULES", "SEVERITIES", "Hazard", "float_nodes", "lint"]
