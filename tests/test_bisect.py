"""Bisecting finds the one faulty operator, wherever it is, in few probes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.converters.bisect import first_parting, truncate
from edgekit.errors import ModelError
from edgekit.graph import Graph, Node
from edgekit.tensor import DType, TensorSpec


def spec(name: str) -> TensorSpec:
    return TensorSpec(name, DType.FLOAT32, (1, 4))


def make_graph(nodes: tuple[Node, ...], *, outputs: tuple[str, ...]) -> Graph:
    names = [name for node in nodes for name in node.outputs]
    return Graph(
        name="test",
        nodes=nodes,
        inputs=(spec("x"),),
        outputs=tuple(map(spec, outputs)),
        initializers={"bias": np.ones((1, 4), np.float32)},
        values={name: spec(name) for name in ("x", *names)},
        opset=18,
    )


def chain(length: int) -> Graph:
    names = ["x", *(f"t{i}" for i in range(length))]
    nodes = tuple(
        Node("Relu", (names[i],), (names[i + 1],), name=f"node{i}") for i in range(length)
    )
    return make_graph(nodes, outputs=(names[-1],))


def diamond() -> Graph:
    return make_graph(
        (
            Node("Relu", ("x",), ("stem",), name="stem"),
            Node("Add", ("stem", "bias"), ("left",), name="left"),
            Node("Tanh", ("left",), ("left2",), name="left2"),
            Node("Sigmoid", ("stem",), ("right",), name="right"),
            Node("Tanh", ("right",), ("right2",), name="right2"),
            Node("Add", ("left2", "right2"), ("sum",), name="sum"),
        ),
        outputs=("sum",),
    )


def probe_all(graph: Graph, faulty: str) -> tuple[Node | None, int]:
    """Return what bisecting finds, where all that depends on the faulty node differs."""
    bad = {faulty}
    for node in graph.nodes:
        if bad & {node.name, *node.inputs}:
            bad |= {*node.outputs}
    asked: list[str] = []

    def parts(name: str) -> bool:
        asked.append(name)
        return name in bad

    found = first_parting(graph, graph.output_names[0], parts=parts, probed=graph.producers())
    return found, len(asked)


@pytest.mark.parametrize("faulty", [0, 1, 49, 98, 99])
def test_the_faulty_node_of_a_chain_is_found_in_log2_probes(faulty: int) -> None:
    found, probes = probe_all(chain(100), f"node{faulty}")

    assert found is not None
    assert found.name == f"node{faulty}"
    assert probes <= math.ceil(math.log2(100)) + 1


@pytest.mark.parametrize("faulty", [node.name for node in diamond().nodes])
def test_the_faulty_node_is_found_on_any_branch(faulty: str) -> None:
    found, _ = probe_all(diamond(), faulty)

    assert found is not None
    assert found.name == faulty


def test_tensors_that_cannot_be_probed_blame_the_next_one_that_can() -> None:
    bad = {"t2", "t3", "t4"}

    found = first_parting(chain(5), "t4", parts=lambda name: name in bad, probed=("t0", "t1", "t3"))

    assert found is not None
    assert found.name == "node3"


def test_an_output_that_no_node_makes_has_no_culprit() -> None:
    assert first_parting(chain(2), "x", parts=lambda name: True, probed=()) is None


def test_truncating_keeps_only_what_the_tensor_needs() -> None:
    part = truncate(diamond(), ["right2"])

    assert [node.name for node in part.nodes] == ["stem", "right", "right2"]
    assert part.output_names == ("right2",)
    assert part.input_names == ("x",)
    assert dict(part.initializers) == {}


def test_truncating_at_an_unknown_tensor_is_refused() -> None:
    with pytest.raises(ModelError, match="'nowhere'"):
        truncate(diamond(), ["nowhere"])
