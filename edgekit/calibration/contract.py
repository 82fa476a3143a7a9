"""The accuracy contract: what was promised, what was tried, and what each try measured.

Only values are here; ``search.py`` climbs the ladder, and whoever calls it says how a recipe
is measured. Nothing here knows ONNX or a runtime.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgekit.errors import UsageError

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Promise:
    """How much of a metric may be lost against the float model.

    Args:
        limit: Largest loss, >= 0.
        is_relative: Whether it is a share of the float model's value; else it is in the
            metric's own unit.
    """

    limit: float
    is_relative: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= (1 if self.is_relative else math.inf):
            raise UsageError(
                f"a drop of {self} cannot be promised; give a share such as 1%, or an absolute "
                "drop such as 0.01, not below 0"
            )

    @classmethod
    def parse(cls, text: str) -> Promise:
        """Read ``"1%"`` (of the float model's value) or ``"0.01"`` (in the metric's unit).

        Raises:
            UsageError: It is neither.
        """
        is_relative = text.strip().endswith("%")
        try:
            number = float(text.strip().removesuffix("%"))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(
                f"{text!r} is no drop; give a share such as 1%, or an absolute drop such as 0.01"
            )
        return cls(number / 100 if is_relative else number, is_relative)

    def lost(self, baseline: float, value: float, *, higher_is_better: bool = True) -> float:
        """Return what was lost, in the promise's unit; below 0 is a gain, NaN loses all."""
        loss = baseline - value if higher_is_better else value - baseline
        if math.isnan(loss):
            return math.inf
        if not self.is_relative:
            return loss
        if baseline == 0:
            return math.copysign(math.inf, loss) if loss else 0.0
        return loss / abs(baseline)

    def allows(self, lost: float) -> bool:
        """Whether that loss keeps the promise."""
        return lost <= self.limit + _ROUNDING

    def in_words(self, lost: float) -> str:
        """Return a loss as the promise is written: ``"0.28%"`` or ``"0.0028"``."""
        return f"{lost:.2%}" if self.is_relative else f"{lost:.4f}"

    def __str__(self) -> str:
        return f"{self.limit * 100:g}%" if self.is_relative else f"{self.limit:g}"


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
    """

    recipe: Recipe
    figures: Mapping[str, Figure]
    int8_share: float = 1.0
    seconds: float = 0.0
    note: str = ""

    @property
    def latency_ms(self) -> float | None:
        """Mean over the artifacts that ran on their own runtime; None where none did."""
        times = [
            figure.latency_ms
            for figure in self.figures.values()
            if figure.latency_ms is not None and not figure.is_simulated
        ]
        return sum(times) / len(times) if times else None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "recipe": self.recipe.to_json(),
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            "int8_share": self.int8_share,
            "seconds": self.seconds,
            "note": self.note,
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
        """Return the largest loss of a trial's artifacts."""
        return max(self.lost(figure) for figure in trial.figures.values())

    def is_kept(self, trial: Trial) -> bool:
        """Whether every artifact keeps the promise, with something left in integers."""
        return trial.int8_share > 0 and self.promise.allows(self.worst(trial))

    def failing(self, trial: Trial) -> tuple[str, ...]:
        """Return the artifacts that break the promise."""
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
    """Return the trials that no other beats in accuracy and in what is left in integers.

    The most accurate is the last one.
    """
    ranked = sorted(trials, key=lambda trial: (-trial.int8_share, scale.worst(trial)))
    kept: list[Trial] = []
    for trial in ranked:
        if not kept or scale.worst(trial) < scale.worst(kept[-1]):
            kept.append(trial)
    return tuple(kept)
