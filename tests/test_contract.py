"""The promise, what a trial says, and the memory of a search."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgekit.calibration.contract import Figure, Promise, Recipe, Scale, Trial, frontier
from edgekit.calibration.trials import Memory
from edgekit.errors import CalibrationError, UsageError


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


def test_a_trial_that_left_artifacts_out_beats_no_other() -> None:
    scale = Scale(Promise(0.01), baseline=1.0)
    trials = [
        Trial(Recipe("a"), {"x": Figure(0.7)}, int8_share=1.0),
        Trial(Recipe("b"), {"x": Figure(0.9)}, int8_share=0.9, left_out=("y",)),
        Trial(Recipe("c"), {"x": Figure(0.85)}, int8_share=0.8, left_out=("y",)),
        Trial(Recipe("d"), {"x": Figure(0.8)}, int8_share=0.5),
    ]

    found = frontier(trials, scale)

    assert [trial.recipe.method for trial in found] == ["a", "b", "d"]


def test_a_promise_is_not_kept_where_an_artifact_was_left_out() -> None:
    scale = Scale(Promise(0.01), baseline=1.0)

    trial = Trial(Recipe(), {"x": Figure(1.0)}, left_out=("y",))

    assert not scale.is_kept(trial)
    assert scale.failing(trial) == ()


def test_times_of_a_part_of_the_artifacts_are_compared_with_none() -> None:
    whole = Trial(Recipe(), {"x": Figure(1.0, latency_ms=2.0), "y": Figure(1.0, latency_ms=4.0)})

    assert whole.latency_ms == 3.0
    assert replace(whole, left_out=("z",)).latency_ms is None


def test_the_worst_target_decides() -> None:
    scale = Scale(Promise(0.01), baseline=1.0)

    trial = Trial(Recipe(), {"x": Figure(0.999), "y": Figure(0.9)})

    assert not scale.is_kept(trial)
    assert scale.failing(trial) == ("y",)


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


def test_a_trial_takes_the_place_of_its_beginning(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "state.json", key="k")
    begun = Trial(Recipe(), {"a": Figure(0.5)}, left_out=("b",))
    whole = Trial(Recipe(), {"a": Figure(0.5), "b": Figure(0.6)})

    memory.add(begun, ["a", "b"])
    memory.add(whole, ["b", "a"])

    assert len(memory) == 1
    assert memory.find(Recipe(), ["a", "b"]) == whole


def test_a_trial_survives_the_state_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    trial = Trial(
        Recipe("mse", ("bias",), ("n",)),
        {"a": Figure(0.5, "onnxruntime 1", 2.0, is_simulated=True), "b": Figure(0.1)},
        int8_share=0.5,
        seconds=1.5,
        note="no",
        left_out=("c",),
    )
    Memory(path, key="k").add(trial, ["b", "c", "a"])

    assert Memory.load(path, key="k").find(trial.recipe, ["a", "b", "c"]) == trial
