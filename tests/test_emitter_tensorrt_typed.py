"""The int8 file for strongly typed TensorRT: float16 between the pairs, as near as the plain one.

ONNX Runtime computes both files; NVIDIA's parser and builder take them where TensorRT-RTX is
installed, which says nothing about a Jetson's engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from quantize_models import minmax_ranges, noise, residual, sqnr_db, to_graph, weights
from test_emitter_tensorrt import build_engine, needs_rtx
from tiny_onnx import build

from edgekit.artifact import Artifact
from edgekit.converters.emitters.tensorrt import emit
from edgekit.converters.emitters.tensorrt_typed import half_codes
from edgekit.converters.evaluate import evaluate, run_model
from edgekit.converters.quantize import pick_scheme, quantize
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.quantization import Quantization
from edgekit.quantized import Code
from edgekit.target import pick_target
from edgekit.tensor import DType

NEAR_FLOAT_DB = 20.0
NEAR_PLAIN_DB = 30.0  # the same integers but for the last step of some, float16 between them


def attention() -> Graph:
    """Return products of a sequence with itself, behind a Softmax, wide enough for integers."""
    nodes = [
        helper.make_node("MatMul", ["x", "wq"], ["q"], name="query"),
        helper.make_node("MatMul", ["x", "wk"], ["k"], name="key"),
        helper.make_node("MatMul", ["q", "k"], ["s"], name="scores"),
        helper.make_node("Softmax", ["s"], ["p"], name="softmax", axis=-1),
        helper.make_node("MatMul", ["p", "x2"], ["a"], name="mixed"),
        helper.make_node("LayerNormalization", ["a", "g", "b"], ["n"], name="norm"),
        helper.make_node("MatMul", ["n", "wo"], ["y"], name="result"),
    ]
    constants = {
        "wq": weights(32, 24),
        "wk": weights(32, 24, seed=1) * np.float32(0.1),
        "wo": weights(32, 24, seed=2),
        "g": np.ones(32, np.float32),
        "b": np.zeros(32, np.float32),
    }
    nodes.insert(2, helper.make_node("Transpose", ["k"], ["kt"], name="turn", perm=[0, 2, 1]))
    nodes[3] = helper.make_node("MatMul", ["q", "kt"], ["s"], name="scores")
    return to_graph(
        build(
            nodes,
            inputs={"x": [1, 20, 32], "x2": [1, 20, 32]},
            outputs={"y": [1, 20, 24]},
            constants=constants,
        )
    )


def emitted(graph: Graph, folder: Path, **how: object) -> Artifact:
    table = quantize(graph, minmax_ranges(graph, noise(graph)), pick_scheme("tensorrt"))
    artifact: Artifact = emit(table, folder, target=pick_target("tensorrt:int8"), **how)
    return artifact


@pytest.mark.parametrize("make", [residual, attention])
def test_the_typed_file_computes_what_the_plain_one_does(make, tmp_path: Path) -> None:
    graph = make()
    feed = noise(graph)[0]

    artifact = emitted(graph, tmp_path)

    plain, typed = (
        run_model(tmp_path / artifact.files[role], feed)["y"] for role in ("model", "typed")
    )
    assert sqnr_db(evaluate(graph, feed)["y"], typed) > NEAR_FLOAT_DB
    assert sqnr_db(plain, typed) > NEAR_PLAIN_DB


def test_between_pairs_all_is_float16_and_weights_are_int8(tmp_path: Path) -> None:
    artifact = emitted(residual(), tmp_path)

    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / artifact.files["typed"]))
    types = {info.name: info.type.tensor_type.elem_type for info in model.graph.value_info}
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    by_output = {node.output[0]: node for node in model.graph.node}
    assert {types[name] for conv in convs for name in conv.input[:2]} == {TensorProto.FLOAT16}
    assert {constants[by_output[conv.input[1]].input[0]] for conv in convs} == {TensorProto.INT8}
    assert {constants[conv.input[2]] for conv in convs if len(conv.input) > 2} <= {
        TensorProto.FLOAT16
    }


def test_softmax_and_norms_stay_float32(tmp_path: Path) -> None:
    artifact = emitted(attention(), tmp_path)

    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / artifact.files["typed"]))
    types = {info.name: info.type.tensor_type.elem_type for info in model.graph.value_info}
    steep = [n for n in model.graph.node if n.op_type in ("Softmax", "LayerNormalization")]
    assert len(steep) == 2
    assert {types[node.output[0]] for node in steep} == {TensorProto.FLOAT}


def test_the_recipe_says_which_release_reads_which_file(tmp_path: Path) -> None:
    recipe = emitted(residual(), tmp_path).recipe

    read = {item["tensorrt"]: item for item in recipe["builds"]}
    assert read[">=11"]["file"] == "typed"
    assert read[">=11"]["builder_flags"] == []
    assert read[">=10,<11"]["alternative"] == {
        "file": "typed", "network_flags": ["STRONGLY_TYPED"],
    }  # fmt: skip
    assert read[">=8.5,<10"]["file"] == "model"
    assert read[">=8.5,<10"]["builder_flags"] == ["INT8", "FP16"]
    assert (recipe["opset"], recipe["typed_opset"]) == (17, 19)


def test_what_reaches_beyond_float16_is_not_written_in_it(tmp_path: Path) -> None:
    graph = to_graph(
        build(
            [
                helper.make_node("Conv", ["x", "w"], ["c"], name="large"),
                helper.make_node("Conv", ["c", "w2"], ["y"], name="last"),
            ],
            inputs={"x": [1, 16, 4, 4]},
            outputs={"y": [1, 16, 4, 4]},
            constants={
                "w": weights(16, 16, 1, 1) * np.float32(1e5),
                "w2": weights(16, 16, 1, 1, seed=1) * np.float32(1e-5),
            },
        )
    )

    artifact = emitted(graph, tmp_path)

    feed = noise(graph)[0]
    typed = run_model(tmp_path / artifact.files["typed"], feed)["y"]
    assert sqnr_db(evaluate(graph, feed)["y"], typed) > NEAR_FLOAT_DB


@dataclass(frozen=True)
class Scaled:
    id: str
    scale: float
    expected: float


# IEEE 754 binary16: 11 bits, so the next above 0.1 is 1639 * 2**-14.
SCALES = [
    Scaled("exact", 0.5, 0.5),
    Scaled("between", 0.1, 1639 * 2.0**-14),
    Scaled("tiny", 1e-9, 1e-9),
    Scaled("beyond", 7e4, 7e4),
]


@pytest.mark.parametrize("case", SCALES, ids=lambda case: case.id)
def test_a_scale_becomes_the_next_float16_above_where_there_is_one(case: Scaled) -> None:
    code = Code(DType.INT8, Quantization((case.scale,), (0,)))

    rounded = half_codes({"x": code})["x"].quantization.scale[0]

    assert rounded == pytest.approx(case.expected, rel=1e-9)


def test_a_channel_far_below_the_others_ends_at_the_smallest_float16() -> None:
    code = Code(DType.INT8, Quantization((0.5, 1e-9), (0, 0), 0))

    rounded = half_codes({"w": code})["w"].quantization.scale

    assert rounded == (0.5, 2.0**-24)


def test_fused_preprocessing_is_in_the_typed_file_too(tmp_path: Path) -> None:
    graph = residual()
    steps = Preprocess.parse("stretch,rgb,scale=1/64,mean=2")
    noisy = 128 + 64 * np.random.default_rng(0).standard_normal((1, 12, 12, 3))
    frame: NDArray[np.uint8] = noisy.clip(0, 255).astype(np.uint8)

    artifact = emitted(graph, tmp_path, preprocess={"x": steps})

    feed = {"x": steps.apply(frame[0], graph.inputs[0])}
    typed = run_model(tmp_path / artifact.files["typed"], {"x": frame})["y"]
    assert sqnr_db(evaluate(graph, feed)["y"], typed) > NEAR_FLOAT_DB


@needs_rtx
@pytest.mark.parametrize("make", [residual, attention])
def test_nvidias_parser_and_builder_take_both_files(make, tmp_path: Path) -> None:
    artifact = emitted(make(), tmp_path)

    for role in ("model", "typed"):
        assert build_engine(tmp_path / artifact.files[role], artifact) > 0
