"""The promise, the ladder that keeps it, and its memory; models are functions here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekit.calibration.contract import Figure, Promise, Recipe, Scale, Trial, frontier
from edgekit.calibration.search import Ladder, search
from edgekit.calibration.trials import Memory
from edgekit.errors import CalibrationError, UsageError

LAYERS = [(f"layer{number}",) for number in range(16)]


@dataclass
class Bench:
    """A model whose loss is known: a base, less for each fix, 0 from ``enough`` float layers on."""

    loss: float = 0.5
    helps: dict[str, float] = field(default_factory=dict)
    enough: int = 5
    only: str = ""
    takes_s: float = 1.0
    now: float = 0.0
    asked: list[tuple[Recipe, tuple[str, ...]]] = field(default_factory=list)

    def measure(self, recipe: Recipe, artifacts: Sequence[str]) -> Trial:
        self.asked.append((recipe, tuple(artifacts)))
        self.now += self.takes_s
        loss = self.loss - self.helps.get(recipe.method, 0.0)
        loss -= sum(self.helps.get(name, 0.0) for name in recipe.fixes)
        if len(recipe.keep_float) >= self.enough:
            loss = 0.0
        figures = {
            name: Figure(1.0 - (loss if self.only in ("", name) else 0.0), latency_ms=1.0)
            for name in artifacts
        }
        return Trial(recipe, figures, int8_share=1 - len(recipe.keep_float) / len(LAYERS))

    def run(self, *, artifacts: Sequence[str] = ("a", "b"), **options: object):
        ladder = Ladder(Recipe(), ["entropy", "mse"], ["bias", "rounding"], lambda _: LAYERS)
        scale = Scale(Promise(0.01), baseline=1.0)
        return search(
            self.measure, ladder, scale, artifacts=artifacts, clock=lambda: self.now, **options
        )


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    baseline: float
    value: float
    lost: float
    kept: bool
    higher_is_better: bool = True


@pytest.mark.parametrize(
    "case",
    [
        Case("relative", "1%", 0.5, 0.496, 0.008, True),
        Case("relative_broken", "1%", 0.5, 0.494, 0.012, False),
        Case("absolute", "0.01", 0.5, 0.494, 0.006, True),
        Case("exactly_the_limit", "0.01", 0.99, 0.98, 0.01, True),
        Case("gain", "0%", 0.5, 0.6, -0.2, True),
        Case("lower_is_better", "10%", 0.02, 0.021, 0.05, True, higher_is_better=False),
        Case("no_number", "1%", 0.5, math.nan, math.inf, False),
        Case("baseline_zero", "1%", 0.0, 0.0, 0.0, True),
    ],
    ids=lambda case: case.id,
)
def test_a_promise_says_what_is_lost_and_whether_it_is_kept(case: Case) -> None:
    promise = Promise.parse(case.text)

    lost = promise.lost(case.baseline, case.value, higher_is_better=case.higher_is_better)

    assert lost == pytest.approx(case.lost)
    assert promise.allows(lost) is case.kept


@pytest.mark.parametrize("text", ["", "one", "-1%", "101%", "nan", "inf", "-0.1", "1 %%"])
def test_a_drop_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="1%"):
        Promise.parse(text)


@pytest.mark.parametrize("text", ["1%", "0.5%", "0.01", "0%"])
def test_a_promise_is_written_as_it_was_given(text: str) -> None:
    assert str(Promise.parse(text)) == text


def test_the_search_stops_at_the_first_recipe_that_keeps_the_promise() -> None:
    bench = Bench(loss=0.001)

    outcome = bench.run()

    assert outcome.is_kept
    assert [recipe for recipe, _ in bench.asked] == [Recipe()]


def test_methods_come_before_fixes_and_fixes_before_layers() -> None:
    bench = Bench(loss=0.5, helps={"mse": 0.1, "bias": 0.1})

    bench.run()

    asked = [(recipe.method, recipe.fixes, len(recipe.keep_float)) for recipe, _ in bench.asked]
    assert asked[:5] == [
        ("auto", (), 0),
        ("entropy", (), 0),
        ("mse", (), 0),
        ("mse", ("bias",), 0),
        ("mse", ("bias", "rounding"), 0),
    ]
    assert asked[5][2] == 1


@pytest.mark.parametrize(("usual", "kept"), [(0.1, ("usual",)), (-0.1, ())])
def test_what_usually_helps_is_left_out_where_it_does_not(
    usual: float, kept: tuple[str, ...]
) -> None:
    bench = Bench(loss=0.5, helps={"usual": usual})
    ladder = Ladder(Recipe(fixes=("usual",)), ["mse"], ["bias"], lambda _: [])

    search(
        bench.measure,
        ladder,
        Scale(Promise(0.01), baseline=1.0),
        artifacts=["a"],
        clock=lambda: bench.now,
    )

    asked = [(recipe.method, recipe.fixes) for recipe, _ in bench.asked]
    assert asked[:3] == [("auto", ("usual",)), ("auto", ()), ("mse", kept)]


def test_the_ends_go_to_float_together_before_the_weights_are_touched() -> None:
    bench = Bench(loss=0.5, enough=99)
    ladder = Ladder(Recipe(), ["mse"], ["bias"], lambda _: [], ends=("sigmoid", "concat"))

    search(
        bench.measure,
        ladder,
        Scale(Promise(0.01), baseline=1.0),
        artifacts=["a"],
        clock=lambda: bench.now,
    )

    asked = [recipe.keep_float for recipe, _ in bench.asked]
    assert asked == [(), (), ("sigmoid", "concat"), ()]


def test_a_fix_that_does_not_help_is_not_kept() -> None:
    bench = Bench(loss=0.5, helps={"bias": -0.1})

    outcome = bench.run()

    assert set(outcome.recipes.values()) == {Recipe("auto", (), outcome.recipes["a"].keep_float)}


@pytest.mark.parametrize("enough", [1, 2, 3, 5, 8, 11, 15])
def test_the_fewest_layers_that_are_enough_go_back_in_few_measurements(enough: int) -> None:
    bench = Bench(enough=enough)

    outcome = bench.run()

    layers = [recipe for recipe, _ in bench.asked if recipe.keep_float]
    assert outcome.is_kept
    assert len(outcome.recipes["a"].keep_float) == enough
    assert len(layers) <= 2 * math.log2(len(LAYERS)) + 1


def test_the_layers_that_the_order_puts_first_go_back_first() -> None:
    outcome = Bench(enough=3).run()

    assert outcome.recipes["a"].keep_float == ("layer0", "layer1", "layer2")


def test_layers_go_back_on_all_targets_alike() -> None:
    outcome = Bench(enough=3).run()

    assert outcome.recipes["a"] == outcome.recipes["b"]


def test_where_one_target_alone_fails_the_others_stay_integers() -> None:
    bench = Bench(enough=3, only="b")

    outcome = bench.run()

    assert outcome.is_kept
    assert len(outcome.recipes["b"].keep_float) == 3
    assert outcome.recipes["a"].keep_float == ()
    assert bench.asked[-1][1] == ("b",)


def test_a_promise_that_only_the_float_model_keeps_is_refused() -> None:
    outcome = Bench(enough=len(LAYERS)).run()

    assert not outcome.is_kept
    assert "every layer in float" in outcome.reason


def test_a_promise_that_nothing_keeps_is_refused_with_its_frontier() -> None:
    outcome = Bench(enough=99, helps={"mse": 0.1}).run()

    assert not outcome.is_kept
    assert [str(trial.recipe) for trial in outcome.frontier] == ["ranges by mse"]


def test_the_frontier_holds_what_no_other_trial_beats() -> None:
    scale = Scale(Promise(0.01), baseline=1.0)
    trials = [
        Trial(Recipe("a"), {"x": Figure(0.5)}, int8_share=1.0),
        Trial(Recipe("b"), {"x": Figure(0.7)}, int8_share=1.0),
        Trial(Recipe("c"), {"x": Figure(0.6)}, int8_share=0.9),
        Trial(Recipe("d"), {"x": Figure(0.9)}, int8_share=0.5),
    ]

    found = frontier(trials, scale)

    assert [trial.recipe.method for trial in found] == ["b", "d"]


def test_the_worst_target_decides() -> None:
    scale = Scale(Promise(0.01), baseline=1.0)

    trial = Trial(Recipe(), {"x": Figure(0.999), "y": Figure(0.9)})

    assert not scale.is_kept(trial)
    assert scale.failing(trial) == ("y",)


def test_no_measurement_begins_that_would_end_after_the_budget() -> None:
    bench = Bench(takes_s=10)

    outcome = bench.run(limit_s=35)

    assert outcome.is_out_of_time
    assert not outcome.is_kept
    assert len(bench.asked) == 3


def test_half_of_the_budget_is_for_layers_in_float() -> None:
    bench = Bench(loss=0.5, enough=1, takes_s=10)

    # The first and one method take 20 of 35 s; a second method and two fixes are left out.
    outcome = bench.run(limit_s=35)

    assert outcome.is_kept
    assert [len(recipe.keep_float) for recipe, _ in bench.asked] == [0, 0, 1]


def test_with_half_of_the_budget_gone_layers_go_back_in_longer_strides() -> None:
    bench = Bench(loss=0.5, enough=4, takes_s=10)

    # Three ranges take 30 of 55 s; two layers are not tried.
    outcome = bench.run(limit_s=55)

    assert outcome.is_kept
    assert [len(recipe.keep_float) for recipe, _ in bench.asked] == [0, 0, 0, 1, 4]


def test_the_first_measurement_is_made_whatever_the_budget() -> None:
    outcome = Bench(loss=0.0, takes_s=10).run(limit_s=1)

    assert outcome.is_kept


def test_time_that_is_up_while_looking_for_fewer_layers_delivers_what_keeps_it() -> None:
    bench = Bench(enough=5)  # five trials of integers; then 1, 4, 16 layers, and 10 that are enough

    outcome = bench.run(limit_s=9)

    assert outcome.is_kept
    assert len(outcome.recipes["a"].keep_float) == 10


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    path = tmp_path / "state.json"
    first, whole = Bench(), Bench()

    def dies(recipe: Recipe, artifacts: Sequence[str]) -> Trial:
        if len(first.asked) == 6:
            raise Killed
        return Bench.measure(first, recipe, artifacts)

    first.measure = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        first.run(memory=Memory.load(path, key="k"))
    second = Bench()
    outcome = second.run(memory=Memory.load(path, key="k"))
    expected = whole.run()

    assert outcome.recipes == expected.recipes
    assert len(first.asked) + len(second.asked) == len(whole.asked)


def test_the_state_of_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    Memory(path, key="one").add(Trial(Recipe(), {"a": Figure(1.0)}), ["a"])

    with pytest.raises(CalibrationError, match="another search"):
        Memory.load(path, key="two")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1, "key": "k"}', "null"])
def test_a_damaged_state_is_refused_by_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)

    with pytest.raises(CalibrationError, match=r"state\.json"):
        Memory.load(path, key="k")


def test_a_trial_survives_the_state_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    trial = Trial(
        Recipe("mse", ("bias",), ("n",)),
        {"a": Figure(0.5, "onnxruntime 1", 2.0, is_simulated=True), "b": Figure(0.1)},
        int8_share=0.5,
        seconds=1.5,
        note="no",
    )
    Memory(path, key="k").add(trial, ["b", "a"])

    assert Memory.load(path, key="k").find(trial.recipe, ["a", "b"]) == trial
