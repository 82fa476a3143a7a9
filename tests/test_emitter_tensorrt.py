"""The TensorRT emitter: files that NVIDIA's parser takes, a recipe, refusals with a reason.

Nothing here runs on a GPU. Where TensorRT-RTX is installed, its parser and builder, which
need none, take the files; they say nothing about a Jetson's engine.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_onnx import LIGHT_MODELS, build, conv_relu, normal, real_model_params

from edgekit.artifact import Artifact
from edgekit.converters.emitters.tensorrt import emit
from edgekit.converters.evaluate import run_model
from edgekit.converters.gate import HALF, compare_runs, seeded_feeds
from edgekit.converters.onnx_model import graph_from_bytes, read_graph
from edgekit.converters.passes import simplify
from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.target import TARGETS
from edgekit.tensor import DType

FP32, FP16 = TARGETS["tensorrt"], TARGETS["jetson-orin"]
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx is not installed; run: pip install 'edgekit[tensorrt]'",
)


def tiny(nodes: list[Any], **given: Any) -> Graph:
    return graph_from_bytes(build(nodes, **given).SerializeToString())


def model() -> Graph:
    return graph_from_bytes(conv_relu().SerializeToString())


def test_fp32_is_one_file_in_an_opset_that_jetpack_5_reads(tmp_path: Path) -> None:
    artifact = emit(model(), tmp_path, target=FP32)

    assert dict(artifact.files) == {"model": "model.onnx"}
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 17
    assert artifact.recipe["oldest_tensorrt"] == "8.5"


def test_fp16_is_a_plain_file_and_a_typed_one_that_agree(tmp_path: Path) -> None:
    graph = model()

    artifact = emit(graph, tmp_path, target=FP16)

    assert set(artifact.files) == {"model", "typed"}
    compare_runs(
        "typed",
        lambda feed: run_model(tmp_path / artifact.files["model"], feed),
        lambda feed: run_model(tmp_path / artifact.files["typed"], feed),
        seeded_feeds(graph.inputs),
        limit=HALF,
    )
    types = {
        tensor.data_type for tensor in onnx.load(tmp_path / "model.typed.onnx").graph.initializer
    }
    assert types == {TensorProto.FLOAT16}


def test_an_artifact_is_never_more_than_unverified(tmp_path: Path) -> None:
    assert emit(model(), tmp_path, target=FP16).recipe["status"] == "unverified"


def test_the_recipe_sets_flags_only_where_the_release_has_them(tmp_path: Path) -> None:
    recipe = emit(model(), tmp_path, target=FP16).recipe

    builds = {build["tensorrt"]: build for build in recipe["builds"]}
    assert builds[">=11"] == {
        "tensorrt": ">=11",
        "file": "typed",
        "network_flags": [],
        "builder_flags": [],
    }
    assert builds[">=8.5,<10"]["file"] == "model"
    assert builds[">=8.5,<10"]["builder_flags"] == ["FP16"]
    assert json.loads(json.dumps(recipe)) == recipe


def test_every_file_that_the_recipe_names_is_in_the_artifact(tmp_path: Path) -> None:
    for target in (FP32, FP16):
        folder = tmp_path / target.precision
        folder.mkdir()
        artifact = emit(model(), folder, target=target)

        named = {build["file"] for build in artifact.recipe["builds"]}
        assert named <= set(artifact.files)
        assert all((folder / name).is_file() for name in artifact.files.values())


def test_dynamic_sizes_get_a_profile_in_order_and_are_said_to_be_assumed(tmp_path: Path) -> None:
    graph = tiny(
        [helper.make_node("Relu", ["x"], ["y"])],
        inputs={"x": ["batch", 3, "height", "width"]},
        outputs={"y": None},
    )

    recipe = emit(graph, tmp_path, target=FP32).recipe

    profile = recipe["profiles"][0]["x"]
    assert recipe["assumed"] == ["batch", "height", "width"]
    assert np.all(np.array(profile["min"]) <= np.array(profile["opt"]))
    assert np.all(np.array(profile["opt"]) <= np.array(profile["max"]))
    assert profile["opt"][1] == 3


def test_a_fixed_model_has_no_profile(tmp_path: Path) -> None:
    assert emit(model(), tmp_path, target=FP32).recipe["profiles"] == []


def test_what_opset_17_cannot_say_keeps_a_newer_one_and_says_who_reads_it(tmp_path: Path) -> None:
    graph = tiny(
        [helper.make_node("Gelu", ["x"], ["y"])],
        inputs={"x": [2]},
        outputs={"y": [2]},
        opset=20,
    )

    recipe = emit(graph, tmp_path, target=FP32).recipe

    assert recipe["opset"] == 20
    assert recipe["oldest_tensorrt"] == "10.15"


def test_fused_preprocessing_takes_bytes(tmp_path: Path) -> None:
    preprocess = Preprocess(scale=(1 / 255,), mean=(0.5,), std=(0.25,))

    artifact = emit(model(), tmp_path, target=FP16, preprocess={"x": preprocess})

    assert artifact.fused_preprocess == ("x",)
    assert artifact.inputs[0].dtype is DType.UINT8
    assert onnx.load(tmp_path / "model.onnx").graph.node[0].op_type == "Cast"


@dataclass(frozen=True)
class Refused:
    id: str
    node: Any
    said: str
    inputs: dict[str, list[int]]
    constants: dict[str, np.ndarray] | None = None


PICTURE = {"x": [1, 2, 4, 4]}
REFUSED = [
    Refused("det", helper.make_node("Det", ["x"], ["y"], name="n"), "support list", PICTURE),
    Refused(
        "pool_indices",
        helper.make_node("MaxPool", ["x"], ["y", "i"], name="n", kernel_shape=[2, 2]),
        "max-unpooling|output 'i' is not supported",
        PICTURE,
    ),
    Refused(
        "pool_dilations",
        helper.make_node("MaxPool", ["x"], ["y"], name="n", kernel_shape=[2, 2], dilations=[2, 2]),
        r"dilations=\(2, 2\)",
        PICTURE,
    ),
    Refused(
        "antialias",
        helper.make_node("Resize", ["x", "", "s"], ["y"], name="n", mode="linear", antialias=1),
        "antialias=1 is not supported, only 0",
        PICTURE,
        {"s": np.array([1, 1, 0.5, 0.5], np.float32)},
    ),
    Refused(
        "scatter_reduction",
        helper.make_node("ScatterND", ["x", "i", "u"], ["y"], name="n", reduction="add"),
        "reduction='add' is not supported, only 'none'",
        PICTURE,
        {"i": np.array([[0]]), "u": np.ones((1, 2, 4, 4), np.float32)},
    ),
    Refused(
        "zero_point",
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], name="n"),
        "zero point is not 0",
        PICTURE,
        {"s": np.array(0.1, np.float32), "z": np.array(3, np.int8)},
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_what_the_parser_does_not_take_is_refused_by_node(case: Refused, tmp_path: Path) -> None:
    graph = tiny(
        [case.node],
        inputs=case.inputs,
        outputs=dict.fromkeys(case.node.output),
        constants=case.constants,
        dtypes={"i": TensorProto.INT64}
        | ({"y": TensorProto.INT8} if case.id == "zero_point" else {}),
    )

    with pytest.raises(UnsupportedOperatorError, match=case.said) as caught:
        emit(graph, tmp_path, target=FP32)

    assert caught.value.node == "n"
    assert caught.value.target == "tensorrt"


def build_engine(path: Path, artifact: Artifact) -> int:
    """Parse and build one file with TensorRT-RTX for SM 8.6; return the plan's bytes."""
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network()
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse_from_file(str(path))
    assert parsed, [parser.get_error(index).desc() for index in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    for shapes in artifact.recipe["profiles"]:
        profile = builder.create_optimization_profile()
        for name, item in shapes.items():
            profile.set_shape(name, item["min"], item["opt"], item["max"])
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None
    return int(plan.nbytes)


@needs_rtx
@pytest.mark.parametrize("path", [LIGHT_MODELS[2], *LIGHT_MODELS[4:7]], ids=lambda p: p.stem)
def test_nvidias_builder_takes_a_light_model(path: Path, tmp_path: Path) -> None:
    artifact = emit(simplify(read_graph(path)), tmp_path, target=FP16)

    plain, typed = (
        build_engine(tmp_path / artifact.files[role], artifact) for role in ("model", "typed")
    )

    assert typed < 0.8 * plain


@needs_rtx
@pytest.mark.parametrize("path", real_model_params())
def test_nvidias_builder_takes_a_real_model(path: Path, tmp_path: Path) -> None:
    artifact = emit(simplify(read_graph(path)), tmp_path, target=FP16)

    for name in artifact.files.values():
        assert build_engine(tmp_path / name, artifact) > 0


@needs_rtx
def test_nvidias_builder_takes_fused_preprocessing(tmp_path: Path) -> None:
    preprocess = Preprocess(scale=(1 / 255,), mean=(0.5,), std=(0.25,))

    artifact = emit(model(), tmp_path, target=FP16, preprocess={"x": preprocess})

    for name in artifact.files.values():
        assert build_engine(tmp_path / name, artifact) > 0


def test_a_recurrent_layer_stays_close_in_the_typed_file(tmp_path: Path) -> None:
    graph = tiny(
        [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4)],
        inputs={"x": [5, 1, 3]},
        outputs={"y": [5, 1, 1, 4]},
        constants={"w": normal((1, 16, 3)), "r": normal((1, 16, 4), seed=2)},
    )

    artifact = emit(graph, tmp_path, target=FP16)

    # ONNX Runtime's CPU kernels compute a float16 LSTM in float32 between casts.
    compare_runs(
        "typed",
        lambda feed: run_model(tmp_path / artifact.files["model"], feed),
        lambda feed: run_model(tmp_path / artifact.files["typed"], feed, optimize=True),
        seeded_feeds(graph.inputs),
        limit=HALF,
    )
