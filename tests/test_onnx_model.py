"""ONNX files to graphs and back: the same model, or an error that says what is wrong."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from tiny_onnx import LIGHT_MODELS, build, conv_relu, normal, real_model_params

from edgekit.converters.evaluate import evaluate, run_model
from edgekit.converters.onnx_model import (
    graph_from_bytes,
    graph_to_bytes,
    infer_shapes,
    read_graph,
    write_graph,
)
from edgekit.errors import ModelFormatError
from edgekit.graph import Graph

DYNAMIC_SIZE = 64


def feeds_of(graph: Graph, *, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feeds = {}
    for spec in graph.inputs:
        assert spec.shape is not None
        shape = [
            dim if isinstance(dim, int) else (1 if axis == 0 else DYNAMIC_SIZE)
            for axis, dim in enumerate(spec.shape)
        ]
        feeds[spec.name] = rng.standard_normal(shape).astype(spec.dtype.value)
    return feeds


@pytest.mark.parametrize("path", LIGHT_MODELS, ids=lambda path: path.stem)
def test_a_light_model_gives_the_same_numbers_after_reading_and_raising(path: Path) -> None:
    graph = read_graph(path)
    feeds = feeds_of(graph)

    values = run_model(graph_to_bytes(graph), feeds)

    assert graph.opset == 18
    for name, expected in run_model(path, feeds).items():
        np.testing.assert_array_equal(values[name], expected)


@pytest.mark.parametrize("path", real_model_params())
def test_a_real_model_gives_the_same_numbers_after_reading_and_raising(path: Path) -> None:
    graph = read_graph(path)
    feeds = feeds_of(graph)

    values = run_model(graph_to_bytes(graph), feeds)

    for name, expected in run_model(path, feeds).items():
        np.testing.assert_array_equal(values[name], expected)


def test_softmax_below_opset_13_keeps_its_flattened_meaning() -> None:
    model = build(
        [helper.make_node("Softmax", ["x"], ["y"], axis=1)],
        inputs={"x": [2, 3, 4]},
        outputs={"y": [2, 3, 4]},
        opset=9,
    )
    x = normal((2, 3, 4))

    value = evaluate(graph_from_bytes(model.SerializeToString()), {"x": x})["y"]

    flat = np.exp(x.reshape(2, 12))  # Softmax-1: all axes from `axis` on are one.
    expected = (flat / flat.sum(axis=1, keepdims=True)).reshape(2, 3, 4)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("opset", [18, 19, 20])
def test_opsets_from_18_to_20_are_kept(opset: int) -> None:
    graph = graph_from_bytes(conv_relu(opset=opset).SerializeToString())

    assert graph.opset == opset


def test_a_newer_opset_is_kept_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        graph = graph_from_bytes(conv_relu(opset=22).SerializeToString())

    assert graph.opset == 22
    assert "opset 22" in caplog.text


def test_an_opset_below_7_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelFormatError, match=r"opset 6; opset 7 or later.*export"):
        graph_from_bytes(conv_relu(opset=6).SerializeToString())


def test_an_opset_that_onnx_does_not_know_yet_is_refused() -> None:
    with pytest.raises(ModelFormatError, match=r"opset 999.*knows up to"):
        graph_from_bytes(conv_relu(opset=999).SerializeToString())


def test_constant_nodes_become_initializers() -> None:
    model = build(
        [
            helper.make_node("Constant", [], ["k"], value_floats=[1.0, 2.0]),
            helper.make_node("Add", ["x", "k"], ["y"]),
        ],
        inputs={"x": [2]},
        outputs={"y": [2]},
    )

    graph = graph_from_bytes(model.SerializeToString())

    assert [node.op_type for node in graph.nodes] == ["Add"]
    np.testing.assert_array_equal(graph.initializers["k"], np.array([1, 2], dtype=np.float32))


def test_nameless_and_equally_named_nodes_get_names_of_their_own() -> None:
    model = build(
        [
            helper.make_node("Relu", ["x"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"], name="twin"),
            helper.make_node("Relu", ["b"], ["y"], name="twin"),
        ],
        inputs={"x": [2]},
        outputs={"y": [2]},
    )

    graph = graph_from_bytes(model.SerializeToString())

    assert [node.name for node in graph.nodes] == ["Relu_0", "twin", "twin_2"]


def test_an_initializer_that_is_also_an_input_is_only_an_initializer() -> None:
    model = build(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        inputs={"x": [2], "w": [2]},
        outputs={"y": [2]},
        constants={"w": np.ones(2, dtype=np.float32)},
        opset=8,
        ir_version=3,
    )

    graph = graph_from_bytes(model.SerializeToString())

    assert graph.input_names == ("x",)


def test_nested_graphs_survive_the_round_trip() -> None:
    def branch(name: str, op_type: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])
        node = helper.make_node(op_type, ["x"], [name], name=f"{name}_node")
        return helper.make_graph([node], name, [], [out])

    model = build(
        [
            helper.make_node(
                "If",
                ["c"],
                ["y"],
                name="choice",
                then_branch=branch("then", "Relu"),
                else_branch=branch("else", "Neg"),
            )
        ],
        inputs={"x": [2], "c": []},
        outputs={"y": [2]},
        dtypes={"c": TensorProto.BOOL},
    )
    graph = graph_from_bytes(model.SerializeToString())
    again = graph_from_bytes(graph_to_bytes(graph))
    x = np.array([1, -2], dtype=np.float32)

    value = evaluate(again, {"x": x, "c": np.array(False)})["y"]

    assert isinstance(again.nodes[0].attributes["then_branch"], Graph)
    np.testing.assert_array_equal(value, -x)


def test_local_functions_are_inlined() -> None:
    body = helper.make_function(
        "own", "Twice", ["a"], ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 18)],
    )  # fmt: skip
    model = build(
        [helper.make_node("Twice", ["x"], ["y"], domain="own")],
        inputs={"x": [2]},
        outputs={"y": [2]},
    )
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("own", 1))

    graph = graph_from_bytes(model.SerializeToString())

    assert [node.op_type for node in graph.nodes] == ["Add"]


def test_attributes_of_every_kind_survive_the_round_trip() -> None:
    model = build(
        [
            helper.make_node("LeakyRelu", ["x"], ["a"], alpha=1.0),
            helper.make_node("Transpose", ["a"], ["b"], perm=[1, 0]),
            helper.make_node("DepthToSpace", ["z"], ["c"], blocksize=2, mode="CRD"),
        ],
        inputs={"x": [2, 3], "z": [1, 4, 2, 2]},
        outputs={"b": [3, 2], "c": [1, 1, 4, 4]},
    )

    graph = graph_from_bytes(model.SerializeToString())
    again = graph_from_bytes(graph_to_bytes(graph))

    assert [dict(node.attributes) for node in again.nodes] == [
        {"alpha": 1.0},
        {"perm": (1, 0)},
        {"blocksize": 2, "mode": "CRD"},
    ]


def test_a_size_written_as_minus_one_or_as_a_question_mark_is_dynamic_and_its_own() -> None:
    model = build(
        [helper.make_node("Relu", ["x"], ["y"])],
        inputs={"x": [-1, 3, "?", "?"]},
        outputs={"y": None},
    )

    graph = graph_from_bytes(model.SerializeToString())

    assert graph.inputs[0].shape == ("x_dim0", 3, "x_dim2", "x_dim3")


def test_large_weights_are_views_of_the_file(tmp_path: Path) -> None:
    weight = normal((64, 64))
    model = build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        inputs={"x": [1, 64]},
        outputs={"y": [1, 64]},
        constants={"w": weight},
    )
    path = tmp_path / "m.onnx"
    onnx.save(model, path)

    value = read_graph(path).initializers["w"]

    assert not value.flags.owndata
    assert not value.flags.writeable
    np.testing.assert_array_equal(value, weight)


def test_stale_types_of_intermediate_tensors_are_inferred_again() -> None:
    model = conv_relu()
    model.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [7, 7]))

    graph = graph_from_bytes(model.SerializeToString())

    assert graph.values["c"].shape == (1, 4, 8, 8)


def test_inference_follows_changed_inputs() -> None:
    graph = graph_from_bytes(conv_relu().SerializeToString())
    wider = replace(graph, inputs=(graph.inputs[0].with_shape((1, 3, 8, "width")),))

    inferred = infer_shapes(wider)

    assert inferred.values["c"].shape is not None
    assert inferred.values["c"].shape[:3] == (1, 4, 8)
    assert isinstance(inferred.values["c"].shape[3], str)


def test_a_written_file_is_checker_clean_and_loads_in_the_engine(tmp_path: Path) -> None:
    graph = graph_from_bytes(conv_relu().SerializeToString())
    path = tmp_path / "m.onnx"

    write_graph(graph, path)

    onnx.checker.check_model(str(path), full_check=True)
    assert onnx.load(path).ir_version <= 10
    assert ort.InferenceSession(str(path)).get_inputs()[0].name == "x"


def test_writing_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    write_graph(graph_from_bytes(conv_relu().SerializeToString()), path)

    assert [item.name for item in tmp_path.iterdir()] == ["m.onnx"]


def test_metadata_survives_the_round_trip() -> None:
    graph = replace(graph_from_bytes(conv_relu().SerializeToString()), metadata={"author": "me"})

    again = graph_from_bytes(graph_to_bytes(graph))

    assert again.metadata["author"] == "me"
