"""The gate lets a right step pass and names what is wrong with any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny_onnx import build, conv_relu

from edgekit.converters.gate import EXACT, HALF, check_step, compare_runs, seeded_feeds
from edgekit.converters.onnx_model import graph_from_bytes
from edgekit.converters.passes import simplify
from edgekit.errors import EngineError, GateError
from edgekit.graph import Array, Graph, Node
from edgekit.tensor import DType, TensorSpec

FEED = {"x": np.zeros(1, np.float32)}


def model() -> Graph:
    return graph_from_bytes(conv_relu().SerializeToString())


def returning(**outputs: Array) -> object:
    return lambda feed: outputs


def test_a_right_step_passes() -> None:
    graph = model()

    check_step("simplify", graph, simplify(graph), opset=18)


def test_a_wrong_weight_is_named_with_step_and_output() -> None:
    graph = model()
    weights = {**graph.initializers, "w": -graph.initializers["w"]}
    wrong = replace(graph, initializers=weights)

    with pytest.raises(GateError, match=r"my step: output 'y' differs.*cosine.*max error"):
        check_step("my step", graph, wrong)


def test_another_opset_than_asked_for_is_named() -> None:
    with pytest.raises(GateError, match=r"opset 18 came out, 17 was asked for"):
        check_step("lower", model(), model(), opset=17)


def test_a_lost_output_is_named() -> None:
    graph = model()
    lost = replace(graph, outputs=(TensorSpec("c", DType.FLOAT32, (1, 4, 8, 8)),))

    with pytest.raises(GateError, match=r"outputs were \['y'\] and are \['c'\]"):
        check_step("cut", graph, lost)


def test_an_invalid_graph_is_named() -> None:
    graph = model()
    broken = replace(graph, nodes=(*graph.nodes[:1], Node("Relu", ("ghost",), ("y",), name="r")))

    with pytest.raises(GateError, match=r"break: .*ghost"):
        check_step("break", graph, broken)


def test_a_difference_on_another_batch_is_found() -> None:
    """A Reshape that bakes batch 1 in passes the first input and fails the second."""
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    free, baked = (
        graph_from_bytes(
            build(
                nodes,
                inputs={"x": ["batch", 2, 3]},
                outputs={"y": None},
                constants={"s": np.array(shape)},
            ).SerializeToString()
        )
        for shape in ([-1, 6], [1, 6])
    )

    with pytest.raises(GateError, match=r"bake: its result does not run"):
        check_step("bake", free, baked)


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (np.array([1.0, np.nan], np.float32), "differs"),
        (np.array([1.0, 2.0, 3.0], np.float32), r"was float32 \(2,\) and is float32 \(3,\)"),
        (np.array([1, 2]), "was float32"),
    ],
    ids=["nan", "shape", "dtype"],
)
def test_a_wrong_output_is_described(got: Array, said: str) -> None:
    reference = np.array([1.0, 2.0], np.float32)

    with pytest.raises(GateError, match=said):
        compare_runs("s", returning(y=reference), returning(y=got), [FEED])  # type: ignore[arg-type]


def test_a_missing_output_is_named() -> None:
    with pytest.raises(GateError, match="output 'y' is missing"):
        compare_runs("s", returning(y=np.zeros(1)), returning(z=np.zeros(1)), [FEED])  # type: ignore[arg-type]


def test_an_engine_that_fails_is_quoted() -> None:
    def fails(feed: Mapping[str, Array]) -> Mapping[str, Array]:
        raise EngineError("boom")

    with pytest.raises(GateError, match="s: its result does not run: boom"):
        compare_runs("s", lambda feed: {}, fails, [FEED])


def test_half_precision_passes_its_own_limit_only() -> None:
    reference = np.linspace(0.1, 1, 100, dtype=np.float32)
    half = reference.astype(np.float16).astype(np.float32)

    compare_runs("s", lambda _: {"y": reference}, lambda _: {"y": half}, [FEED], limit=HALF)
    with pytest.raises(GateError):
        compare_runs("s", lambda _: {"y": reference}, lambda _: {"y": half}, [FEED], limit=EXACT)


def test_equal_infinities_agree() -> None:
    value = np.array([1.0, np.inf], np.float32)

    compare_runs("s", lambda _: {"y": value}, lambda _: {"y": value.copy()}, [FEED])


def test_flipped_classes_are_counted() -> None:
    left, right = np.arange(10), np.arange(10)[::-1].copy()

    with pytest.raises(GateError, match="100 % of output 'y' differ"):
        compare_runs("s", lambda _: {"y": left}, lambda _: {"y": right}, [FEED])


def test_seeded_feeds_are_the_same_each_time_and_differ_from_each_other() -> None:
    specs = (
        TensorSpec("f", DType.FLOAT32, ("batch", 3)),
        TensorSpec("i", DType.INT64, (4,)),
        TensorSpec("u", DType.UINT8, (1, 4, 4, 3)),
    )

    first, second = seeded_feeds(specs)
    again, _ = seeded_feeds(specs)

    np.testing.assert_array_equal(first["f"], again["f"])
    assert first["f"].shape != second["f"].shape
    assert first["i"].max() <= 1
    assert first["u"].max() > 100


def test_integer_inputs_stay_within_small_tables() -> None:
    graph = graph_from_bytes(
        build(
            [helper.make_node("Gather", ["table", "i"], ["y"])],
            inputs={"i": [5]},
            outputs={"y": [5, 2]},
            constants={"table": np.ones((2, 2), np.float32)},
            dtypes={"i": TensorProto.INT64},
        ).SerializeToString()
    )

    check_step("same", graph, graph)
