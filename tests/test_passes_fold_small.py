"""Shape arithmetic is folded without an engine, and as the engine would."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from onnx import helper
from tiny_onnx import assert_same, op_types, tiny

from edgekit.converters.passes.fold_constants import fold_constants
from edgekit.converters.passes.fold_small import MAX_ELEMENTS, fold_small

CONSTANTS = {
    "two": np.array([2, 3], np.int64),
    "four": np.array([4, 1], np.int64),
    "index": np.array([-1, 0], np.int64),
    "row": np.arange(3, dtype=np.float32).reshape(1, 3),
    "axes": np.array([0], np.int64),
}


@dataclass(frozen=True)
class Case:
    id: str
    op: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    attributes: tuple[tuple[str, int], ...] = ()


CASES = (
    Case("concat", "Concat", ("two", "four"), (4,), (("axis", 0),)),
    Case("expand", "Expand", ("row", "four"), (4, 3)),
    Case("gather_negative", "Gather", ("two", "index"), (2,)),
    Case("unsqueeze", "Unsqueeze", ("row", "axes"), (1, 1, 3)),
    Case("squeeze", "Squeeze", ("row", "axes"), (3,)),
    Case("identity", "Identity", ("row",), (1, 3)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_small_operator_is_computed_as_onnx_runtime_does(case: Case) -> None:
    nodes = [
        helper.make_node(case.op, list(case.inputs), ["c"], **dict(case.attributes)),
        helper.make_node("Cast", ["c"], ["f"], to=1),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ]
    graph = tiny(
        nodes,
        inputs={"x": list(case.shape)},
        outputs={"y": list(case.shape)},
        constants={name: CONSTANTS[name] for name in case.inputs},
    )

    values = fold_small(graph, graph.nodes[:1])

    assert values is not None
    assert values["c"].shape == case.shape
    folded = fold_constants(graph)
    assert op_types(folded) == ["Add"]
    assert_same(graph, folded)


def test_what_is_large_or_computes_is_left_to_the_engine() -> None:
    wide = np.zeros((MAX_ELEMENTS + 1, 1), np.float32)
    graph = tiny(
        [
            helper.make_node("Identity", ["wide"], ["a"]),
            helper.make_node("Neg", ["row"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["c"]),
            helper.make_node("Add", ["x", "c"], ["y"]),
        ],
        inputs={"x": [1, 3]},
        outputs={"y": [MAX_ELEMENTS + 1, 3]},
        constants={"wide": wide, "row": CONSTANTS["row"]},
    )

    assert fold_small(graph, graph.nodes[:1]) is None
    assert fold_small(graph, graph.nodes[1:2]) is None
