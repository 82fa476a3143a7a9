"""A HardSwish in pieces becomes one operator; what only looks like one stays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tiny_onnx import assert_same, op_types, tiny

from edgekit.converters.emitters.tensorrt import emit
from edgekit.converters.onnx_model import read_graph
from edgekit.converters.passes import simplify
from edgekit.converters.passes.expand_hard_swish import expand_hard_swish
from edgekit.graph import Graph
from edgekit.target import pick_target


@dataclass(frozen=True)
class Case:
    id: str
    nodes: tuple[tuple[str, ...], ...]  # operator, inputs..., output
    alpha: float = 1 / 6


GATE = (("Add", "x", "three", "a"), ("Clip", "a", "zero", "six", "g"))
MERGED = (
    Case("divided_last", (*GATE, ("Mul", "x", "g", "m"), ("Div", "m", "six", "y"))),
    Case("divided_first", (*GATE, ("Div", "g", "six", "d"), ("Mul", "x", "d", "y"))),
    Case("gate_first", (*GATE, ("Mul", "g", "x", "m"), ("Mul", "sixth", "m", "y"))),
    Case("scaled_gate", (*GATE, ("Mul", "sixth", "g", "d"), ("Mul", "d", "x", "y"))),
    Case("scaled_input", (*GATE, ("Mul", "x", "sixth", "d"), ("Mul", "d", "g", "y"))),
    Case(
        "three_first",
        (
            ("Add", "three", "x", "a"),
            ("Max", "a", "zero", "b"),
            ("Min", "b", "six", "g"),
            ("Mul", "x", "g", "m"),
            ("Div", "m", "six", "y"),
        ),
    ),
    Case("hard_sigmoid", (("HardSigmoid", "x", "g"), ("Mul", "x", "g", "y"))),
    Case("seven_digits", (("HardSigmoid", "x", "g"), ("Mul", "g", "x", "y")), 0.1666667),
)
KEPT = (
    Case("not_scaled", (*GATE, ("Mul", "x", "g", "y"))),
    Case("other_scale", (*GATE, ("Mul", "x", "g", "m"), ("Div", "m", "three", "y"))),
    Case("under_six", (*GATE, ("Mul", "x", "g", "m"), ("Div", "six", "m", "y"))),
    Case(
        "other_source",
        (*GATE, ("Neg", "x", "n"), ("Mul", "n", "g", "m"), ("Div", "m", "six", "y")),
    ),
    Case("other_slope", (("HardSigmoid", "x", "g"), ("Mul", "x", "g", "y")), 0.2),
    Case("gate_alone", (*GATE, ("Div", "g", "six", "y"))),
    Case(
        "gate_read_twice",
        (*GATE, ("Mul", "x", "g", "m"), ("Div", "m", "six", "h"), ("Add", "h", "g", "y")),
    ),
    Case("higher_rank", (*GATE, ("Mul", "x", "g", "m"), ("Mul", "deep", "m", "y"))),
)
CONSTANTS = {
    "zero": np.array([0], np.float32),
    "three": np.array([3], np.float32),
    "six": np.array(6, np.float32),
    "sixth": np.array(1 / 6, np.float32),
    "deep": np.full((1, 1, 1), 1 / 6, np.float32),
}


def graph_of(case: Case) -> Graph:
    nodes = [
        helper.make_node(
            op, names[:-1], names[-1:], **({"alpha": case.alpha} if op == "HardSigmoid" else {})
        )
        for op, *names in case.nodes
    ]
    used = {name for node in nodes for name in node.input}
    return tiny(
        nodes,
        inputs={"x": [2, 50]},
        outputs={"y": [1, 2, 50] if "deep" in used else [2, 50]},
        constants={name: value for name, value in CONSTANTS.items() if name in used},
    )


@pytest.mark.parametrize("case", MERGED, ids=lambda case: case.id)
def test_a_hard_swish_in_pieces_becomes_one(case: Case) -> None:
    graph = graph_of(case)

    simple = simplify(graph)

    assert op_types(simple) == ["HardSwish"]
    assert_same(graph, simple, rtol=1e-6)


@pytest.mark.parametrize("case", KEPT, ids=lambda case: case.id)
def test_what_only_looks_like_one_stays(case: Case) -> None:
    graph = graph_of(case)

    simple = simplify(graph)

    assert "HardSwish" not in op_types(simple)
    assert_same(graph, simple)


def test_a_gate_that_is_an_output_stays() -> None:
    graph = tiny(
        [
            helper.make_node("HardSigmoid", ["x"], ["g"], alpha=1 / 6),
            helper.make_node("Mul", ["x", "g"], ["y"]),
        ],
        inputs={"x": [2, 3]},
        outputs={"y": [2, 3], "g": [2, 3]},
    )

    assert op_types(simplify(graph)) == ["HardSigmoid", "Mul"]


def test_expanding_is_the_way_back() -> None:
    graph = graph_of(MERGED[-1])

    expanded = expand_hard_swish(simplify(graph))

    assert op_types(expanded) == ["HardSigmoid", "Mul"]
    assert_same(graph, expanded, rtol=1e-6)


def test_tensorrt_gets_operators_that_all_its_parsers_have(tmp_path: Path) -> None:
    emit(simplify(graph_of(MERGED[0])), tmp_path, target=pick_target("tensorrt"))

    assert op_types(read_graph(tmp_path / "model.onnx")) == ["HardSigmoid", "Mul"]
