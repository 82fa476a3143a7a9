"""INT8 artifacts: what each emitter writes from a table, and that its engine reads it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from quantize_models import minmax_ranges, noise, residual, sqnr_db, to_graph, weights
from tiny_onnx import build

from edgekit.artifact import Artifact
from edgekit.converters.emitters import EMITTERS
from edgekit.converters.emitters.tensorrt_cache import calibration_cache
from edgekit.converters.evaluate import evaluate
from edgekit.converters.quantize import pick_scheme, quantize
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.runtimes.select import load
from edgekit.target import pick_target

NETWORK_SQNR_DB = 20.0
FORMATS = ("onnx", "openvino", "tensorrt")


def table_for(graph: Graph, format: str, precision: str = "int8") -> QuantizedGraph:
    return quantize(graph, minmax_ranges(graph, noise(graph)), pick_scheme(format, precision))


def emitted(source: Graph | QuantizedGraph, target: str, folder: Path, **how: object) -> Artifact:
    picked = pick_target(target)
    artifact: Artifact = EMITTERS[picked.format].load()(source, folder, target=picked, **how)
    return artifact


def wide() -> Graph:
    """Return two convolutions that are wide enough for TensorRT's integers."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("ConvTranspose", ["r", "w1"], ["y"], name="last", strides=[2, 2]),
    ]
    constants = {"w0": weights(16, 3, 3, 3), "w1": weights(16, 16, 2, 2, seed=1)}
    return to_graph(
        build(
            nodes, inputs={"x": [1, 3, 8, 8]}, outputs={"y": [1, 16, 16, 16]}, constants=constants
        )
    )


@pytest.mark.parametrize("format", FORMATS)
def test_int8_without_a_table_is_refused(format: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs calibrated ranges"):
        emitted(residual(), f"{format}:int8", tmp_path)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_an_int8_artifact_runs_near_the_float_model(format: str, tmp_path: Path) -> None:
    graph = residual()
    feed = noise(graph)[0]

    artifact = emitted(table_for(graph, format), f"{format}:int8", tmp_path)

    with load(tmp_path / artifact.files["model"]) as session:
        result = session.run(feed)
    assert artifact.name == f"{format}-int8"
    assert sqnr_db(evaluate(graph, feed)["y"], result["y"]) > NETWORK_SQNR_DB


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_int8_and_weight_only_files_are_a_quarter(format: str, tmp_path: Path) -> None:
    graph = to_graph(
        build(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="layer")],
            inputs={"x": [1, 256]},
            outputs={"y": [1, 256]},
            constants={"w": weights(256, 256)},
        )
    )
    sizes = {}

    for precision in ("int8", "w8"):
        folder = tmp_path / precision
        folder.mkdir()
        artifact = emitted(table_for(graph, format, precision), f"{format}:{precision}", folder)
        sizes[precision] = sum((folder / name).stat().st_size for name in artifact.files.values())

    weight_bytes = 256 * 256 * 4
    assert max(sizes.values()) < 0.4 * weight_bytes


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_preprocessing_fuses_into_an_int8_artifact(format: str, tmp_path: Path) -> None:
    graph = residual()
    steps = Preprocess.parse("stretch,rgb,scale=1/64,mean=2")
    # After the steps, normal noise as the ranges are measured on.
    noisy = 128 + 64 * np.random.default_rng(0).standard_normal((1, 12, 12, 3))
    frame = noisy.clip(0, 255).astype(np.uint8)

    artifact = emitted(
        table_for(graph, format), f"{format}:int8", tmp_path, preprocess={"x": steps}
    )

    with load(tmp_path / artifact.files["model"]) as session:
        result = session.run({"x": frame})["y"]
    feed = {"x": steps.apply(frame[0], graph.inputs[0])}
    assert artifact.fused_preprocess == ("x",)
    assert sqnr_db(evaluate(graph, feed)["y"], result) > NETWORK_SQNR_DB


def test_tensorrt_gets_opset_17_and_both_flags(tmp_path: Path) -> None:
    artifact = emitted(table_for(wide(), "tensorrt"), "tensorrt:int8", tmp_path)

    assert artifact.recipe["opset"] == 17
    assert artifact.recipe["builds"][-1]["builder_flags"] == ["INT8", "FP16"]
    assert set(artifact.files) == {"model", "typed", "calibration"}


def test_the_calibration_cache_holds_the_bits_of_amax_over_127() -> None:
    graph = wide()
    table = table_for(graph, "tensorrt")

    lines = calibration_cache(table).splitlines()

    # 3c010204 is 1/127 in a cache file of NVIDIA's cuDLA-samples: the same format.
    assert struct.pack(">f", 1 / 127).hex() == "3c010204"
    assert lines[0] == "TRT-8502-EntropyCalibration2"
    words = dict(line.split(": ") for line in lines[1:])
    assert set(words) == {"x", "r", "y"}
    largest = minmax_ranges(graph, noise(graph)).ranges["r"].high
    assert struct.unpack(">f", bytes.fromhex(words["r"]))[0] == pytest.approx(largest / 127)


@pytest.mark.parametrize("make", [wide, residual])
def test_nvidias_parser_and_builder_take_the_int8_file(make, tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="needs pip install tensorrt-rtx")
    emitted(table_for(make(), "tensorrt"), "tensorrt:int8", tmp_path)
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network()
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)

    parsed = parser.parse_from_file(str(tmp_path / "model.onnx"))

    assert parsed, [parser.get_error(index).desc() for index in range(parser.num_errors)]
    assert builder.build_serialized_network(network, config) is not None
