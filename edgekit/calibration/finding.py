"""One thing that the doctor found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing to look at.

    Args:
        code: What it is about: ``"few"``, ``"range"``, ``"colour"``...
        text: What was found, with its figures, and what to do.
        figures: The same for machines.
    """

    code: str
    text: str
    figures: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {"code": self.code, "text": self.text, "figures": dict(self.figures)}
