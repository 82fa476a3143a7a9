"""The accuracy contract: what was promised, what was tried, and what each try measured.

Only values are here; ``search.py`` climbs the ladder, and whoever calls it says how a recipe
is measured. Nothing here knows ONNX or a runtime.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgekit.calibration.promise import Promise


@dataclass(frozen=True)
class Recipe:
    """One way to quantize a model; the same for all targets.

    Args:
        method: How ranges are chosen, a name in ``OBSERVERS``.
        fixes: What is done to the weights, in the order of the ladder.
        keep_float: Names of nodes that stay float.
    """

    method: str = "auto"
    fixes: tuple[str, ...] = ()
    keep_float: tuple[str, ...] = ()

    def with_fix(self, name: str) -> Recipe:
        """Return the recipe with one more fix."""
        return replace(self, fixes=(*self.fixes, name))

    def with_float(self, names: Sequence[str]) -> Recipe:
        """Return the recipe with more nodes in float."""
        return replace(self, keep_float=tuple(dict.fromkeys((*self.keep_float, *names))))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "method": self.method,
            "fixes": list(self.fixes),
            "keep_float": list(self.keep_float),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """Read what ``to_json`` wrote."""
        return cls(
            method=str(data["method"]),
            fixes=tuple(str(name) for name in data["fixes"]),
            keep_float=tuple(str(name) for name in data["keep_float"]),
        )

    def __str__(self) -> str:
        words = [f"ranges by {self.method}", *(name.replace("_", " ") for name in self.fixes)]
        if self.keep_float:
            words.append(f"{len(self.keep_float)} nodes in float")
        return ", ".join(words)


@dataclass(frozen=True)
class Figure:
    """What one artifact measured.

    Args:
        value: The metric.
        runtime: What ran it, with its version.
        latency_ms: Mean time of a sample in the engine, as the validation ran; None unknown.
        is_simulated: Whether its own runtime is not here, and ONNX Runtime ran its graph.
    """

    value: float
    runtime: str = ""
    latency_ms: float | None = None
    is_simulated: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict; a value that is no number is null."""
        return {
            "value": self.value if math.isfinite(self.value) else None,
            "runtime": self.runtime,
            "latency_ms": self.latency_ms,
            "is_simulated": self.is_simulated,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figure:
        """Read what ``to_json`` wrote."""
        latency = data["latency_ms"]
        return cls(
            value=math.nan if data["value"] is None else float(data["value"]),
            runtime=str(data["runtime"]),
            latency_ms=None if latency is None else float(latency),
            is_simulated=bool(data["is_simulated"]),
        )


@dataclass(frozen=True)
class Trial:
    """One recipe, measured.

    Args:
        recipe: What was done.
        figures: By artifact name.
        int8_share: Share of the model's multiplications that are integers, 0 to 1.
        seconds: It took, all artifacts together.
        note: What could not be done as asked, or ``""``.
        left_out: Artifacts that were not measured: the others had decided it, or time was up.
    """

    recipe: Recipe
    figures: Mapping[str, Figure]
    int8_share: float = 1.0
    seconds: float = 0.0
    note: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every artifact was measured."""
        return not self.left_out

    @property
    def latency_ms(self) -> float | None:
        """Mean over the artifacts that ran on their own runtime.

        None where none did, and where some were left out: it would compare unlike things.
        """
        if not self.is_whole:
            return None
        times = [
            figure.latency_ms
            for figure in self.figures.values()
            if figure.latency_ms is not None and not figure.is_simulated
        ]
        return sum(times) / len(times) if times else None

    def joined(self, more: Trial) -> Trial:
        """Return the trial with what was measured of the artifacts that it had left out."""
        notes = dict.fromkeys(note for note in (self.note, more.note) if note)
        return Trial(
            self.recipe,
            {**self.figures, **more.figures},
            min(self.int8_share, more.int8_share),
            self.seconds + more.seconds,
            "; ".join(notes),
            tuple(name for name in self.left_out if name not in more.figures),
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "recipe": self.recipe.to_json(),
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            "int8_share": self.int8_share,
            "seconds": self.seconds,
            "note": self.note,
            "left_out": list(self.left_out),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        """Read what ``to_json`` wrote."""
        return cls(
            recipe=Recipe.from_json(data["recipe"]),
            figures={name: Figure.from_json(item) for name, item in data["figures"].items()},
            int8_share=float(data["int8_share"]),
            seconds=float(data["seconds"]),
            note=str(data["note"]),
            left_out=tuple(str(name) for name in data["left_out"]),
        )


@dataclass(frozen=True)
class Scale:
    """What losses are measured against.

    Args:
        promise: What was promised.
        baseline: The float model's value.
        higher_is_better: Of the metric.
    """

    promise: Promise
    baseline: float
    higher_is_better: bool = True

    def lost(self, figure: Figure) -> float:
        """Return what an artifact lost, in the promise's unit."""
        return self.promise.lost(
            self.baseline, figure.value, higher_is_better=self.higher_is_better
        )

    def worst(self, trial: Trial) -> float:
        """Return the largest loss of a trial's artifacts.

        Where some were left out it has lost that much or more.
        """
        return max(self.lost(figure) for figure in trial.figures.values())

    def is_kept(self, trial: Trial) -> bool:
        """Whether every artifact keeps the promise, with something left in integers."""
        return trial.is_whole and trial.int8_share > 0 and not self.failing(trial)

    def failing(self, trial: Trial) -> tuple[str, ...]:
        """Return the artifacts that break the promise, of those that were measured."""
        return tuple(
            name
            for name, figure in trial.figures.items()
            if not self.promise.allows(self.lost(figure))
        )


@dataclass(frozen=True)
class Outcome:
    """How a search ended.

    Args:
        is_kept: Whether the promise is kept by every artifact.
        reason: Why it ended, in words.
        recipes: By artifact name, what it is made by; the best ones where it is not kept.
        figures: By artifact name, what that measured.
        trials: All that were measured, in order.
        scale: What they were measured against.
        is_out_of_time: Whether a longer budget could find more.
    """

    is_kept: bool
    reason: str
    recipes: Mapping[str, Recipe]
    figures: Mapping[str, Figure]
    trials: tuple[Trial, ...]
    scale: Scale
    is_out_of_time: bool = False
    frontier: tuple[Trial, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "frontier", frontier(self.trials, self.scale))


def frontier(trials: Sequence[Trial], scale: Scale) -> tuple[Trial, ...]:
    """Return the trials that no other is known to beat in accuracy and in integers left.

    The most accurate is the last one. Of a trial that left artifacts out only the least that it
    lost is known: it beats no other, and is there only where it lost less than those before it.
    """
    ranked = sorted(trials, key=lambda trial: (-trial.int8_share, scale.worst(trial)))
    kept: list[Trial] = []
    for trial in ranked:
        before = [other for other in kept if other.is_whole or not trial.is_whole]
        if not before or scale.worst(trial) < min(map(scale.worst, before)):
            kept.append(trial)
    return tuple(kept)


__all__ = ["Figure", "Outcome", "Promise", "Recipe", "Scale", "Trial", "frontier"]
