"""Steps and recipes are judged by the distance to float on samples of their own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from onnx import helper
from tiny_onnx import normal, tiny

from edgekit.calibration.contract import Recipe
from edgekit.graph import Graph
from edgekit.pipeline.helpful import Decibels, Yard, helpful_steps, nearest
from edgekit.pipeline.progress import ignore

SAMPLES = 8
SPREAD_DB = 0.1  # of a gain over samples; its standard error is about 0.035


def measured(gains: Mapping[str, float]) -> tuple[dict[str, Decibels], Decibels]:
    """Return by step what it gains on each sample, and what the model has without steps."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((len(gains), SAMPLES, 1)) * SPREAD_DB
    noise -= noise.mean(axis=1, keepdims=True)
    found = {name: noise[index] + gain for index, (name, gain) in enumerate(gains.items())}
    return found, rng.uniform(10, 50, (SAMPLES, 1))


@pytest.mark.parametrize(
    ("gain", "is_kept"), [(1.0, True), (0.01, True), (-0.01, True), (-1.0, False)]
)
def test_a_step_is_left_out_where_it_harms_for_certain(gain: float, is_kept: bool) -> None:
    gains, start = measured({"good": 2.0, "step": gain})

    kept = helpful_steps(
        ("good", "step"),
        lambda names: names,  # type: ignore[arg-type, return-value]
        lambda names: start + sum(gains[name] for name in names),  # type: ignore[attr-defined]
        progress=ignore,
    )

    assert kept == (("good", "step") if is_kept else ("good",))


def test_a_step_stays_that_helps_behind_another_alone() -> None:
    _, start = measured({})

    def measure(names: tuple[str, ...]) -> Decibels:
        return start + (3.0 if names == ("first", "second") else 0.0)

    kept = helpful_steps(
        ("first", "second"),
        lambda names: names,  # type: ignore[arg-type, return-value]
        measure,  # type: ignore[arg-type]
        progress=ignore,
    )

    assert kept == ("first", "second")


@pytest.mark.parametrize(("gain", "chosen"), [(1.0, "other"), (0.01, "auto"), (-1.0, "auto")])
def test_the_usual_recipe_is_taken_unless_another_is_nearer_for_certain(
    gain: float, chosen: str
) -> None:
    gains, start = measured({"other": gain, "third": gain / 2})
    zero = np.zeros_like(start)

    found = nearest(
        [Recipe("auto"), Recipe("third"), Recipe("other")],
        lambda recipe: recipe,  # type: ignore[arg-type, return-value]
        lambda recipe: start + gains.get(recipe.method, zero),  # type: ignore[attr-defined]
        progress=ignore,
    )

    assert found == Recipe(chosen)


def one_product(scale: float, offset: float = 0.0) -> Graph:
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["m"]),
        helper.make_node("Add", ["m", "offset"], ["y"]),
        helper.make_node("Mul", ["x", "zero"], ["z"]),
    ]
    constants = {"scale": scale, "offset": offset, "zero": 0.0}
    return tiny(
        nodes,
        inputs={"x": (1, 50)},
        outputs={"y": (1, 50), "z": (1, 50)},
        constants={name: np.float32(value).reshape(1) for name, value in constants.items()},
    )


def test_the_distance_is_signal_to_noise_of_each_output_and_an_output_of_zeros_has_none() -> None:
    samples = [{"x": normal((1, 50), seed=seed)} for seed in range(3)]

    found = Yard(one_product(1.0), samples)(one_product(1.1))

    # An error of a tenth: 20 dB by definition.
    np.testing.assert_allclose(found, [[20.0, 0.0]] * 3, atol=1e-3)


def test_equal_models_are_at_a_finite_distance() -> None:
    samples = [{"x": normal((1, 50))}]

    found = Yard(one_product(1.0), samples)(one_product(1.0))

    np.testing.assert_array_equal(found, [[120.0, 0.0]])


@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
def test_a_second_model_is_measured_like_the_first(
    kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.pipeline.helpful._KEPT_BYTES", kept_bytes)
    yard = Yard(one_product(1.0), [{"x": normal((1, 50), seed=seed)} for seed in range(3)])

    first, second = yard(one_product(1.1)), yard(one_product(1.1))

    np.testing.assert_array_equal(first, second)
