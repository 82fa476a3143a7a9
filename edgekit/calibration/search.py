"""The ladder from all integers to a kept promise, cheapest rung first.

Ranges by the given method, with the fixes that usually help; without these; by the other
methods; the ends of the network in float; the other fixes of the weights, each kept only where it
helps; then layers back to float, those first that hurt most for the time they save. How many of
them is found by doubling from an estimate, and halving: in about 2 log2(layers) trials at most.

A trial ends at the first artifact that shows that it is of no use; a promise is kept by all.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from edgekit.calibration.budget import Budget
from edgekit.calibration.climb import Climb, Measure, OutOfTime, Told
from edgekit.calibration.contract import Outcome, Recipe, Scale, Trial
from edgekit.calibration.trials import Memory

logger = logging.getLogger(__name__)

_PART_FOR_ORDER = 1 / 3  # of what is left, for looking closer at the layers


@dataclass(frozen=True)
class Group:
    """Nodes that go back to float together.

    Args:
        nodes: Their names.
        noise: Its power at the outputs where they alone are integers, over that of the signal;
            NaN unknown.
    """

    nodes: tuple[str, ...]
    noise: float = math.nan


class Order(Protocol):
    """Says which layers go back to float first."""

    def __call__(self, recipe: Recipe, *, limit_s: float) -> Sequence[Group]:
        """Return the groups, the most worthwhile first.

        Args:
            recipe: With the layers in integers that are to be ordered.
            limit_s: Time for it, as far as it can be had in less; infinite without a limit.
        """


@dataclass(frozen=True)
class Ladder:
    """The rungs.

    Args:
        start: The first recipe: the user's method, fixes that usually help, and the nodes that he
            keeps in float.
        methods: Other ways to choose ranges.
        fixes: Names of what can be done to the weights, cheapest first.
        order: Asked for the layers' order once, when nothing cheaper has helped.
        ends: Nodes that cost nothing in float, such as the Sigmoids and the last Concat of a
            detector: tried together.
        order_s: Tells about how many seconds the order of a recipe takes at least.
    """

    start: Recipe
    methods: Sequence[str]
    fixes: Sequence[str]
    order: Order
    ends: Sequence[str] = ()
    order_s: Callable[[Recipe], float] = lambda _: 0.0


def search(
    measure: Measure,
    ladder: Ladder,
    scale: Scale,
    *,
    artifacts: Sequence[str],
    budget: Budget | None = None,
    memory: Memory | None = None,
    tell: Told | None = None,
) -> Outcome:
    """Return the first recipe that keeps the promise, or the best ones that were found.

    Args:
        measure: Called once for each recipe and artifact that memory does not know.
        ladder: What to try.
        scale: The promise and the float model's value.
        artifacts: Names of those that have to keep it.
        budget: No measurement begins that would end later, as far as those tell that were
            made; the first recipe is always measured.
        memory: Keeps each figure as soon as it is there, so that a killed search goes on.
        tell: Told each step with its figures.
    """
    budget = budget or Budget()
    climb = Climb(
        measure,
        scale,
        budget=budget,
        memory=Memory() if memory is None else memory,
        tell=tell or logger.info,
    )
    try:
        best = _cheap_rungs(climb, ladder, artifacts)
        if scale.is_kept(best):
            return climb.outcome(best, best, reason=f"kept by: {best.recipe}")
        return _layers(climb, ladder, best, artifacts)
    except OutOfTime:
        best = climb.best
        outcome = climb.outcome(best, best, reason=f"the time of {budget.limit_s:g} s is up")
        return replace(outcome, is_out_of_time=True)


def _cheap_rungs(climb: Climb, ladder: Ladder, artifacts: Sequence[str]) -> Trial:
    """Return the best trial with every layer in integers, or the first that is kept."""
    scale, order_s = climb.scale, ladder.order_s(ladder.start)

    def is_due() -> bool:
        """Whether what is left of the time belongs to the last rung, which helps any model.

        Unless that is out of reach.
        """
        return climb.budget.fits(order_s) and climb.budget.is_half_spent(beside_s=order_s)

    best = climb.first(ladder.start, artifacts)
    try:
        if ladder.start.fixes and not scale.is_kept(best):
            best = climb.better(replace(ladder.start, fixes=()), best)
        fixes = best.recipe.fixes
        for method in ladder.methods:
            if scale.is_kept(best) or is_due():
                break
            if method != ladder.start.method:
                best = climb.better(replace(ladder.start, method=method, fixes=fixes), best)
        if ladder.ends and not scale.is_kept(best):
            best = climb.better(best.recipe.with_float(ladder.ends), best)
        for fix in ladder.fixes:
            if scale.is_kept(best) or is_due():
                break
            best = climb.better(best.recipe.with_fix(fix), best)
    except OutOfTime:
        # A fix may take longer than layers in float, which share what is there already.
        return best
    return best


def _layers(climb: Climb, ladder: Ladder, base: Trial, artifacts: Sequence[str]) -> Outcome:
    """Return the outcome with the fewest layers in float that keep the promise."""
    scale, budget = climb.scale, climb.budget
    if base.int8_share <= 0:
        return climb.outcome(base, base, reason="no layer of this model can become integers")
    failing = scale.failing(base)
    # One code of layers for all, unless one runtime alone is the trouble.
    judged = failing if len(failing) == 1 else tuple(artifacts)
    climb.check_time(ladder.order_s(base.recipe))
    groups = ladder.order(base.recipe, limit_s=_PART_FOR_ORDER * budget.left_s)
    figures = dict(base.figures)
    passed: Trial | None = None
    below, above = 0, _estimate(groups, scale.worst(base), scale.promise.limit)

    def floated(count: int) -> Trial:
        names = [name for group in groups[:count] for name in group.nodes]
        trial = climb.keeping(base.recipe.with_float(names), judged, figures)
        figures.update(trial.figures)
        return trial

    try:
        while passed is None and below < len(groups):
            above = min(above, len(groups))
            trial = floated(above)
            if _is_within(trial, scale):
                passed = trial
            elif trial.int8_share <= 0:
                break
            else:
                # With little time left it is more to have enough of them than the fewest.
                below, above = above, above * (4 if budget.is_half_spent() else 2)
        while passed is not None and above - below > 1:
            middle = (below + above) // 2
            trial = floated(middle)
            if _is_within(trial, scale):
                passed, above = trial, middle
            else:
                below = middle
    except OutOfTime:
        if passed is None or not scale.is_kept(passed):
            raise
        return climb.outcome(
            base, passed, reason=f"kept by: {passed.recipe}; time was up to look for fewer"
        )
    if passed is not None and scale.is_kept(passed):
        return climb.outcome(base, passed, reason=f"kept by: {passed.recipe}")
    best = climb.best
    whole = best if len(best.figures) == len(artifacts) else base
    if passed is not None:
        reason = "only the model with every layer in float keeps it"
    else:
        reason = "no step keeps it, not even with every layer in float"
    return replace(climb.outcome(whole, best, reason=reason), is_kept=False)


def _estimate(groups: Sequence[Group], lost: float, limit: float) -> int:
    """Return how many groups in float may be enough: where to begin.

    It is as if the loss went with the amplitude of what is left of the noise. On the networks
    of docs/accuracy.md it falls slower, so that this is seldom too many; and a quarter of the
    groups are the most to begin with.
    """
    left = sum(group.noise for group in groups)
    enough = left * (limit / lost) ** 2 if lost > 0 else left
    most = max(1, len(groups) // 4)
    for count, group in enumerate(groups[:most], 1):
        left -= group.noise
        if not left > enough:
            return count
    return most


def _is_within(trial: Trial, scale: Scale) -> bool:
    """Whether no artifact lost too much, though nothing may be left in integers."""
    return trial.is_whole and not scale.failing(trial)
