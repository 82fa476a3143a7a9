"""The ladder that keeps a promise, and how much is measured on it; models are functions here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from search_bench import LAYERS, Bench

from edgekit.calibration.contract import Recipe, Trial
from edgekit.calibration.search import Group, Ladder
from edgekit.calibration.trials import Memory


def _no_layers(recipe: Recipe, *, limit_s: float) -> Sequence[Group]:
    del recipe, limit_s
    return []


def test_the_search_stops_at_the_first_recipe_that_keeps_the_promise() -> None:
    bench = Bench(loss=0.001)

    outcome = bench.run()

    assert outcome.is_kept
    assert bench.recipes == [Recipe()]


def test_methods_come_before_fixes_and_fixes_before_layers() -> None:
    bench = Bench(loss=0.5, helps={"mse": 0.1, "bias": 0.1})

    bench.run()

    asked = [(recipe.method, recipe.fixes, len(recipe.keep_float)) for recipe in bench.recipes]
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

    bench.run(ladder=Ladder(Recipe(fixes=("usual",)), ["mse"], ["bias"], _no_layers))

    asked = [(recipe.method, recipe.fixes) for recipe in bench.recipes]
    assert asked[:3] == [("auto", ("usual",)), ("auto", ()), ("mse", kept)]


def test_the_ends_go_to_float_together_before_the_weights_are_touched() -> None:
    bench = Bench(loss=0.5, enough=99)

    bench.run(ladder=Ladder(Recipe(), ["mse"], ["bias"], _no_layers, ends=("sigmoid", "concat")))

    asked = [(recipe.method, recipe.fixes, recipe.keep_float) for recipe in bench.recipes]
    assert asked == [
        ("auto", (), ()),
        ("mse", (), ()),
        ("auto", (), ("sigmoid", "concat")),
        ("auto", ("bias",), ()),
    ]


def test_a_fix_that_does_not_help_is_not_kept() -> None:
    bench = Bench(loss=0.5, helps={"bias": -0.1})

    outcome = bench.run()

    assert set(outcome.recipes.values()) == {Recipe("auto", (), outcome.recipes["a"].keep_float)}


@pytest.mark.parametrize("enough", [1, 2, 3, 5, 8, 11, 15])
def test_the_fewest_layers_that_are_enough_go_back_in_few_trials(enough: int) -> None:
    bench = Bench(enough=enough)

    outcome = bench.run()

    layers = [recipe for recipe in bench.recipes if recipe.keep_float]
    assert outcome.is_kept
    assert len(outcome.recipes["a"].keep_float) == enough
    assert len(layers) <= 2 * math.log2(len(LAYERS)) + 1


@pytest.mark.parametrize(
    ("noise", "tried"),
    [
        ([1.0] * 16, [4, 8, 6, 5]),  # a tenth of the loss is allowed: all but 1 % of the noise
        ([98.0, 1.0, 1.0] + [0.0] * 13, [2, 4, 8, 6, 5]),
        ([100.0] + [0.0] * 15, [1, 2, 4, 8, 6, 5]),
        ([math.nan] * 16, [1, 2, 4, 8, 6, 5]),
    ],
)
def test_the_number_of_layers_begins_where_their_noise_says(
    noise: list[float], tried: list[int]
) -> None:
    bench = Bench(loss=0.1, enough=5, noise=noise)

    bench.run()

    counts = [len(recipe.keep_float) for recipe in bench.recipes]
    assert [count for count in counts if count] == tried


@pytest.mark.parametrize("enough", [1, 2, 3])
def test_an_estimate_of_too_many_layers_still_ends_at_the_fewest(enough: int) -> None:
    outcome = Bench(loss=0.1, enough=enough, noise=[1.0] * 16).run()

    assert outcome.is_kept
    assert len(outcome.recipes["a"].keep_float) == enough


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
    assert {name for recipe, name in bench.asked if recipe.keep_float} == {"b"}


def test_a_promise_that_only_the_float_model_keeps_is_refused() -> None:
    outcome = Bench(enough=len(LAYERS)).run()

    assert not outcome.is_kept
    assert "every layer in float" in outcome.reason


def test_a_promise_that_nothing_keeps_is_refused_with_its_frontier() -> None:
    outcome = Bench(enough=99, helps={"mse": 0.1}).run()

    assert not outcome.is_kept
    assert [str(trial.recipe) for trial in outcome.frontier] == ["ranges by mse"]


def test_where_even_the_float_model_breaks_the_promise_nothing_more_is_tried() -> None:
    bench = Bench(enough=99)

    outcome = bench.run()

    assert "not even with every layer in float" in outcome.reason
    assert len(bench.recipes[-1].keep_float) == len(LAYERS)


def test_a_trial_that_cannot_be_better_ends_at_its_first_artifact() -> None:
    bench = Bench(loss=0.2, more={"b": 0.3}, enough=99)

    bench.run(ladder=Ladder(Recipe(), ["mse", "entropy"], [], _no_layers))

    assert [(recipe.method, name) for recipe, name in bench.asked] == [
        ("auto", "a"),
        ("auto", "b"),
        ("mse", "b"),
        ("entropy", "b"),
    ]


def test_a_trial_that_is_better_is_measured_on_all() -> None:
    bench = Bench(loss=0.2, more={"b": 0.3}, helps={"mse": 0.1}, enough=99)

    outcome = bench.run(ladder=Ladder(Recipe(), ["mse"], [], _no_layers))

    assert [name for recipe, name in bench.asked if recipe.method == "mse"] == ["b", "a"]
    assert outcome.recipes == {"a": Recipe("mse"), "b": Recipe("mse")}


def test_a_trial_that_is_better_on_the_worst_and_worse_elsewhere_is_not_the_best() -> None:
    class Turned(Bench):
        def lost(self, recipe: Recipe, name: str) -> float:
            return {"auto": {"a": 0.1, "b": 0.3}, "mse": {"a": 0.4, "b": 0.2}}[recipe.method][name]

    bench = Turned()

    outcome = bench.run(ladder=Ladder(Recipe(), ["mse"], [], _no_layers))

    assert set(outcome.recipes.values()) == {Recipe("auto")}


def test_one_artifact_that_breaks_the_promise_is_enough_for_layers() -> None:
    bench = Bench(enough=5)

    outcome = bench.run(artifacts=("a", "b", "c"))

    broken = [trial for trial in outcome.trials if 0 < len(trial.recipe.keep_float) < 5]
    assert [len(trial.figures) for trial in broken] == [1] * len(broken)
    assert all(len(trial.left_out) == 2 for trial in broken)


def test_layers_are_enough_only_where_every_artifact_keeps_the_promise() -> None:
    class Late(Bench):
        def lost(self, recipe: Recipe, name: str) -> float:
            return 0.0 if len(recipe.keep_float) >= {"a": 3, "b": 6}[name] else 0.5

    outcome = Late().run()

    assert outcome.is_kept
    assert {name: len(recipe.keep_float) for name, recipe in outcome.recipes.items()} == {
        "a": 6,
        "b": 6,
    }


def test_of_artifacts_that_lose_alike_the_one_that_takes_least_comes_first() -> None:
    class Slow(Bench):
        def measure(self, recipe: Recipe, artifacts: Sequence[str]) -> Trial:
            self.now += 9.0 if artifacts == ["a"] else 0.0
            return super().measure(recipe, artifacts)

    bench = Slow(enough=99)

    bench.run(ladder=Ladder(Recipe(), ["mse"], [], _no_layers))

    assert [name for recipe, name in bench.asked if recipe.method == "mse"] == ["b"]


def test_a_step_says_what_was_not_measured() -> None:
    told: list[str] = []

    Bench(loss=0.2, more={"b": 0.3}).run(tell=told.append)

    assert told[0].endswith("breaks the promise of 1%")
    assert told[1].endswith("breaks the promise of 1%; not measured: a")


@dataclass(frozen=True)
class Clocked:
    id: str
    limit_s: float
    takes_s: float = 1.0
    slow_s: float = 0.0
    order_s: float = 0.0
    enough: int = 5


CLOCKED = [
    Clocked(f"{limit:g}_{name}", limit, **options)
    for limit in (5.0, 12.0, 20.0, 33.0, 60.0)
    for name, options in {
        "even": {},
        "slow_fixes": {"slow_s": 6.0},
        "slow_order": {"order_s": 9.0},
        "nothing_helps": {"enough": 99, "takes_s": 3.0},
    }.items()
]


@pytest.mark.parametrize("case", CLOCKED, ids=lambda case: case.id)
def test_the_time_is_exceeded_by_one_measurement_at_most(case: Clocked) -> None:
    bench = Bench(
        enough=case.enough,
        takes_s=case.takes_s,
        slow_s={"bias": case.slow_s, "rounding": 2 * case.slow_s},
        order_s=case.order_s,
    )

    bench.run(limit_s=case.limit_s)

    # The first recipe's two artifacts are measured in any case.
    longest = case.takes_s + 2 * case.slow_s
    assert bench.now <= max(case.limit_s + longest, 2 * case.takes_s)


def test_a_search_of_even_measurements_ends_in_time() -> None:
    bench = Bench(enough=99, takes_s=2.0)

    outcome = bench.run(limit_s=11.0)

    assert outcome.is_out_of_time
    assert not outcome.is_kept
    assert 9.0 < bench.now <= 11.0


def test_a_fix_that_may_take_too_long_is_left_out_for_layers() -> None:
    bench = Bench(takes_s=10.0, enough=1)
    ladder = Ladder(Recipe(), [], ["bias"], bench.order)

    # 10 s are gone; what took 10 s may take 20 s with a fix, and 19 s are left.
    outcome = bench.run(ladder=ladder, limit_s=29.0, artifacts=("a",))

    assert outcome.is_kept
    assert bench.recipes == [Recipe(), Recipe(keep_float=("layer0",))]


def test_half_of_the_budget_is_for_layers_in_float() -> None:
    bench = Bench(loss=0.5, enough=1, takes_s=10)

    # The first recipe takes 20 of 55 s, one method 10 s; a second one and fixes are left out.
    outcome = bench.run(limit_s=55)

    assert outcome.is_kept
    assert [len(recipe.keep_float) for recipe in bench.recipes] == [0, 0, 1]


def test_the_time_for_the_order_is_kept_free_beside_half_of_the_budget() -> None:
    bench = Bench(loss=0.5, enough=1, takes_s=10, order_s=20)

    # 20 s of the 35 s beside the order are gone after the first recipe.
    bench.run(limit_s=55)

    assert [len(recipe.keep_float) for recipe in bench.recipes] == [0, 1]


def test_an_order_that_does_not_fit_leaves_its_time_to_what_comes_before() -> None:
    bench = Bench(takes_s=5, order_s=50)

    outcome = bench.run(limit_s=45)

    assert outcome.is_out_of_time
    assert bench.limits == []
    assert bench.recipes[-1] == Recipe("auto", ("rounding",))


def test_the_order_is_told_how_long_it_may_take() -> None:
    timed, free = Bench(takes_s=1), Bench(takes_s=1)

    timed.run(limit_s=66)
    free.run()

    # The integer recipes take 6 s.
    assert timed.limits == [pytest.approx(20.0)]
    assert free.limits == [math.inf]


def test_with_half_of_the_budget_gone_layers_go_back_in_longer_strides() -> None:
    bench = Bench(loss=0.5, enough=4, takes_s=10)

    # Three ranges take 30 of 55 s; two layers are not tried.
    outcome = bench.run(limit_s=55, artifacts=("a",))

    assert outcome.is_kept
    assert [len(recipe.keep_float) for recipe in bench.recipes] == [0, 0, 0, 1, 4]


def test_the_first_recipe_is_measured_whatever_the_budget() -> None:
    outcome = Bench(loss=0.0, takes_s=10).run(limit_s=1)

    assert outcome.is_kept


def test_time_that_is_up_while_looking_for_fewer_layers_delivers_what_keeps_it() -> None:
    bench = Bench(enough=5)  # five trials of integers; then 1, 4, 16 layers, and 10 that are enough

    outcome = bench.run(limit_s=9, artifacts=("a",))

    assert outcome.is_kept
    assert len(outcome.recipes["a"].keep_float) == 10


class _Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3, 6, 9])
def test_a_killed_search_goes_on_where_it_was(tmp_path: Path, after: int) -> None:
    path = tmp_path / "state.json"
    first, second, whole = Bench(), Bench(), Bench()

    def dies(recipe: Recipe, artifacts: Sequence[str]) -> Trial:
        if len(first.asked) == after:
            raise _Killed
        return Bench.measure(first, recipe, artifacts)

    first.measure = dies  # type: ignore[method-assign]
    with pytest.raises(_Killed):
        first.run(memory=Memory.load(path, key="k"))
    outcome = second.run(memory=Memory.load(path, key="k"))
    expected = whole.run()

    assert outcome.recipes == expected.recipes
    assert first.asked + second.asked == whole.asked


def test_a_weaker_promise_measures_what_a_stronger_one_had_no_use_for(tmp_path: Path) -> None:
    class Slowly(Bench):
        def lost(self, recipe: Recipe, name: str) -> float:
            return 0.5 / (1 + len(recipe.keep_float))

    path = tmp_path / "state.json"
    first, second = Slowly(), Slowly()
    first.run(memory=Memory.load(path, key="k"), promise=0.05)
    outcome = second.run(memory=Memory.load(path, key="k"), promise=0.1)

    assert outcome.is_kept
    assert not set(first.asked) & set(second.asked)
    assert all(trial.is_whole for trial in outcome.trials if outcome.scale.is_kept(trial))
