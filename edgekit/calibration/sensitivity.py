"""What quantizing one layer alone costs and saves, and which are worth keeping in float first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

# A float layer between integer ones costs two conversions, whatever it computes; as a share of
# the whole model's time. Without it the smallest layers would always come first.
_OVERHEAD = 0.02


@dataclass(frozen=True)
class Layer:
    """What goes back to float together: a layer, and the activation fused into it.

    Args:
        name: Of its main node.
        nodes: Names of all its nodes, in order.
        op_type: Of its main node.
        work: Multiplications of one run (elements written, where it multiplies none).
        weights: Number of its constant weights.
    """

    name: str
    nodes: tuple[str, ...]
    op_type: str
    work: int
    weights: int = 0


@dataclass(frozen=True)
class Sensitivity:
    """What quantizing one layer alone costs, and what it saves.

    Args:
        layer: Which.
        local_db: Signal-to-quantization-noise ratio of its own result, in dB.
        output_db: The same at the model's outputs, every channel of an output counting alike:
            the worst of them, over the samples.
        work_share: Its part of the model's work, 0 to 1.
        lost: What the metric loses, in its own unit, on the samples that were looked at; NaN
            where it was not measured.
        sure_lost: The part of it that is more than chance, as a share of the float model's
            value: less one standard error of the samples, at least 0.
        saved_us: Microseconds of a call that integers save at this layer, by runtime; below 0
            it is slower.
        saved_share: Its part of all that layers save, 0 to 1, mean over the runtimes; NaN where
            no times were measured.
    """

    layer: Layer
    local_db: float
    output_db: float
    work_share: float
    lost: float = math.nan
    sure_lost: float = 0.0
    saved_us: Mapping[str, float] = field(default_factory=dict)
    saved_share: float = math.nan

    @property
    def noise(self) -> float:
        """Noise power over signal power at the outputs."""
        return float(10 ** (-self.output_db / 10))

    @property
    def worth(self) -> float:
        """Harm that keeping it in float takes away, for the time that it costs.

        Few samples show the loss of a few layers only; the noise ranks the others.
        """
        saved = self.work_share if math.isnan(self.saved_share) else self.saved_share
        return (self.noise + self.sure_lost) / (saved + _OVERHEAD)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "layer": self.layer.name,
            "operator": self.layer.op_type,
            "nodes": list(self.layer.nodes),
            "local_sqnr_db": round(self.local_db, 2),
            "output_sqnr_db": round(self.output_db, 2),
            "work_share": round(self.work_share, 6),
            "weights": self.layer.weights,
            "lost": _finite(self.lost),
            "sure_lost": round(self.sure_lost, 6),
            "saved_us": {name: round(value, 2) for name, value in self.saved_us.items()},
            "saved_share": _finite(self.saved_share),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sensitivity:
        """Read what ``to_json`` wrote; work is only known as a share."""
        nodes = tuple(str(name) for name in data["nodes"])
        layer = Layer(str(data["layer"]), nodes, str(data["operator"]), 0, int(data["weights"]))
        return cls(
            layer,
            float(data["local_sqnr_db"]),
            float(data["output_sqnr_db"]),
            float(data["work_share"]),
            lost=_number(data["lost"]),
            sure_lost=float(data["sure_lost"]),
            saved_us={str(name): float(value) for name, value in data["saved_us"].items()},
            saved_share=_number(data["saved_share"]),
        )


def rank(costs: Iterable[Sensitivity]) -> tuple[Sensitivity, ...]:
    """Return them, the most worthwhile to keep in float first."""
    return tuple(sorted(costs, key=lambda item: (-item.worth, item.layer.name)))


def with_savings(
    costs: Sequence[Sensitivity], saved_us: Mapping[str, Mapping[str, float]]
) -> tuple[Sensitivity, ...]:
    """Return the costs, ranked anew, with the time that integers save.

    Args:
        costs: Of all layers.
        saved_us: Microseconds of a call by runtime and by the layer's name.
    """
    if not saved_us:
        return rank(costs)
    gains = {
        runtime: sum(max(0.0, value) for value in times.values()) or 1.0
        for runtime, times in saved_us.items()
    }
    found = []
    for cost in costs:
        own = {runtime: times.get(cost.layer.name, 0.0) for runtime, times in saved_us.items()}
        shares = [max(0.0, value) / gains[runtime] for runtime, value in own.items()]
        found.append(replace(cost, saved_us=own, saved_share=sum(shares) / len(shares)))
    return rank(found)


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
