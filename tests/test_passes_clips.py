"""Max and Min by numbers become one Clip, or Relu, and nothing else changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from onnx import helper
from tiny_onnx import assert_same, op_types, tiny

from edgekit.converters.passes import simplify
from edgekit.converters.passes.merge_clips import merge_clips


@dataclass(frozen=True)
class Case:
    id: str
    nodes: tuple[tuple[str, ...], ...]  # operator, inputs..., output
    expected: tuple[str, ...]


CASES = (
    Case("relu6", (("Max", "x", "zero", "a"), ("Min", "a", "six", "y")), ("Clip",)),
    Case("number_first", (("Max", "zero", "x", "a"), ("Min", "six", "a", "y")), ("Clip",)),
    Case("relu", (("Max", "x", "zero", "y"),), ("Relu",)),
    Case("upper_only", (("Min", "x", "six", "y"),), ("Clip",)),
    Case("relu_then_min", (("Relu", "x", "a"), ("Min", "a", "six", "y")), ("Clip",)),
    Case(
        "two_clips", (("Clip", "x", "zero", "six", "a"), ("Clip", "a", "one", "", "y")), ("Clip",)
    ),
    Case("apart", (("Min", "x", "zero", "a"), ("Max", "a", "six", "y")), ("Clip", "Clip")),
    Case("two_tensors", (("Max", "x", "x", "y"),), ("Max",)),
    Case("vector", (("Max", "x", "vector", "y"),), ("Max",)),
    Case("higher_rank", (("Max", "x", "deep", "y"),), ("Max",)),
)
CONSTANTS = {
    "zero": np.array([0], np.float32),
    "one": np.array(1, np.float32),
    "six": np.array(6, np.float32),
    "vector": np.array([0, 1, 2], np.float32),
    "deep": np.zeros((1, 1, 1), np.float32),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_limits_by_numbers_are_merged(case: Case) -> None:
    nodes = [helper.make_node(op, list(names[:-1]), [names[-1]]) for op, *names in case.nodes]
    used = {name for node in nodes for name in node.input}
    graph = tiny(
        nodes,
        inputs={"x": [2, 3]},
        outputs={"y": [1, 2, 3] if "deep" in used else [2, 3]},
        constants={name: CONSTANTS[name] for name in CONSTANTS if name in used},
    )

    merged = merge_clips(graph)

    assert tuple(op_types(merged)) == case.expected
    assert_same(graph, merged)


def test_a_limit_that_is_read_twice_stays() -> None:
    graph = tiny(
        [
            helper.make_node("Max", ["x", "zero"], ["a"]),
            helper.make_node("Min", ["a", "six"], ["y"]),
            helper.make_node("Neg", ["a"], ["z"]),
        ],
        inputs={"x": [2, 3]},
        outputs={"y": [2, 3], "z": [2, 3]},
        constants={"zero": CONSTANTS["zero"], "six": CONSTANTS["six"]},
    )

    simple = simplify(graph)

    assert sorted(op_types(simple)) == ["Clip", "Neg", "Relu"]
    assert_same(graph, simple)
