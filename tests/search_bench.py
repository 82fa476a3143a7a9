"""A model as a function, to search on: what it loses is known, and so is what that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgekit.calibration.budget import Budget
from edgekit.calibration.contract import Figure, Outcome, Promise, Recipe, Scale, Trial
from edgekit.calibration.search import Group, Ladder, search

LAYERS = tuple(Group((f"layer{number}",)) for number in range(16))


@dataclass
class Bench:
    """A model whose loss is known: a base, less for each fix, 0 from ``enough`` float layers on.

    Args:
        loss: Of every artifact.
        more: That an artifact loses on top.
        helps: What a method or a fix takes away.
        enough: How many float layers take all away.
        only: Name of the one artifact that loses; empty for all.
        takes_s: One artifact.
        slow_s: One artifact on top, the first time that a fix is made.
        order_s: The order of the layers.
        noise: Of the layers, in their order; empty where it is unknown.
        asked: Each measurement: what and of which artifact.
        limits: What time each question for the order gave.
    """

    loss: float = 0.5
    more: Mapping[str, float] = field(default_factory=dict)
    helps: Mapping[str, float] = field(default_factory=dict)
    enough: int = 5
    only: str = ""
    takes_s: float = 1.0
    slow_s: Mapping[str, float] = field(default_factory=dict)
    order_s: float = 0.0
    noise: Sequence[float] = ()
    now: float = 0.0
    asked: list[tuple[Recipe, str]] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    @property
    def recipes(self) -> list[Recipe]:
        """What was tried, each once."""
        return list(dict.fromkeys(recipe for recipe, _ in self.asked))

    def lost(self, recipe: Recipe, name: str) -> float:
        """Return what an artifact loses."""
        if len(recipe.keep_float) >= self.enough or self.only not in ("", name):
            return 0.0
        helped = sum(self.helps.get(item, 0.0) for item in (recipe.method, *recipe.fixes))
        return self.loss + self.more.get(name, 0.0) - helped

    def measure(self, recipe: Recipe, artifacts: Sequence[str]) -> Trial:
        """Return the trial, and let the time pass that it takes."""
        known = {fix for other, _ in self.asked for fix in other.fixes}
        self.now += sum(self.slow_s.get(fix, 0.0) for fix in set(recipe.fixes) - known)
        self.now += self.takes_s * len(artifacts)
        self.asked += [(recipe, name) for name in artifacts]
        figures = {
            name: Figure(1.0 - self.lost(recipe, name), latency_ms=1.0) for name in artifacts
        }
        return Trial(recipe, figures, int8_share=1 - len(recipe.keep_float) / len(LAYERS))

    def order(self, recipe: Recipe, *, limit_s: float) -> Sequence[Group]:
        """Return the layers, and let the time pass that this takes."""
        self.limits.append(limit_s)
        self.now += self.order_s
        if not self.noise:
            return LAYERS
        return [replace(group, noise=x) for group, x in zip(LAYERS, self.noise, strict=True)]

    def run(
        self,
        *,
        artifacts: Sequence[str] = ("a", "b"),
        limit_s: float | None = None,
        promise: float = 0.01,
        ladder: Ladder | None = None,
        **options: object,
    ) -> Outcome:
        """Return what a search finds."""
        usual = Ladder(
            Recipe(),
            ["entropy", "mse"],
            ["bias", "rounding"],
            self.order,
            order_s=lambda _: self.order_s,
        )
        return search(
            self.measure,
            ladder or usual,
            Scale(Promise(promise), baseline=1.0),
            artifacts=artifacts,
            budget=Budget(limit_s, clock=lambda: self.now),
            **options,
        )
