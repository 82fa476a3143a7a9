"""What the linter found in the model before it was quantized, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_HAZARDS = 30


@dataclass(frozen=True)
class HazardRow:
    """One finding, as text."""

    rule: str
    severity: str
    where: str
    reason: str
    fix: str


def hazard_rows(hazards: Sequence[Mapping[str, Any]]) -> tuple[HazardRow, ...]:
    """Return a row for each finding, worst first as they are stored.

    Args:
        hazards: Of a manifest, so that anything may be in it; what is no text is left out.
    """
    rows = []
    for item in hazards[:MOST_HAZARDS]:
        nodes = item.get("nodes")
        names = [name for name in nodes if isinstance(name, str)] if isinstance(nodes, list) else []
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        rows.append(
            HazardRow(
                rule=_text(item, "rule"),
                severity=_text(item, "severity"),
                where=f"{names[0]}{more}" if names else "",
                reason=_text(item, "reason"),
                fix=_text(item, "fix"),
            )
        )
    return tuple(rows)


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    return value if isinstance(value, str) else ""
