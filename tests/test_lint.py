"""The hazard linter: each rule finds its hazard, names it with figures, and is quiet without."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs pip install 'edgekit[convert]'")

import onnx
from networks import NETWORKS
from onnx.helper import make_node
from tiny_onnx import DATA, tiny

from edgekit.calibration.lint import RULES, SEVERITIES, Hazard, float_nodes, lint
from edgekit.cli.main import main
from edgekit.converters.onnx_model import graph_from_bytes, graph_to_bytes, read_graph
from edgekit.converters.passes import simplify
from edgekit.converters.passes.rewrites import REWRITES
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.ranges import Histogram, Statistics


def seen(low: float, high: float) -> Statistics:
    return Statistics(100, low, high, low, high, Histogram(low, high, (1, 1)))


def one(
    op: str, *, outputs: int = 1, constants: Any = None, inputs: Any = None, **how: Any
) -> Graph:
    names = [f"y{index}" for index in range(outputs)]
    taken = ["x", *(constants or {})]
    return tiny(
        [make_node(op, taken, names, name="it", **how)],
        inputs=inputs or {"x": [1, 4, 8, 8]},
        outputs=dict.fromkeys(names),
        constants=constants or {},
    )


def detector(*, bounded: bool = True) -> Graph:
    nodes = [
        make_node("Relu", ["box"], ["b"], name="box_end"),
        make_node("Sigmoid" if bounded else "Relu", ["score"], ["s"], name="score_end"),
        make_node("Concat", ["b", "s"], ["c"], name="join", axis=1),
        make_node("Transpose", ["c"], ["y"], name="turn", perm=[0, 2, 1]),
    ]
    return tiny(nodes, inputs={"box": [1, 4, 9], "score": [1, 3, 9]}, outputs={"y": [1, 9, 7]})


def dfl() -> Graph:
    nodes = [
        make_node("Softmax", ["x"], ["p"], name="softmax", axis=1),
        make_node("Conv", ["p", "bins"], ["y"], name="sum"),
    ]
    bins = np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1)
    return tiny(nodes, inputs={"x": [1, 16, 4, 9]}, outputs={"y": None}, constants={"bins": bins})


def written_softmax(*, subtracts: bool) -> Graph:
    before = [
        make_node("ReduceMax", ["x"], ["m"], name="max"),
        make_node("Sub", ["x", "m"], ["d"], name="shift"),
    ]
    nodes = [
        *(before if subtracts else []),
        make_node("Exp", ["d" if subtracts else "x"], ["e"], name="exp"),
        make_node("ReduceSum", ["e"], ["t"], name="sum"),
        make_node("Div", ["e", "t"], ["y"], name="div"),
    ]
    return tiny(nodes, inputs={"x": [1, 5]}, outputs={"y": None})


def hard_swish() -> Graph:
    nodes = [
        make_node("Add", ["x", "three"], ["a"], name="shift"),
        make_node("Clip", ["a", "zero", "six"], ["c"], name="clip"),
        make_node("Div", ["c", "six"], ["g"], name="gate"),
        make_node("Mul", ["x", "g"], ["y"], name="swish"),
    ]
    constants = {
        "three": np.float32(3), "zero": np.float32(0), "six": np.float32(6),
    }  # fmt: skip
    return tiny(nodes, inputs={"x": [1, 5]}, outputs={"y": None}, constants=constants)


def silu() -> Graph:
    nodes = [
        make_node("Sigmoid", ["x"], ["g"], name="gate"),
        make_node("Mul", ["x", "g"], ["y"], name="swish"),
    ]
    return tiny(nodes, inputs={"x": [1, 5]}, outputs={"y": None})


def padded(value: float) -> Graph:
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    return one("Pad", constants={"pads": pads, "value": np.float32(value)})


def masked(value: float, *, by: str = "Add") -> Graph:
    mask = np.zeros((1, 5), np.float32)
    mask[0, 3] = value
    nodes = [
        make_node(by, ["x", "mask"], ["m"], name="masking"),
        make_node("Softmax", ["m"], ["y"], name="softmax"),
    ]
    return tiny(nodes, inputs={"x": [2, 5]}, outputs={"y": None}, constants={"mask": mask})


def depthwise(*ratios: float) -> Graph:
    weight = np.ones((len(ratios), 1, 3, 3), np.float32)
    weight *= np.array(ratios, np.float32).reshape(-1, 1, 1, 1)
    return one(
        "Conv", constants={"w": weight}, group=len(ratios),
        inputs={"x": [1, len(ratios), 8, 8]},
    )  # fmt: skip


def layer_norm() -> Graph:
    return one("LayerNormalization", constants={"scale": np.ones(8, np.float32)})


@dataclass(frozen=True)
class Case:
    """A graph and what a rule says of it; ``severity`` None is nothing."""

    id: str
    rule: str
    build: Callable[[], Graph]
    severity: str | None
    says: str = ""
    statistics: dict[str, Statistics] = field(default_factory=dict)


CASES = [
    Case("boxes_and_scores", "mixed-concat", detector, "high", "'s' holds scores in 0 .. 1"),
    Case("boxes_and_scores_seen", "mixed-concat", detector, "high",
         r"'b' spans 0 .. 416 and 's' 0 .. 1, 416 times less.*1 of 256",
         {"b": seen(0, 416), "s": seen(0, 1)}),
    Case("seen_alike", "mixed-concat", detector, None, "", {"b": seen(0, 2), "s": seen(0, 1)}),
    Case("unknown", "mixed-concat", lambda: detector(bounded=False), None),
    Case("seen_apart", "mixed-concat", lambda: detector(bounded=False), "high",
         "20 times less", {"b": seen(-20, 5), "s": seen(0, 1)}),
    Case("dfl", "dfl", dfl, "high", "mean of 16 bins"),
    Case("softmax_alone", "dfl", lambda: one("Softmax"), None),
    Case("exp_end", "exponential", lambda: one("Exp"), "high", "Exp makes a few values"),
    Case("exp_end_seen", "exponential", lambda: one("Exp"), "high",
         "spans 0.1 .. 90", {"y0": seen(0.1, 90)}),
    Case("exp_of_softmax", "exponential", lambda: written_softmax(subtracts=True), None),
    Case("square", "exponential",
         lambda: one("Pow", constants={"two": np.float32(2)}), None),
    Case("sigmoid_end", "score-end", detector, "medium", r"ends in Sigmoid \(1\)"),
    Case("softmax_end", "score-end", lambda: one("Softmax"), "low", "ends in Softmax"),
    Case("relu_end", "score-end", lambda: one("Relu"), None),
    Case("silu", "swish", silu, "low", "1 SiLU"),
    Case("silu_seen", "swish", silu, "medium", "1 of 1 it gets less than 8", {"y": seen(-0.3, 30)}),
    Case("hard_swish", "swish", hard_swish, "low", "1 HardSwish"),
    Case("gate_of_another", "swish", detector, None),
    Case("infinite_pad", "large-padding", lambda: padded(-np.inf), "high", "with -inf"),
    Case("pad_seen", "large-padding", lambda: padded(9), "high",
         "values of -1 .. 1 with 9", {"x": seen(-1, 1)}),
    Case("pad_inside", "large-padding", lambda: padded(1), None, "", {"x": seen(-1, 1)}),
    Case("zero_pad", "large-padding", lambda: padded(0), None),
    Case("lowest_mask", "huge-constant", lambda: masked(-3.4e38), "high", r"-3\.4e\+38 \(1 of 5\)"),
    Case("mask", "huge-constant", lambda: masked(-1e4), None),
    Case("clip_to_infinity", "huge-constant",
         lambda: one("Clip", constants={"low": np.float32(0), "high": np.float32(np.inf)}), None),
    Case("depthwise", "depthwise-range", lambda: depthwise(100, 50, 1), "medium",
         "100 times the smallest .weights 100 times.; 1 channels"),
    Case("depthwise_mostly", "depthwise-range", lambda: depthwise(100, 1, 1), "high", "2 channels"),
    Case("depthwise_alike", "depthwise-range", lambda: depthwise(4, 2, 1), None),
    Case("dead_channel", "depthwise-range", lambda: depthwise(2, 1, 0), None),
    Case("over_half", "fp16-overflow", lambda: one("Relu"), "high", "65504", {"y0": seen(0, 7e4)}),
    Case("under_half", "fp16-overflow", lambda: one("Relu"), None, "", {"y0": seen(0, 6e4)}),
    Case("norm", "norm-fp16", layer_norm, "low", "not known yet"),
    Case("norm_seen", "norm-fp16", layer_norm, "high", "reach 300", {"x": seen(-300, 2)}),
    Case("norm_small", "norm-fp16", layer_norm, None, "", {"x": seen(-9, 9)}),
    Case("exp_sum", "softmax-fp16", lambda: written_softmax(subtracts=False), "low", "not known"),
    Case("exp_sum_seen", "softmax-fp16", lambda: written_softmax(subtracts=False), "high",
         "of up to 20", {"x": seen(0, 20)}),
    Case("exp_sum_shifted", "softmax-fp16", lambda: written_softmax(subtracts=True), None),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.id}")
def test_rule_says_what_it_must_and_nothing_else(case: Case) -> None:
    hazards = lint(case.build(), case.statistics, rules=[case.rule])

    assert [hazard.severity for hazard in hazards] == ([case.severity] if case.severity else [])
    for hazard in hazards:
        assert_complete(hazard)
        assert_says(hazard, case.says)


def assert_complete(hazard: Hazard) -> None:
    assert hazard.severity in SEVERITIES
    assert hazard.nodes
    assert hazard.tensors
    assert hazard.fix
    assert hazard.rewrite in ("", "equalize", *REWRITES)


def assert_says(hazard: Hazard, words: str) -> None:
    import re

    assert re.search(words, hazard.reason, re.S), hazard.reason


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_model_with_its_hazard_and_one_without(rule: str) -> None:
    found = {case.severity is not None for case in CASES if case.rule == rule}

    assert found == {True, False}


def test_the_worst_comes_first() -> None:
    ranks = [SEVERITIES.index(hazard.severity) for hazard in lint(detector())]

    assert len(ranks) > 1
    assert ranks == sorted(ranks)


def test_a_mistyped_rule_gets_the_closest() -> None:
    with pytest.raises(UsageError, match="did you mean 'swish'"):
        lint(silu(), rules=["swsh"])


def test_the_head_that_stays_in_float_reaches_from_the_hazard_to_the_output() -> None:
    assert float_nodes(lint(detector())) == {"score_end", "join", "turn"}


def test_the_convolution_of_a_dfl_stays_in_float_with_it() -> None:
    assert float_nodes(lint(dfl(), rules=["dfl"])) == {"softmax", "sum"}


def test_half_precision_rules_keep_nothing_from_integers() -> None:
    hazards = lint(layer_norm(), {"x": seen(-300, 2)})

    assert float_nodes(hazards) == frozenset()
    assert float_nodes(hazards, rules=["norm-fp16"]) == {"it"}


@pytest.mark.parametrize("name", [name for name, case in NETWORKS.items() if case.size == "small"])
def test_every_network_is_linted_without_complaint(name: str) -> None:
    graph = graph_from_bytes(NETWORKS[name].build().SerializeToString())

    for hazard in lint(graph):
        assert_complete(hazard)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real models in {DATA}")
def test_yolox_is_told_to_keep_its_head_apart_and_to_equalize() -> None:
    graph = simplify(read_graph(DATA / "model-det-yolox-nano" / "yolox_nano.onnx"))

    hazards = lint(graph)

    found = {hazard.rule for hazard in hazards}
    assert found == {"mixed-concat", "score-end", "swish", "depthwise-range"}
    head = float_nodes(hazards)
    kinds = sorted(node.op_type for node in graph.nodes if node.name in head)
    assert kinds == ["Concat"] * 4 + ["Reshape"] * 3 + ["Sigmoid"] * 6 + ["Transpose"]


def test_the_command_prints_the_hazards_and_fails_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "detector.onnx"
    path.write_bytes(graph_to_bytes(detector()))

    quiet, strict = main(["lint", str(path)]), main(["lint", str(path), "--fail-on", "high"])

    text = capsys.readouterr().out
    assert (quiet, strict) == (0, 1)
    assert "high    mixed-concat: join" in text
    assert "2 hazards; 3 of 4 operators would better stay in float" in text


def test_the_command_answers_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "detector.onnx"
    path.write_bytes(graph_to_bytes(detector()))

    main(["lint", str(path), "--json", "--rule", "score-end"])

    answer = json.loads(capsys.readouterr().out)
    (hazard,) = answer["hazards"]
    assert (hazard["rule"], hazard["nodes"]) == ("score-end", ["score_end"])
    assert onnx.load(path).graph.node[0].name == "box_end"
