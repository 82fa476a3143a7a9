"""The ladder from all integers to a kept promise, cheapest rung first.

Ranges by the given method, with the fixes that usually help; without these; by the other
methods; the ends of the network in float; the other fixes of the weights, each kept only where it
helps; then layers back to float, those first that hurt most for the time they save. How many of
them is found by doubling and halving, in about 2 log2(layers) measurements.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgekit.calibration.contract import Figure, Outcome, Recipe, Scale, Trial
from edgekit.calibration.trials import Memory

logger = logging.getLogger(__name__)

Measure = Callable[[Recipe, Sequence[str]], Trial]
"""Measures a recipe on some of the artifacts."""

Order = Callable[[Recipe], Sequence[Sequence[str]]]
"""Groups of nodes that go back to float together, the most worthwhile first."""

Told = Callable[[str], None]


@dataclass(frozen=True)
class Ladder:
    """The rungs.

    Args:
        start: The first recipe: the user's method, fixes that usually help, and the nodes that he
            keeps in float.
        methods: Other ways to choose ranges.
        fixes: Names of what can be done to the weights, cheapest first.
        ends: Nodes that cost nothing in float, such as the Sigmoids and the last Concat of a
            detector: tried together.
        order: Asked for the layers' order once, when nothing cheaper has helped.
    """

    start: Recipe
    methods: Sequence[str]
    fixes: Sequence[str]
    order: Order
    ends: Sequence[str] = ()


class _OutOfTime(Exception):
    """No further measurement fits into the budget."""


def search(
    measure: Measure,
    ladder: Ladder,
    scale: Scale,
    *,
    artifacts: Sequence[str],
    limit_s: float | None = None,
    memory: Memory | None = None,
    tell: Told | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Return the first recipe that keeps the promise, or the best ones that were found.

    Args:
        measure: Called once for each recipe that memory does not know.
        ladder: What to try.
        scale: The promise and the float model's value.
        artifacts: Names of those that have to keep it.
        limit_s: No measurement begins that would end later, as far as the last one tells;
            the first is always made.
        memory: Keeps each trial as soon as it is there, so that a killed search goes on.
        tell: Told each step with its figures.
        clock: Seconds, for tests.
    """
    climb = _Climb(
        measure,
        scale,
        end=None if limit_s is None else clock() + limit_s,
        memory=Memory() if memory is None else memory,
        tell=tell or logger.info,
        clock=clock,
    )
    try:
        best = _cheap_rungs(climb, ladder, artifacts)
        if scale.is_kept(best):
            return climb.outcome(best, best, reason=f"kept by: {best.recipe}")
        return _layers(climb, ladder, best, artifacts)
    except _OutOfTime:
        best = min(climb.trials, key=scale.worst)
        outcome = climb.outcome(best, best, reason=f"the time of {limit_s:g} s is up")
        return replace(outcome, is_out_of_time=True)


class _Climb:
    """The state of one search."""

    def __init__(
        self,
        measure: Measure,
        scale: Scale,
        *,
        end: float | None,
        memory: Memory,
        tell: Told,
        clock: Callable[[], float],
    ) -> None:
        self.scale = scale
        self.trials: list[Trial] = []
        self._end = end
        self._half = None if end is None else (clock() + end) / 2
        self._measure = measure
        self._memory = memory
        self._tell = tell
        self._clock = clock
        self._last_s = 0.0

    @property
    def is_half_spent(self) -> bool:
        """Whether what is left of the time belongs to the last rung, which helps any model."""
        return self._half is not None and self._clock() > self._half

    def try_out(self, recipe: Recipe, artifacts: Sequence[str]) -> Trial:
        """Return the recipe's trial, measured unless it is known."""
        trial = self._memory.find(recipe, artifacts)
        if trial is None:
            self._check_time()
            start = self._clock()
            trial = self._measure(recipe, artifacts)
            self._last_s = self._clock() - start
            trial = replace(trial, seconds=round(self._last_s, 3))
            self._memory.add(trial, artifacts)
        self.trials.append(trial)
        self._tell(self._line(trial))
        return trial

    def outcome(self, base: Trial, best: Trial, *, reason: str) -> Outcome:
        """Return the outcome where ``best`` was measured on some artifacts, ``base`` on all."""
        figures: dict[str, Figure] = {**base.figures, **best.figures}
        recipes: Mapping[str, Recipe] = {
            name: best.recipe if name in best.figures else base.recipe for name in figures
        }
        merged = replace(best, figures=figures)
        is_kept = self.scale.is_kept(merged)
        return Outcome(is_kept, reason, recipes, figures, tuple(self.trials), self.scale)

    def _check_time(self) -> None:
        if self._end is not None and self.trials and self._clock() + self._last_s > self._end:
            raise _OutOfTime

    def _line(self, trial: Trial) -> str:
        promise = self.scale.promise
        losses = ", ".join(
            f"{name} {figure.value:.4f} (lost {promise.in_words(self.scale.lost(figure))})"
            for name, figure in trial.figures.items()
        )
        verdict = "keeps" if self.scale.is_kept(trial) else "breaks"
        return (
            f"step {len(self.trials)}: {trial.recipe}: {losses}; {trial.int8_share:.0%} int8, "
            f"{trial.seconds:.1f} s: {verdict} the promise of {promise}"
        )


def _cheap_rungs(climb: _Climb, ladder: Ladder, artifacts: Sequence[str]) -> Trial:
    """Return the best trial with every layer in integers, or the first that is kept."""
    scale = climb.scale
    best = climb.try_out(ladder.start, artifacts)
    if ladder.start.fixes and not scale.is_kept(best):
        trial = climb.try_out(replace(ladder.start, fixes=()), artifacts)
        best = min(best, trial, key=scale.worst)
    fixes = best.recipe.fixes
    for method in ladder.methods:
        if scale.is_kept(best) or climb.is_half_spent:
            break
        if method != ladder.start.method:
            trial = climb.try_out(replace(ladder.start, method=method, fixes=fixes), artifacts)
            best = min(best, trial, key=scale.worst)
    if ladder.ends and not scale.is_kept(best):
        trial = climb.try_out(best.recipe.with_float(ladder.ends), artifacts)
        best = min(best, trial, key=scale.worst)
    for fix in ladder.fixes:
        if scale.is_kept(best) or climb.is_half_spent:
            break
        trial = climb.try_out(best.recipe.with_fix(fix), artifacts)
        best = min(best, trial, key=scale.worst)
    return best


def _layers(climb: _Climb, ladder: Ladder, base: Trial, artifacts: Sequence[str]) -> Outcome:
    """Return the outcome with the fewest layers in float that keep the promise."""
    scale = climb.scale
    if base.int8_share <= 0:
        return climb.outcome(base, base, reason="no layer of this model can become integers")
    failing = scale.failing(base)
    # One code of layers for all, unless one runtime alone is the trouble.
    judged = failing if len(failing) == 1 else tuple(artifacts)
    groups = [tuple(group) for group in ladder.order(base.recipe)]
    passed: Trial | None = None
    below, above = 0, 1
    try:
        while passed is None and below < len(groups):
            above = min(above, len(groups))
            trial = climb.try_out(_floated(base, groups, above), judged)
            if _is_enough(trial, scale):
                passed = trial
            else:
                # With little time left it is more to have enough of them than the fewest.
                below, above = above, above * (4 if climb.is_half_spent else 2)
        while passed is not None and above - below > 1:
            middle = (below + above) // 2
            trial = climb.try_out(_floated(base, groups, middle), judged)
            if _is_enough(trial, scale):
                passed, above = trial, middle
            else:
                below = middle
    except _OutOfTime:
        if passed is None or not scale.is_kept(passed):
            raise
        return climb.outcome(
            base, passed, reason=f"kept by: {passed.recipe}; time was up to look for fewer"
        )
    if passed is not None and scale.is_kept(passed):
        return climb.outcome(base, passed, reason=f"kept by: {passed.recipe}")
    best = min(climb.trials, key=scale.worst)
    whole = best if len(best.figures) == len(artifacts) else base
    if passed is not None:
        reason = "only the model with every layer in float keeps it"
    else:
        reason = "no step keeps it, not even with every layer in float"
    return replace(climb.outcome(whole, best, reason=reason), is_kept=False)


def _floated(base: Trial, groups: Sequence[Sequence[str]], count: int) -> Recipe:
    return base.recipe.with_float([name for group in groups[:count] for name in group])


def _is_enough(trial: Trial, scale: Scale) -> bool:
    """Whether more layers in float are of no use: it is kept, or all are."""
    return trial.int8_share <= 0 or scale.is_kept(trial)
