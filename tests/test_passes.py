"""Every pass keeps what a model computes, and does what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from tiny_onnx import LIGHT_MODELS, build, normal, real_model_params

from edgekit.converters.evaluate import evaluate, run_model
from edgekit.converters.onnx_model import check_graph, graph_from_bytes, read_graph
from edgekit.converters.passes import DEFAULT_PASSES, PASSES, simplify
from edgekit.errors import UsageError
from edgekit.graph import Graph

FOLD_RTOL = 2e-5  # Folding rounds each weight once more; up to 100 layers add that up.


def tiny(nodes: list[Any], **given: Any) -> Graph:
    return graph_from_bytes(build(nodes, **given).SerializeToString())


def op_types(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.nodes]


def feeds_of(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        spec.name: rng.standard_normal(
            [
                dim if isinstance(dim, int) else (2, 3, 64, 96)[axis]
                for axis, dim in enumerate(spec.shape or ())
            ]
        ).astype(spec.dtype.value)
        for spec in graph.inputs
    }


def assert_same(left: Graph, right: Graph, *, rtol: float = 1e-5) -> None:
    feeds = feeds_of(left)
    before, after = evaluate(left, feeds), evaluate(right, feeds)
    for name, expected in before.items():
        scale = float(np.abs(expected).max(initial=0)) or 1.0
        np.testing.assert_allclose(after[name], expected, rtol=0, atol=rtol * scale)


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


@dataclass(frozen=True)
class Layer:
    id: str
    op_type: str
    x: tuple[int, ...]
    weight: tuple[int, ...]
    channels: int
    bias: bool = False
    group: int = 1
    trans_b: int = 0


LAYERS = [
    Layer("conv", "Conv", (1, 4, 6, 6), (8, 4, 3, 3), 8),
    Layer("conv_bias", "Conv", (1, 4, 6, 6), (8, 4, 3, 3), 8, bias=True),
    Layer("depthwise", "Conv", (1, 8, 6, 6), (8, 1, 3, 3), 8, group=8),
    Layer("conv_1d", "Conv", (1, 4, 9), (8, 4, 3), 8),
    Layer("conv_3d", "Conv", (1, 2, 5, 5, 5), (4, 2, 3, 3, 3), 4),
    Layer("transposed", "ConvTranspose", (1, 4, 6, 6), (4, 8, 3, 3), 8, bias=True),
    Layer("transposed_groups", "ConvTranspose", (1, 4, 6, 6), (4, 3, 3, 3), 6, group=2),
    Layer("gemm", "Gemm", (2, 5), (5, 7), 7, bias=True),
    Layer("gemm_transposed", "Gemm", (2, 5), (7, 5), 7, trans_b=1),
]


def layer_then(layer: Layer, then: list[Any], constants: dict[str, np.ndarray]) -> Graph:
    """Return x -> layer -> c, followed by nodes that read c and make y."""
    attributes: dict[str, Any] = {"group": layer.group}
    if layer.op_type == "Gemm":
        attributes = {"transB": layer.trans_b, "alpha": 0.5, "beta": 2.0}
    inputs = ["x", "w", "b"] if layer.bias else ["x", "w"]
    own = {"w": normal(layer.weight), "b": normal((layer.channels,), seed=3)}
    return tiny(
        [helper.make_node(layer.op_type, inputs, ["c"], name="layer", **attributes), *then],
        inputs={"x": layer.x},
        outputs={"y": [None] * len(layer.x)},
        constants={**{name: own[name] for name in inputs[1:]}, **constants},
    )


def norm_constants(channels: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        "gamma": rng.uniform(0.5, 2, channels).astype(np.float32),
        "beta": rng.standard_normal(channels, dtype=np.float32),
        "mean": rng.standard_normal(channels, dtype=np.float32),
        "var": rng.uniform(1e-3, 2, channels).astype(np.float32),
    }


NORM = ["gamma", "beta", "mean", "var"]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.id)
def test_a_batch_norm_goes_into_the_layer_before(layer: Layer) -> None:
    norm = helper.make_node("BatchNormalization", ["c", *NORM], ["y"], epsilon=1e-3)
    graph = layer_then(layer, [norm], norm_constants(layer.channels))

    simple = simplify(graph)

    assert op_types(simple) == [layer.op_type]
    assert_same(graph, simple)


@pytest.mark.parametrize("op_type", ["Mul", "Add", "Sub", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (8, 1, 1), (1, 8, 1, 1)], ids=str)
def test_a_constant_per_channel_goes_into_the_layer_before(
    op_type: str, shape: tuple[int, ...]
) -> None:
    value = np.random.default_rng(7).uniform(0.5, 2, shape).astype(np.float32)
    graph = layer_then(LAYERS[0], [helper.make_node(op_type, ["c", "k"], ["y"])], {"k": value})

    simple = simplify(graph)

    assert op_types(simple) == ["Conv"]
    assert_same(graph, simple)


@pytest.mark.parametrize("shape", [(4,), (1, 1, 4, 4), (4, 1), (2, 1, 1, 1)], ids=str)
def test_a_constant_that_varies_along_other_axes_stays(shape: tuple[int, ...]) -> None:
    graph = layer_then(
        LAYERS[0], [helper.make_node("Mul", ["c", "k"], ["y"])], {"k": normal(shape)}
    )

    simple = simplify(graph)

    assert op_types(simple) == ["Conv", "Mul"]
    assert_same(graph, simple)


def test_a_constant_minuend_stays() -> None:
    graph = layer_then(
        LAYERS[0], [helper.make_node("Sub", ["k", "c"], ["y"])], {"k": normal((8, 1, 1))}
    )

    assert_same(graph, simplify(graph))


def test_a_chain_of_norm_scale_and_shift_goes_in_at_once() -> None:
    graph = layer_then(
        LAYERS[0],
        [
            helper.make_node("BatchNormalization", ["c", *NORM], ["n"]),
            helper.make_node("Mul", ["n", "k"], ["m"]),
            helper.make_node("Add", ["m", "k"], ["y"]),
        ],
        {**norm_constants(8), "k": normal((8, 1, 1))},
    )

    simple = simplify(graph)

    assert op_types(simple) == ["Conv"]
    assert_same(graph, simple)


def test_a_layer_that_others_read_too_keeps_its_batch_norm() -> None:
    graph = layer_then(
        LAYERS[0],
        [
            helper.make_node("BatchNormalization", ["c", *NORM], ["n"]),
            helper.make_node("Add", ["n", "c"], ["y"]),
        ],
        norm_constants(8),
    )

    assert op_types(simplify(graph)) == ["Conv", "BatchNormalization", "Add"]


def test_a_weight_that_two_layers_share_is_not_changed_for_the_other() -> None:
    graph = tiny(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="one"),
            helper.make_node("BatchNormalization", ["c", *NORM], ["y"]),
            helper.make_node("Conv", ["x", "w"], ["z"], name="two"),
        ],
        inputs={"x": [1, 4, 6, 6]},
        outputs={"y": [1, 8, 4, 4], "z": [1, 8, 4, 4]},
        constants={"w": normal((8, 4, 3, 3)), **norm_constants(8)},
    )

    simple = simplify(graph)

    assert op_types(simple) == ["Conv", "Conv"]
    assert_same(graph, simple)


def test_a_new_bias_does_not_take_a_name_in_use() -> None:
    graph = tiny(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="one"),
            helper.make_node("BatchNormalization", ["c", *NORM], ["n"]),
            helper.make_node("Mul", ["n", "one.bias"], ["y"]),
        ],
        inputs={"x": [1, 4, 6, 6]},
        outputs={"y": [1, 8, 4, 4]},
        constants={"w": normal((8, 4, 3, 3)), "one.bias": normal((4,)), **norm_constants(8)},
    )

    assert_same(graph, simplify(graph))


def test_a_scale_that_overflows_is_not_folded() -> None:
    constants = norm_constants(8) | {"var": np.zeros(8, np.float32)}
    constants["gamma"] = np.full(8, 1e38, np.float32)
    norm = helper.make_node("BatchNormalization", ["c", *NORM], ["y"], epsilon=0.0)

    assert op_types(simplify(layer_then(LAYERS[0], [norm], constants)))[-1] == "BatchNormalization"


def test_an_identity_before_an_output_keeps_the_outputs_name() -> None:
    graph = tiny(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Identity", ["r"], ["y"]),
            helper.make_node("Identity", ["r"], ["z"]),
        ],
        inputs={"x": [2]},
        outputs={"y": [2], "z": [2]},
    )

    simple = simplify(graph)

    assert simple.output_names == ("y", "z")
    assert op_types(simple) == ["Relu", "Identity"]
    assert_same(graph, simple)


def test_an_identity_between_input_and_output_stays() -> None:
    graph = tiny(
        [helper.make_node("Identity", ["x"], ["y"])], inputs={"x": [2]}, outputs={"y": [2]}
    )

    assert op_types(simplify(graph)) == ["Identity"]


def test_a_dropout_whose_mask_is_read_stays() -> None:
    graph = tiny(
        [
            helper.make_node("Dropout", ["x"], ["d", "mask"]),
            helper.make_node("Relu", ["d"], ["y"]),
            helper.make_node("Not", ["mask"], ["z"]),
        ],
        inputs={"x": [2]},
        outputs={"y": [2], "z": [2]},
        dtypes={"z": TensorProto.BOOL},
    )

    assert "Dropout" in op_types(simplify(graph))


def test_transposes_that_cancel_go() -> None:
    graph = tiny(
        [
            helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
            helper.make_node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
            helper.make_node("Relu", ["b"], ["y"]),
        ],
        inputs={"x": [1, 2, 3, 4]},
        outputs={"y": [1, 2, 3, 4]},
    )

    assert op_types(simplify(graph)) == ["Relu"]


def test_transposes_in_a_row_become_one() -> None:
    graph = tiny(
        [
            helper.make_node("Transpose", ["x"], ["a"], perm=[2, 0, 1]),
            helper.make_node("Transpose", ["a"], ["y"], perm=[0, 2, 1]),
        ],
        inputs={"x": [2, 3, 4]},
        outputs={"y": [4, 3, 2]},
    )

    simple = simplify(graph)

    assert op_types(simple) == ["Transpose"]
    assert_same(graph, simple)


def test_reshapes_in_a_row_become_one_unless_a_zero_copies_a_size() -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["a"]),
        helper.make_node("Reshape", ["a", "shape"], ["y"]),
    ]
    given: dict[str, Any] = {"inputs": {"x": ["n", 3, 4]}, "outputs": {"y": None}}
    free = tiny(nodes, constants={"shape": np.array([-1, 6])}, **given)
    bound = tiny(nodes, constants={"shape": np.array([0, 2, 6])}, **given)

    assert op_types(simplify(free)) == ["Reshape"]
    assert op_types(simplify(bound)) == ["Flatten", "Reshape"]


def test_tensors_that_a_nested_graph_reads_are_renamed_in_it() -> None:
    def branch(op_type: str) -> Any:
        out = helper.make_tensor_value_info(op_type, TensorProto.FLOAT, [2])
        return helper.make_graph([helper.make_node(op_type, ["i"], [op_type])], op_type, [], [out])

    graph = tiny(
        [
            helper.make_node("Identity", ["x"], ["i"]),
            helper.make_node(
                "If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg")
            ),
        ],
        inputs={"x": [2], "c": []},
        outputs={"y": [2]},
        dtypes={"c": TensorProto.BOOL},
    )
    feeds = {"x": np.array([1, -2], np.float32), "c": np.array(False)}

    simple = simplify(graph)

    assert op_types(simple) == ["If"]
    np.testing.assert_array_equal(evaluate(simple, feeds)["y"], [-1, 2])
