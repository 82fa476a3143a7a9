"""Engines for desktop GPUs, really compiled by TensorRT-RTX on this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks.builder import NetBuilder

from edgekit.bundle import Bundle
from edgekit.calibration.contract import Promise
from edgekit.converters.emitters.tensorrt_rtx import emit
from edgekit.converters.onnx_model import graph_from_bytes
from edgekit.converters.quantize.read_qdq import read_qdq
from edgekit.errors import EdgeKitError, TensorRtError
from edgekit.graph import Graph
from edgekit.pipeline import Terms, convert
from edgekit.preprocess import Preprocess
from edgekit.target import TARGETS

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed here")

TARGET = TARGETS["tensorrt-rtx"]


def _model(*, batch: int | str = 1) -> bytes:
    net = NetBuilder("rtx")
    net.input("x", (batch, 3, 16, 16))
    weight = net.constant(net.rng.normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32))
    net.nodes.append(onnx.helper.make_node("Conv", ["x", weight], ["c"], name="conv"))
    net.nodes.append(onnx.helper.make_node("Relu", ["c"], ["y"], name="relu"))
    net.outputs.append(
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [batch, 8, 14, 14])
    )
    return bytes(net.model().SerializeToString())


@pytest.fixture(scope="module")
def graph() -> Graph:
    return graph_from_bytes(_model())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_engine_is_compiled_without_a_gpu(graph: Graph, tmp_path: Path, precision: str) -> None:
    artifact = emit(graph, tmp_path, target=TARGET.with_precision(precision))

    assert artifact.name == f"tensorrt-rtx-{precision}"
    engine = (tmp_path / artifact.files["engine"]).read_bytes()
    assert len(engine) > 1000
    assert {path.name for path in tmp_path.iterdir()} == set(artifact.files.values())
    assert artifact.recipe["compute_capabilities"] == ["8.6", "8.9", "12.0"]


def test_int8_is_compiled_from_its_pairs(tmp_path: Path) -> None:
    net = NetBuilder("rtx-int8")
    net.input("x", (1, 8, 16, 16))
    pair = _pair(net, "x", 0.02)
    value = net.rng.normal(0, 0.2, (64, 8, 3, 3)).astype(np.float32)
    weight = _pair(net, net.constant(value), np.abs(value).max(axis=(1, 2, 3)) / 127, axis=0)
    net.nodes.append(onnx.helper.make_node("Conv", [pair, weight], ["y"], name="conv"))
    net.outputs.append(
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 64, 14, 14])
    )
    quantized = read_qdq(graph_from_bytes(net.model().SerializeToString()))

    artifact = emit(quantized, tmp_path, target=TARGET.with_precision("int8"))

    assert (tmp_path / artifact.files["engine"]).stat().st_size > 1000
    assert set(artifact.files) == {"model", "engine"}


def test_a_dynamic_batch_has_its_profile_in_the_recipe(tmp_path: Path) -> None:
    artifact = emit(graph_from_bytes(_model(batch="n")), tmp_path, target=TARGET)

    assert artifact.recipe["profiles"] == [{"x": [[1, 3, 16, 16], [1, 3, 16, 16], [8, 3, 16, 16]]}]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_frames_of_a_range_of_batches_compile(precision: str, tmp_path: Path) -> None:
    ranges = {"x": ((1, 3, 16, 16), (2, 3, 16, 16), (4, 3, 16, 16))}
    target = replace(TARGET.with_precision(precision), ranges=ranges)
    steps = {"x": Preprocess.parse("letterbox,scale=1/255")}

    artifact = emit(graph_from_bytes(_model(batch="n")), tmp_path, target=target, preprocess=steps)

    assert artifact.recipe["profiles"] == [{"x": [[1, 16, 16, 3], [2, 16, 16, 3], [4, 16, 16, 3]]}]


def test_a_model_that_it_refuses_is_an_error_with_the_node(tmp_path: Path) -> None:
    net = NetBuilder("bad")
    net.input("x", (1, 4, 4))
    net.nodes.append(onnx.helper.make_node("Det", ["x"], ["y"], name="determinant"))
    net.outputs.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1]))

    with pytest.raises(EdgeKitError, match="determinant"):
        emit(graph_from_bytes(net.model().SerializeToString()), tmp_path, target=TARGET)


def test_a_killed_compiler_leaves_no_engine(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.runtimes.tensorrt.prepare._BUILDER", "no_such_module")

    with pytest.raises(TensorRtError, match="no_such_module"):
        emit(graph, tmp_path, target=TARGET)

    assert not (tmp_path / "model.engine").exists()


def test_a_bundle_holds_the_engine_and_never_calls_it_verified(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(_model())

    convert(model, targets=["tensorrt-rtx:fp16"], output=tmp_path / "m.edgekit")

    bundle = Bundle.open(tmp_path / "m.edgekit")
    manifest = json.dumps(bundle.manifest.to_json())
    assert bundle.artifact("tensorrt-rtx-fp16").files["engine"].endswith("model.engine")
    assert '"unverified"' in manifest
    bundle.verify_files()


def _pair(net: NetBuilder, name: str, scale: float | np.ndarray, axis: int | None = None) -> str:  # type: ignore[type-arg]
    scales = net.constant(np.asarray(scale, np.float32))
    point = net.constant(np.zeros(np.shape(scale), np.int8))
    extra = {} if axis is None else {"axis": axis}
    stored, real = net.unique("q"), net.unique("dq")
    make = onnx.helper.make_node
    net.nodes.append(make("QuantizeLinear", [name, scales, point], [stored], name=stored, **extra))
    net.nodes.append(make("DequantizeLinear", [stored, scales, point], [real], name=real, **extra))
    return real


def test_the_contract_holds_for_it_by_simulation(tmp_path: Path) -> None:
    digits = Path(__file__).parents[1] / "examples" / "digits"
    terms = Terms(
        validation=digits / "heldout.npz",
        validation_samples=60,
        metric="top1",
        promise=Promise.parse("3%"),
        advise=False,
    )

    result = convert(
        digits / "digits.onnx",
        targets=["tensorrt-rtx:int8"],
        output=tmp_path / "m.edgekit",
        calibration=digits / "calibration.npz",
        preprocess={"": Preprocess.parse("letterbox,gray,scale=1/255,mean=0.3,std=0.37")},
        terms=terms,
    )

    contract = result.bundle.manifest.contract
    assert contract is not None
    assert [figure.artifact for figure in contract.figures] == ["tensorrt-rtx-int8"]
    assert result.checks["tensorrt-rtx-int8"].status.state == "simulated"
