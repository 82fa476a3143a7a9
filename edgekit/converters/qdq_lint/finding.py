"""One fault of a quantized graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.converters.qdq_lint.edit import Edit

SEVERITIES = ("refused", "accuracy", "speed")
"""What it costs: the parser refuses the file; results suffer; it only runs slower."""


@dataclass(frozen=True)
class Finding:
    """A fault, and how to repair it.

    Args:
        rule: Line of ``RULES`` that found it.
        severity: One of ``SEVERITIES``.
        node: Name of the operator.
        reason: What is wrong, with its values, and why it hurts.
        fix: What to do, in words.
        repair: Does it; None where the graph alone does not hold what is needed.
    """

    rule: str
    severity: str
    node: str
    reason: str
    fix: str
    repair: Callable[[Edit], None] | None = field(default=None, repr=False, compare=False)

    @property
    def is_repairable(self) -> bool:
        """Whether ``repair`` can do it."""
        return self.repair is not None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "node": self.node,
            "reason": self.reason,
            "fix": self.fix,
            "repairable": self.is_repairable,
        }
