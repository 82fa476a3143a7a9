"""Every pass keeps what a model computes, and does what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny_onnx import LIGHT_MODELS, assert_same, feeds_of, op_types, real_model_params, tiny

from edgekit.converters.evaluate import evaluate, run_model
from edgekit.converters.onnx_model import check_graph, read_graph
from edgekit.converters.passes import DEFAULT_PASSES, PASSES, simplify
from edgekit.errors import UsageError

FOLD_RTOL = 2e-5  # Folding rounds each weight once more; up to 100 layers add that up.


@pytest.mark.parametrize("path", LIGHT_MODELS, ids=lambda path: path.stem)
def test_a_light_model_keeps_its_numbers_and_becomes_small(path: Path) -> None:
    graph = read_graph(path)
    simple = simplify(graph)
    feeds = feeds_of(graph)

    check_graph(simple)
    assert not {"ConstantOfShape", "Dropout", "Unsqueeze", "Identity"} & set(op_types(simple))
    for name, expected in run_model(path, feeds).items():
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(evaluate(simple, feeds)[name], expected, atol=FOLD_RTOL * scale)


@pytest.mark.parametrize("path", real_model_params())
@pytest.mark.parametrize("name", [*PASSES, "all"])
def test_a_pass_keeps_the_numbers_inputs_and_outputs_of_a_real_model(path: Path, name: str) -> None:
    if name != "all" and PASSES[name].missing():
        pytest.skip(f"{PASSES[name].missing()} is not installed here")
    graph = read_graph(path)

    simple = simplify(graph, DEFAULT_PASSES if name == "all" else (name,))

    check_graph(simple)
    assert simple.input_names == graph.input_names
    assert simple.output_names == graph.output_names
    assert_same(graph, simple, rtol=FOLD_RTOL)


def test_simplifying_twice_changes_nothing_more() -> None:
    once = simplify(read_graph(LIGHT_MODELS[0]))

    assert simplify(once).nodes == once.nodes


def test_an_unknown_pass_is_named_with_the_closest_one() -> None:
    graph = tiny([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": [2]}, outputs={"y": [2]})

    with pytest.raises(UsageError, match=r"did you mean 'remove_dead'"):
        simplify(graph, ("remove_ded",))


def test_constants_and_known_shapes_are_computed() -> None:
    graph = tiny(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "one"], ["c"]),
            helper.make_node("Mul", ["c", "two"], ["m"]),
            helper.make_node("Concat", ["minus", "m"], ["t"], axis=0),
            helper.make_node("Reshape", ["x", "t"], ["y"]),
        ],
        inputs={"x": [2, 3, 4]},
        outputs={"y": [4, 6]},
        constants={"one": np.array([1]), "two": np.array([2]), "minus": np.array([-1])},
    )  # fmt: skip

    simple = simplify(graph)

    assert op_types(simple) == ["Reshape"]
    np.testing.assert_array_equal(simple.initializers["t"], [-1, 6])


def test_the_known_part_of_a_dynamic_shape_is_computed() -> None:
    graph = tiny(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "one"], ["c"]),
            helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["x", "f"], ["y"]),
        ],
        inputs={"x": ["batch", 3]},
        outputs={"y": ["batch", 3]},
        constants={"one": np.array(1)},
    )

    simple = simplify(graph)

    assert op_types(simple) == ["Div"]
    assert simple.inputs[0].shape == ("batch", 3)
    assert_same(graph, simple)


def test_a_constant_that_would_not_fit_memory_stays_an_operator() -> None:
    graph = tiny(
        [
            helper.make_node("ConstantOfShape", ["huge"], ["c"]),
            helper.make_node("Gather", ["c", "i"], ["y"]),
        ],
        inputs={"i": [1]},
        outputs={"y": [1, 1 << 20]},
        constants={"huge": np.array([1 << 40, 1 << 20])},
        dtypes={"i": TensorProto.INT64},
    )

    assert op_types(simplify(graph)) == ["ConstantOfShape", "Gather"]


def test_quantized_weights_keep_their_dequantize() -> None:
    graph = tiny(
        [
            helper.make_node("DequantizeLinear", ["q", "s"], ["w"]),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ],
        inputs={"x": [1, 4]},
        outputs={"y": [1, 4]},
        constants={"q": np.ones((4, 4), np.int8), "s": np.array(0.5, np.float32)},
    )

    assert op_types(simplify(graph)) == ["DequantizeLinear", "MatMul"]
