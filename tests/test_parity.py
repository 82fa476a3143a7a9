"""Figures per output, and the replay of a bundle's goldens on every runtime."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import (
    NCHW_TO_NHWC,
    SHAPE,
    logical_specs,
    onnx_content,
    openvino_content,
    require,
    tflite_content,
)

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle, Golden, Manifest, Tolerance, pack_golden, write_bundle
from edgekit.bundle.records import Source
from edgekit.errors import ShapeError, VerificationError
from edgekit.preprocess import Preprocess
from edgekit.runtimes.parity import OutputParity, compare_outputs, verify_bundle, worst
from edgekit.runtimes.select import load
from edgekit.tensor import DType, Layout, TensorSpec

Array = np.ndarray[Any, Any]
TIGHT = Tolerance(0.99999, 1e-3)


def test_figures_are_those_of_the_metrics() -> None:
    # By hand, as in the tests of the metrics: cosine 24/25, errors 1 and 1/4, 10 log10 12.5.
    (figures,) = compare_outputs({"y": np.array([3, 4])}, {"y": np.array([4, 3])})

    assert figures.name == "y"
    assert figures.cosine == pytest.approx(0.96)
    assert figures.max_abs_error == 1
    assert figures.relative_error == 0.25
    assert figures.sqnr_db == pytest.approx(10.969100130080564)


def test_equal_outputs_are_within_any_tolerance() -> None:
    (figures,) = compare_outputs({"y": np.ones(3)}, {"y": np.ones(3)})

    assert figures.is_within(Tolerance(1, 0))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_output_is_within_no_tolerance(bad: float) -> None:
    (figures,) = compare_outputs({"y": np.array([1, bad])}, {"y": np.ones(2)})

    assert not figures.is_within(Tolerance(0, 1e300))
    assert json.loads(json.dumps(figures.to_json()))["max_abs_error"] is None


def test_worst_takes_the_worst_of_each_figure() -> None:
    first, second = OutputParity("y", 1, 5, 0.1, 90), OutputParity("y", 0.9, 1, 0.2, 80)

    assert worst([[first], [second]]) == (OutputParity("y", 0.9, 5, 0.2, 80),)


def test_missing_output_is_named() -> None:
    with pytest.raises(VerificationError, match="no output 'z', only y"):
        compare_outputs({"y": np.ones(1)}, {"z": np.ones(1)})


def test_output_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(1, 3\).*\(3,\)"):
        compare_outputs({"y": np.ones((1, 3))}, {"y": np.ones(3)})


INPUTS, OUTPUTS = logical_specs(("a", "b")), logical_specs(("sum", "product"))


def as_nhwc(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    shape = tuple(SHAPE[axis] for axis in NCHW_TO_NHWC)
    return tuple(
        replace(spec, shape=shape, layout=Layout.NHWC, permutation=NCHW_TO_NHWC) for spec in specs
    )


def artifacts() -> dict[str, tuple[Artifact, dict[str, bytes]]]:
    nhwc = tuple(SHAPE[axis] for axis in NCHW_TO_NHWC)
    content = {
        "onnx": onnx_content(SHAPE),
        "openvino": openvino_content(SHAPE),
        "tflite": tflite_content(nhwc),
        "tensorrt": onnx_content(SHAPE),
    }
    suffix = {"model": {"openvino": ".xml", "tflite": ".tflite"}, "weights": {"openvino": ".bin"}}
    made: dict[str, tuple[Artifact, dict[str, bytes]]] = {}
    for kind, roles in content.items():
        paths = {role: f"{kind}/model{suffix[role].get(kind, '.onnx')}" for role in roles}
        inputs, outputs = (INPUTS, OUTPUTS) if kind != "tflite" else map(as_nhwc, (INPUTS, OUTPUTS))
        artifact = Artifact(kind, "fp32", paths, inputs, outputs)
        made[kind] = (artifact, {paths[role]: data for role, data in roles.items()})
    return made


def a_golden(error: float = 0) -> Golden:
    rng = np.random.default_rng(0)
    inputs = {name: rng.standard_normal(SHAPE).astype(np.float32) for name in ("a", "b")}
    outputs = {
        "sum": inputs["a"] + inputs["b"] + np.float32(error),
        "product": inputs["a"] * inputs["b"],
    }
    return Golden("synthetic, seed 0", inputs, outputs)


def make_bundle(path: Path, goldens: tuple[Golden, ...], *, folder: bool = False) -> Bundle:
    for runtime in ("onnxruntime", "openvino", "litert"):
        require(runtime)
    made = artifacts()
    packed = [pack_golden(golden, index=index) for index, golden in enumerate(goldens)]
    files: dict[str, bytes] = {}
    for content in (
        *(content for _, content in made.values()),
        *(content for _, content in packed),
    ):
        files |= content
    manifest = Manifest(
        name="tiny",
        source=Source("tiny.onnx", "0" * 64),
        inputs=INPUTS,
        outputs=OUTPUTS,
        artifacts=tuple(artifact for artifact, _ in made.values()),
        goldens=tuple(golden for golden, _ in packed),
    )
    return write_bundle(path, manifest, files, folder=folder)


@pytest.mark.parametrize("folder", [False, True], ids=["zip", "folder"])
def test_goldens_replay_on_every_runtime_and_what_cannot_run_is_skipped(
    folder: bool, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "tiny.edgekit", (a_golden(),), folder=folder)

    replays = verify_bundle(bundle)

    assert {(replay.artifact, replay.runtime, replay.status) for replay in replays} == {
        ("onnx-fp32", "onnxruntime", "passed"),
        ("onnx-fp32", "openvino", "passed"),
        ("openvino-fp32", "openvino", "passed"),
        ("tflite-fp32", "litert", "passed"),
        ("tensorrt-fp32", "", "skipped"),
    }
    assert all(replay.inference_precision == "fp32" for replay in replays if replay.runtime)
    assert all(replay.reason for replay in replays if replay.status == "skipped")
    json.dumps([replay.to_json() for replay in replays])


def test_golden_that_does_not_replay_fails_with_its_figures(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edgekit", (a_golden(), a_golden(error=0.5)))

    replays = [replay for replay in verify_bundle(bundle) if replay.runtime]

    assert {replay.status for replay in replays} == {"failed"}
    assert all("output 'sum' has cosine" in replay.reason for replay in replays)
    assert all(replay.outputs[0].max_abs_error == pytest.approx(0.5) for replay in replays)


def test_bundle_without_goldens_shows_nothing_and_says_so(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edgekit", ())

    with pytest.raises(VerificationError, match="no golden inputs and outputs"):
        verify_bundle(bundle)


def fused_content() -> bytes:
    """Return float(transpose(pixels)) as ONNX: uint8 NHWC in, float32 NCHW out."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["y"], perm=[0, 3, 1, 2]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 4, 5, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, list(SHAPE))
    graph = helper.make_graph(nodes, "fused", [image], [y])
    opset = [helper.make_opsetid("", 18)]
    content: bytes = helper.make_model(
        graph, opset_imports=opset, ir_version=10
    ).SerializeToString()
    return content


def make_fused_bundle(path: Path, golden: Golden) -> Bundle:
    pixels = TensorSpec("image", DType.UINT8, (1, 4, 5, 3), Layout.NHWC)
    outputs = logical_specs(("y",))
    artifact = Artifact(
        "onnx", "fp32", {"model": "m.onnx"}, (pixels,), outputs, fused_preprocess=("image",)
    )
    packed, files = pack_golden(golden, index=0)
    manifest = Manifest(
        name="fused",
        source=Source("fused.onnx", "0" * 64),
        inputs=logical_specs(("image",)),
        outputs=outputs,
        artifacts=(artifact,),
        preprocess={"image": Preprocess(colour="BGR")},
        goldens=(packed,),
    )
    return write_bundle(path, manifest, {**files, "m.onnx": fused_content()})


FRAME = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
AS_INPUT = FRAME.transpose(2, 0, 1)[None].astype(np.float32)


def test_frame_golden_replays_on_an_artifact_with_fused_preprocessing(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed here")
    golden = Golden("frame", {"image": FRAME}, {"y": AS_INPUT})

    replays = verify_bundle(make_fused_bundle(tmp_path / "m.edgekit", golden))

    assert {replay.status for replay in replays} == {"passed"}


def test_tensor_golden_is_skipped_on_an_artifact_that_takes_frames(tmp_path: Path) -> None:
    golden = Golden("tensor", {"image": AS_INPUT}, {"y": AS_INPUT})

    replays = verify_bundle(make_fused_bundle(tmp_path / "m.edgekit", golden))

    assert {(replay.status, replay.reason) for replay in replays} == {
        ("skipped", "it takes frames for image; the goldens hold none")
    }


@pytest.mark.parametrize("folder", [False, True], ids=["zip", "folder"])
@pytest.mark.parametrize("device", ["auto", "onnxruntime", "openvino", "litert"])
def test_bundle_loads_on_the_device_asked_for(device: str, folder: bool, tmp_path: Path) -> None:
    golden = a_golden()
    path = tmp_path / "tiny.edgekit"
    make_bundle(path, (golden,), folder=folder)

    with load(path, device=device) as session:
        outputs = session.run(golden.inputs)

        assert device in ("auto", session.runtime)
        assert session.inputs == INPUTS
    _assert_close(outputs, golden.outputs)


def test_tensorrt_artifact_runs_as_a_simulation_that_says_so(tmp_path: Path) -> None:
    golden = a_golden()
    bundle = make_bundle(tmp_path / "tiny.edgekit", (golden,))

    with load(bundle, device="onnxruntime", artifact="tensorrt-fp32") as session:
        _assert_close(session.run(golden.inputs), golden.outputs)

        assert "simulation" in session.reason


def _assert_close(actual: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    for name, values in expected.items():
        np.testing.assert_array_equal(actual[name], values)
