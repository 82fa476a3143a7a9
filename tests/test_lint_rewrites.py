"""The linter's rewrites: the hazard is gone, and the float result is the same bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs pip install 'edgekit[convert]'")
pytest.importorskip("onnxruntime", reason="needs pip install 'edgekit[convert]'")

from onnx.helper import make_node
from tiny_onnx import DATA, feeds_of, op_types, tiny

from edgekit.calibration.lint import lint
from edgekit.converters.evaluate import evaluate
from edgekit.converters.onnx_model import graph_from_bytes, graph_to_bytes, read_graph
from edgekit.converters.passes import simplify
from edgekit.converters.passes.clamp_constants import clamp_constants
from edgekit.converters.passes.merge_padding import merge_padding
from edgekit.converters.passes.rewrites import REWRITES, rewrite
from edgekit.converters.passes.separate_branches import (
    join_name,
    separate_branches,
)
from edgekit.errors import UsageError
from edgekit.graph import Graph


def assert_identical(before: Graph, after: Graph, feeds: Any = None) -> None:
    feeds = feeds or feeds_of(before)
    wanted, got = evaluate(before, feeds), evaluate(after, feeds)
    assert wanted.keys() == got.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(got[name], value)
    # It is still a model that the checker takes, with shapes that agree.
    graph_from_bytes(graph_to_bytes(after))


def yolo_like(*, shared: bool = False) -> Graph:
    """Two scales of box, objectness and classes; joined, flattened, joined, turned."""
    nodes = []
    for scale in ("a", "b"):
        nodes += [
            make_node("Conv", [scale, "w4"], [f"{scale}_box"], name=f"{scale}_box"),
            make_node("Conv", [scale, "w1"], [f"{scale}_o"], name=f"{scale}_o"),
            make_node("Conv", [scale, "w3"], [f"{scale}_c"], name=f"{scale}_c"),
            make_node("Sigmoid", [f"{scale}_o"], [f"{scale}_obj"], name=f"{scale}_obj"),
            make_node("Sigmoid", [f"{scale}_c"], [f"{scale}_cls"], name=f"{scale}_cls"),
            make_node(
                "Concat", [f"{scale}_box", f"{scale}_obj", f"{scale}_cls"], [f"{scale}_all"],
                name=f"join_{scale}", axis=1,
            ),
            make_node("Reshape", [f"{scale}_all", "flat"], [f"{scale}_flat"], name=f"flat_{scale}"),
        ]  # fmt: skip
    nodes += [
        make_node("Concat", ["a_flat", "b_flat"], ["both"], name="join_scales", axis=2),
        make_node("Transpose", ["both"], ["output"], name="turn", perm=[0, 2, 1]),
    ]
    outputs: dict[str, Any] = {"output": [1, 20, 8]}
    if shared:
        nodes.append(make_node("ReduceMax", ["a_all"], ["peak"], name="peak"))
        outputs["peak"] = None
    rng = np.random.default_rng(0)
    weights = {f"w{n}": rng.standard_normal((n, 3, 1, 1), np.float32) for n in (1, 3, 4)}
    return tiny(
        nodes,
        inputs={"a": [1, 3, 4, 4], "b": [1, 3, 2, 2]},
        outputs=outputs,
        constants={**weights, "flat": np.array([1, 8, -1])},
    )


def test_boxes_and_scores_meet_only_in_the_last_join() -> None:
    graph = yolo_like()

    after = separate_branches(graph, ["join_a", "join_b"])

    assert_identical(graph, after)
    last = after.nodes[-1]
    assert last.name == join_name("output")
    assert [after.values[name].static_shape for name in last.inputs] == [(1, 20, 4), (1, 20, 4)]
    assert {"join_a", "join_b"}.isdisjoint(node.name for node in after.nodes)


def test_branches_become_outputs_that_joined_are_the_old_one() -> None:
    graph = yolo_like()

    after = separate_branches(graph, ["join_a", "join_b"], as_outputs=True)

    feeds = feeds_of(graph)
    whole, parts = evaluate(graph, feeds)["output"], evaluate(after, feeds)
    assert list(parts) == ["output_0", "output_1"]
    assert [spec.static_shape for spec in after.outputs] == [(1, 20, 4), (1, 20, 4)]
    np.testing.assert_array_equal(np.concatenate(list(parts.values()), axis=2), whole)


def test_the_linter_finds_no_mixed_join_among_separate_outputs() -> None:
    graph = yolo_like()
    joins = [name for h in lint(graph, rules=["mixed-concat"]) for name in h.nodes]

    after = separate_branches(graph, joins, as_outputs=True)

    assert joins == ["join_a", "join_b"]
    assert lint(after, rules=["mixed-concat"]) == ()


def test_a_join_that_others_read_too_is_left_as_it_is() -> None:
    graph = yolo_like(shared=True)

    after = separate_branches(graph, ["join_a"])

    assert after is graph


def test_a_join_before_learned_weights_is_left_as_it_is() -> None:
    nodes = [
        make_node("Sigmoid", ["a"], ["s"], name="score"),
        make_node("Concat", ["a", "s"], ["c"], name="join", axis=1),
        make_node("Relu", ["c"], ["y"], name="relu"),
    ]
    graph = tiny(nodes, inputs={"a": [1, 2, 3]}, outputs={"y": None})

    assert separate_branches(graph, ["join"]) is graph


def test_what_is_no_join_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="'turn' is no Concat"):
        separate_branches(yolo_like(), ["turn"])


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real models in {DATA}")
def test_yolox_with_its_head_kept_apart_gives_the_same_numbers() -> None:
    graph = simplify(read_graph(DATA / "model-det-yolox-nano" / "yolox_nano.onnx"))

    after = rewrite(graph, [(hazard.rewrite, hazard.nodes) for hazard in lint(graph)])

    feeds = {"images": np.random.default_rng(0).random((1, 3, 416, 416), np.float32) * 255}
    assert after.nodes[-1].name == join_name("output")
    assert_identical(graph, after, feeds)


def pool(*, value: float, kernel: int = 3, before: str = "", **how: Any) -> Graph:
    nodes = [
        *([make_node(before, ["x"], ["v"], name="before")] if before else []),
        make_node("Pad", ["v" if before else "x", "pads", "value"], ["p"], name="pad"),
        make_node(
            "MaxPool", ["p"], ["y"], name="pool", kernel_shape=[kernel] * 2, strides=[2, 2], **how
        ),
    ]
    constants = {"pads": np.array([0, 0, 1, 0, 0, 0, 1, 2]), "value": np.float32(value)}
    return tiny(nodes, inputs={"x": [1, 2, 8, 9]}, outputs={"y": None}, constants=constants)


@dataclass(frozen=True)
class PadCase:
    id: str
    value: float
    merges: bool
    how: dict[str, Any] = field(default_factory=dict)


PAD_CASES = [
    PadCase("minus_infinity", -np.inf, True),
    PadCase("lowest_float", -3.4e38, True),
    PadCase("zero_after_relu", 0, True, {"before": "Relu"}),
    PadCase("with_pads_of_its_own", -np.inf, False, {"pads": [1, 1, 1, 1]}),
    PadCase("wider_window", -np.inf, True, {"kernel": 5, "pads": [1, 1, 1, 1]}),
    PadCase("dilated", -np.inf, True, {"dilations": [2, 2]}),
    PadCase("zero_beside_negative_values", 0, False),
    PadCase("ceil_mode", -np.inf, False, {"ceil_mode": 1}),
    PadCase("window_of_padding_alone", -np.inf, False, {"kernel": 2}),
]


@pytest.mark.parametrize("case", PAD_CASES, ids=lambda case: case.id)
def test_a_pad_is_merged_into_its_max_pool_only_where_that_is_exact(case: PadCase) -> None:
    graph = pool(value=case.value, **case.how)

    after = merge_padding(graph)

    assert ("Pad" not in op_types(after)) == case.merges
    assert_identical(graph, after)


def test_only_the_named_pads_are_merged() -> None:
    graph = pool(value=-np.inf)

    assert merge_padding(graph, ["another"]) is graph


def masked(*values: float, op: str = "Add", after: str = "Softmax", rank: int = 2) -> Graph:
    mask = np.array(values, np.float32).reshape((1,) * (rank - 1) + (-1,))
    nodes = [
        make_node(op, ["x", "mask"], ["m"], name="masking"),
        make_node(after, ["m"], ["y"], name="after"),
    ]
    shape = [2] * (rank - 1) + [len(values)]
    return tiny(nodes, inputs={"x": shape}, outputs={"y": None}, constants={"mask": mask})


def selected(value: float) -> Graph:
    nodes = [
        make_node("Where", ["keep", "x", "low"], ["m"], name="masking"),
        make_node("Softmax", ["m"], ["y"], name="after"),
    ]
    constants = {"keep": np.array([[True, False, True]]), "low": np.float32(value)}
    return tiny(nodes, inputs={"x": [2, 3]}, outputs={"y": None}, constants=constants)


@dataclass(frozen=True)
class MaskCase:
    id: str
    graph: Graph
    clamps: bool


LOWEST = float(np.finfo(np.float32).min)
MASK_CASES = [
    MaskCase("infinite", masked(0, -np.inf, 0), True),
    MaskCase("lowest", masked(0, LOWEST, 0, rank=3), True),
    MaskCase("selected", selected(LOWEST), True),
    MaskCase("whole_row", masked(LOWEST, LOWEST, LOWEST), False),
    MaskCase("seen_by_another", masked(0, LOWEST, 0, after="Relu"), False),
    MaskCase("multiplied", masked(1, LOWEST, 1, op="Mul"), False),
    MaskCase("moderate", masked(0, -100, 0), False),
]


@pytest.mark.parametrize("case", MASK_CASES, ids=lambda case: case.id)
def test_a_mask_is_clamped_only_where_the_softmax_cannot_tell(case: MaskCase) -> None:
    after = clamp_constants(case.graph)

    assert (after is not case.graph) == case.clamps
    assert_identical(case.graph, after)
    if case.clamps:
        assert lint(after, rules=["huge-constant"]) == ()


@pytest.mark.parametrize("name", REWRITES)
def test_every_rewrite_leaves_a_graph_without_its_hazard_alone(name: str) -> None:
    graph = tiny(
        [make_node("Relu", ["x"], ["y"], name="relu")], inputs={"x": [1, 2]}, outputs={"y": None}
    )

    assert REWRITES[name].load()(graph, []) is graph
