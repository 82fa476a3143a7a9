"""The state of one search: its trials, and what the next one has to measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edgekit.calibration.budget import Budget, Pace
from edgekit.calibration.contract import Figure, Outcome, Recipe, Scale, Trial
from edgekit.calibration.trials import Memory

Measure = Callable[[Recipe, Sequence[str]], Trial]
"""Measures a recipe on some of the artifacts."""

Told = Callable[[str], None]


class OutOfTime(Exception):
    """No further measurement fits into the budget."""


class Climb:
    """Measures recipes, one artifact after the other, each only as far as it is of use.

    Attributes:
        scale: The promise and the float model's value.
        budget: Of the whole search.
        trials: So far, in order.
    """

    def __init__(
        self,
        measure: Measure,
        scale: Scale,
        *,
        budget: Budget,
        memory: Memory,
        tell: Told,
    ) -> None:
        self.scale = scale
        self.budget = budget
        self.trials: list[Trial] = []
        self._measure = measure
        self._memory = memory
        self._tell = tell
        self._pace = Pace()

    @property
    def best(self) -> Trial:
        """The trial that lost least, of those whose artifacts were all measured."""
        return min((trial for trial in self.trials if trial.is_whole), key=self.scale.worst)

    def check_time(self, seconds: float) -> None:
        """Raise ``OutOfTime`` where what takes so long would end too late."""
        if self.trials and not self.budget.fits(seconds):
            raise OutOfTime

    def first(self, recipe: Recipe, artifacts: Sequence[str]) -> Trial:
        """Return the trial of a recipe, all of it whatever the time."""
        return self._try(recipe, artifacts, artifacts, lambda _: False)

    def better(self, recipe: Recipe, best: Trial) -> Trial:
        """Return the recipe's trial where it loses less than ``best``, else ``best``.

        It ends at the first artifact that lost as much as the worst one of ``best``: the trial
        cannot be better then. So the worst ones of ``best`` come first.
        """
        worst = self.scale.worst(best)
        names = self._in_turn(best.figures)
        trial = self._try(recipe, names, names, lambda figure: self.scale.lost(figure) >= worst)
        return trial if trial.is_whole and self.scale.worst(trial) < worst else best

    def keeping(
        self, recipe: Recipe, artifacts: Sequence[str], like: Mapping[str, Figure]
    ) -> Trial:
        """Return the recipe's trial, which ends at the first artifact that breaks the promise.

        Args:
            recipe: What to do.
            artifacts: That have to keep it.
            like: Figures of a recipe much like it: what broke the promise there comes first.
        """
        names = self._in_turn({name: like[name] for name in artifacts})
        return self._try(
            recipe,
            artifacts,
            names,
            lambda figure: not self.scale.promise.allows(self.scale.lost(figure)),
        )

    def outcome(self, base: Trial, best: Trial, *, reason: str) -> Outcome:
        """Return the outcome where ``best`` was measured on some artifacts, ``base`` on all."""
        figures: dict[str, Figure] = {**base.figures, **best.figures}
        recipes: Mapping[str, Recipe] = {
            name: best.recipe if name in best.figures else base.recipe for name in figures
        }
        merged = replace(best, figures=figures)
        is_kept = self.scale.is_kept(merged)
        return Outcome(is_kept, reason, recipes, figures, tuple(self.trials), self.scale)

    def _in_turn(self, figures: Mapping[str, Figure]) -> list[str]:
        """Return the artifacts, first those that broke the promise by most for their time."""

        def key(name: str) -> tuple[bool, float]:
            lost = self.scale.lost(figures[name])
            return self.scale.promise.allows(lost), -max(lost, 0.0) / self._pace.mean_s(name)

        return sorted(figures, key=key)

    def _try(
        self,
        recipe: Recipe,
        artifacts: Sequence[str],
        names: Sequence[str],
        is_enough: Callable[[Figure], bool],
    ) -> Trial:
        """Measure in the order of ``names`` what is not known, until a figure is enough."""
        trial = self._memory.find(recipe, artifacts)
        if trial is None:
            trial = Trial(recipe, {}, left_out=tuple(names))
        try:
            for name in names:
                if any(map(is_enough, trial.figures.values())):
                    break
                if name in trial.left_out:
                    trial = self._joined(trial, name)
                    self._memory.add(trial, artifacts)
        except OutOfTime:
            if trial.figures:
                self._note(trial)
            raise
        self._note(trial)
        return trial

    def _note(self, trial: Trial) -> None:
        self.trials.append(trial)
        self._tell(self._line(trial))

    def _joined(self, trial: Trial, name: str) -> Trial:
        """Return the trial with one more artifact measured."""
        if self.trials:
            self.check_time(self._pace.expect_s(trial.recipe, name))
        start = self.budget.clock()
        made = self._measure(trial.recipe, [name])
        seconds = self.budget.clock() - start
        self._pace.add(trial.recipe, name, seconds)
        notes = dict.fromkeys(note for note in (trial.note, made.note) if note)
        return Trial(
            trial.recipe,
            {**trial.figures, **made.figures},
            min(trial.int8_share, made.int8_share),
            round(trial.seconds + seconds, 3),
            "; ".join(notes),
            tuple(other for other in trial.left_out if other != name),
        )

    def _line(self, trial: Trial) -> str:
        promise = self.scale.promise
        losses = ", ".join(
            f"{name} {figure.value:.4f} (lost {promise.in_words(self.scale.lost(figure))})"
            for name, figure in trial.figures.items()
        )
        if self.scale.is_kept(trial):
            verdict = f"keeps the promise of {promise}"
        elif self.scale.failing(trial) or trial.is_whole:
            verdict = f"breaks the promise of {promise}"
        else:
            verdict = "not decided"
        left_out = f"; not measured: {', '.join(trial.left_out)}" if trial.left_out else ""
        return (
            f"step {len(self.trials)}: {trial.recipe}: {losses}; {trial.int8_share:.0%} int8, "
            f"{trial.seconds:.1f} s: {verdict}{left_out}"
        )
