"""What was timed in turns with the float model, in two bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekit.bundle import ContractPoint, Manifest
from edgekit.report.promise import FLOATS


@dataclass(frozen=True)
class PointPair:
    """One runtime and precision, before and after.

    Args:
        before: As the older bundle's conversion timed it.
        after: As the newer one's did.
        is_same_model: Whether both run the same source model in float: then a change of the
            time is the machine's and the runtime's, not the bundle's.
    """

    before: ContractPoint
    after: ContractPoint
    is_same_model: bool

    @property
    def change(self) -> float | None:
        """The difference as a share of the milliseconds before; None where those are 0."""
        if self.before.latency_ms == 0:
            return None
        return (self.after.latency_ms - self.before.latency_ms) / abs(self.before.latency_ms)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "runtime": self.before.runtime,
            "precision": self.before.precision,
            "before_ms": self.before.latency_ms,
            "after_ms": self.after.latency_ms,
            "change": self.change,
            "before_value": self.before.value,
            "after_value": self.after.value,
            "is_same_model": self.is_same_model,
        }


def point_pairs(before: Manifest, after: Manifest) -> tuple[PointPair, ...]:
    """Return the points that both contracts have, in the order of the older one's."""
    if before.contract is None or after.contract is None:
        return ()
    later = {(point.runtime, point.precision): point for point in after.contract.points}
    is_same = before.source.sha256 == after.source.sha256
    return tuple(
        PointPair(point, other, is_same and point.precision in FLOATS)
        for point in before.contract.points
        if (other := later.get((point.runtime, point.precision))) is not None
    )
