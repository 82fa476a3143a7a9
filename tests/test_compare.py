"""The ladder names the first rung and the first operator that part from the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from edgekit.bundle import DEFAULT_TOLERANCES
from edgekit.converters.bisect import truncate
from edgekit.converters.compare import Ladder, Step, climb
from edgekit.converters.evaluate import evaluate
from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Array, Graph, Node
from edgekit.tensor import DType, TensorSpec

FEEDS = [{"x": np.random.default_rng(seed).standard_normal((1, 8), np.float32)} for seed in (0, 1)]
EXACT = DEFAULT_TOLERANCES["fp32"]["cpu"]


def spec(name: str) -> TensorSpec:
    return TensorSpec(name, DType.FLOAT32, (1, 8))


def make_graph() -> Graph:
    weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    nodes = (
        Node("MatMul", ("x", "weights"), ("mixed",), name="mix"),
        Node("Tanh", ("mixed",), ("bent",), name="bend"),
        Node("Mul", ("bent", "factor"), ("scaled",), name="scale"),
        Node("Sigmoid", ("x",), ("gate",), name="open"),
        Node("Add", ("scaled", "gate"), ("y",), name="join"),
    )
    names = ["x", *(name for node in nodes for name in node.outputs)]
    return Graph(
        name="small",
        nodes=nodes,
        inputs=(spec("x"),),
        outputs=(spec("y"),),
        initializers={"weights": weights, "factor": np.full((1, 8), 2, np.float32)},
        values={name: spec(name) for name in names},
        opset=18,
    )


def step_of(graph: Graph, name: str = "rung") -> Step:
    def probe(tensor: str, feed: Mapping[str, Array]) -> Array:
        result: Array = evaluate(truncate(graph, [tensor]), feed)[tensor]
        return result

    return Step(name, EXACT, run=lambda feed: evaluate(graph, feed), probe=probe)


def with_factor(graph: Graph, value: float) -> Graph:
    wrong = {**graph.initializers, "factor": np.full((1, 8), value, np.float32)}
    return replace(graph, initializers=wrong)


def climb_with(*steps: Step) -> Ladder:
    graph = make_graph()
    return climb(step_of(graph, "source"), steps, FEEDS, graph=graph)


def test_equal_rungs_agree_with_cosine_one() -> None:
    ladder = climb_with(step_of(make_graph()))

    assert ladder.first_parting is None
    assert ladder.rungs[0].status == "agrees"
    assert ladder.rungs[0].outputs[0].cosine == pytest.approx(1)
    assert ladder.rungs[0].outputs[0].max_abs_error == 0


def test_the_first_rung_that_parts_is_named_with_its_first_wrong_operator() -> None:
    good, wrong = step_of(make_graph(), "good"), step_of(with_factor(make_graph(), 2.5), "wrong")

    parting = climb_with(good, wrong, wrong).first_parting

    assert parting is not None
    assert parting.name == "wrong"
    assert parting.culprit is not None
    assert (parting.culprit.node, parting.culprit.op_type) == ("scale", "Mul")


def test_a_rung_that_cannot_run_here_is_unverified_with_what_it_needs() -> None:
    absent = Step("tensorrt-fp16", EXACT, why_not="needs an NVIDIA GPU")

    ladder = climb_with(absent)

    assert ladder.first_parting is None
    assert (ladder.rungs[0].status, ladder.rungs[0].reason) == ("unverified", "needs an NVIDIA GPU")


def test_a_file_that_differs_from_what_is_emitted_today_is_called_so() -> None:
    stale = replace(step_of(make_graph()), run=step_of(with_factor(make_graph(), 3)).run)

    (rung,) = climb_with(stale).rungs

    assert rung.status == "parts"
    assert rung.culprit is None
    assert "emitted again" in rung.reason


def test_a_file_that_cannot_be_looked_into_still_parts() -> None:
    closed = replace(step_of(with_factor(make_graph(), 3)), probe=None)

    (rung,) = climb_with(closed).rungs

    assert rung.status == "parts"
    assert "cannot be looked into" in rung.reason


def test_a_cut_that_cannot_be_emitted_stops_the_search_not_the_ladder() -> None:
    def refuse(tensor: str, feed: Mapping[str, Array]) -> Array:
        raise UnsupportedOperatorError(node="mix", op_type="MatMul", reason="no", target="tflite")

    (rung,) = climb_with(replace(step_of(with_factor(make_graph(), 3)), probe=refuse)).rungs

    assert rung.status == "parts"
    assert "bisecting stopped: tflite cannot run node 'mix'" in rung.reason
