"""One thing in a model that will hurt when it is quantized."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("high", "medium", "low")


@dataclass(frozen=True)
class Hazard:
    """A finding of the linter.

    Args:
        rule: Line of ``RULES`` that found it.
        severity: One of ``SEVERITIES``: ``"high"`` breaks results if nothing is done,
            ``"medium"`` costs accuracy, ``"low"`` is worth knowing.
        nodes: Names of the operators, the first one standing for all.
        tensors: Names of the tensors whose values matter.
        reason: What is wrong and why, with the figures.
        fix: What to do about it, in words.
        rewrite: Line of ``converters.passes.rewrites.REWRITES`` that does it on these nodes;
            empty where there is none.
        keep_float: Names of operators that would better compute in float.
    """

    rule: str
    severity: str
    nodes: tuple[str, ...]
    tensors: tuple[str, ...]
    reason: str
    fix: str
    rewrite: str = ""
    keep_float: frozenset[str] = field(default_factory=frozenset)

    @property
    def node(self) -> str:
        """The operator that stands for all."""
        return self.nodes[0]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "nodes": list(self.nodes),
            "tensors": list(self.tensors),
            "reason": self.reason,
            "fix": self.fix,
            "rewrite": self.rewrite,
            "keep_float": sorted(self.keep_float),
        }
