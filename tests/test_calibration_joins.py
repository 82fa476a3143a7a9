"""What Concat makes has the statistics of its own values, without being looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tiny_onnx import build

from edgekit.calibration.collect import collect
from edgekit.calibration.count import Counter
from edgekit.calibration.tally import Tallies
from edgekit.converters.onnx_model import graph_from_bytes
from edgekit.converters.tap import find_taps
from edgekit.graph import Graph
from edgekit.pipeline.tap import GraphTap

Sample = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Growing:
    """Seeded samples, each four times as wide as the one before."""

    expected: int | None = 4

    def items(self) -> Iterator[tuple[str, Sample]]:
        generator = np.random.default_rng(2)
        for number in range(4):
            yield str(number), {"x": generator.standard_normal((2, 3), np.float32) * 4**number}


def concats(second: str = "t") -> Graph:
    """Return x and its square, moved or plain or a constant, then the square once more."""
    model = build(
        [
            onnx.helper.make_node("Mul", ["x", "x"], ["s"]),
            onnx.helper.make_node("Transpose", ["s"], ["f"], perm=[1, 0]),
            onnx.helper.make_node("Transpose", ["f"], ["t"], perm=[1, 0]),
            onnx.helper.make_node("Concat", ["x", second], ["c"], axis=1),
            onnx.helper.make_node("Concat", ["c", "s"], ["y"], axis=1),
        ],
        inputs={"x": [2, 3]},
        outputs={"y": [2, 9]},
        constants={"k": np.ones((2, 3), np.float32)},
    )
    return graph_from_bytes(model.SerializeToString())


@pytest.mark.parametrize("second", ["s", "t"])
def test_what_joins_others_need_not_be_looked_at(second: str) -> None:
    taps = find_taps(concats(second))

    assert taps.measured == ("x", "s", "c", "y")
    assert taps.looked_at == ("x", "s")
    assert taps.joins == {"c": ("x", "s"), "y": ("x", "s", "s")}


def test_what_joins_a_constant_is_looked_at() -> None:
    taps = find_taps(concats("k"))

    assert taps.looked_at == ("x", "s", "c")
    assert taps.joins == {"y": ("c", "s")}


def test_a_pass_says_the_same_of_what_it_does_not_look_at() -> None:
    graph = concats()
    taps = find_taps(graph)

    with GraphTap(graph, taps.measured) as every, GraphTap(graph, taps.looked_at) as some:
        expected = collect(every, Growing(), names=taps.measured)
        collected = collect(some, Growing(), names=taps.measured, joins=taps.joins)

    assert list(collected.statistics) == list(taps.measured)
    assert collected == expected


def test_large_and_small_parts_make_up_the_joined_counts() -> None:
    generator = np.random.default_rng(1)
    names, joins = ["low", "all", "high"], {"all": ["low", "high", "high"]}
    counter, tallies = Counter(names, joins), Tallies(names)
    plain_counter, plain = Counter(names), Tallies(names)

    for scale in (1, 40, 0.3):
        sample: Sample = {
            "low": generator.standard_normal(700, np.float32) - 3,
            "high": np.abs(scale * generator.standard_normal(9000, np.float32)),
        }
        tallies.add(counter.count(sample.items(), tallies, origin=""))
        sample["all"] = np.concatenate([sample[part] for part in joins["all"]])
        plain.add(plain_counter.count(sample.items(), plain, origin=""))

    assert tallies.statistics(counter.joins.parts) == plain.statistics()


def test_a_part_may_have_no_elements() -> None:
    names, joins = ["x", "y", "xy", "xx"], {"xy": ["x", "y"], "xx": ["x", "x"]}
    counter, tallies = Counter(names, joins), Tallies(names)
    sample: Sample = {"x": np.zeros(0, np.float32), "y": np.full(3, 1e-9, np.float32)}

    tallies.add(counter.count(sample.items(), tallies, origin=""))
    statistics = tallies.statistics(counter.joins.parts)

    assert list(statistics) == ["y", "xy"]
    assert statistics["xy"] == statistics["y"]
