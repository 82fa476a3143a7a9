"""``edgekit.convert``: every artifact is run and compared, and what cannot be run says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from digits import DIGITS, LABELS, MODEL, PICTURE, PREPROCESS, ROOT

import edgekit
from edgekit.bundle import Bundle
from edgekit.converters.onnx_model import write_graph
from edgekit.errors import (
    BundleError,
    GateError,
    InputError,
    ModelFormatError,
    ShapeError,
    UsageError,
)
from edgekit.graph import Graph, Node
from edgekit.pipeline import ConversionResult, build, convert
from edgekit.preprocess import Preprocess
from edgekit.runtimes import RUNTIMES
from edgekit.runtimes.parity import FAILED, PASSED, verify_bundle
from edgekit.runtimes.usable import why_unusable
from edgekit.tensor import Dim, DType, TensorSpec

STEPS = {"image": Preprocess.parse(PREPROCESS)}
TARGETS = ("onnx", "openvino", "openvino:fp16", "tflite", "tflite:fp16", "tensorrt")
HEAVY = ("onnxruntime", "openvino", "ai_edge_litert", "cv2", "rich")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ConversionResult:
    return convert(
        MODEL,
        targets=TARGETS,
        output=tmp_path_factory.mktemp("bundle") / "digits.edgekit",
        preprocess=STEPS,
        labels=LABELS,
        golden=[PICTURE],
    )


def small_graph(shape: tuple[Dim, ...]) -> Graph:
    spec, result = TensorSpec("x", DType.FLOAT32, shape), TensorSpec("y", DType.FLOAT32, shape)
    return Graph(
        name="small",
        nodes=(Node("Tanh", ("x",), ("y",), name="bend"),),
        inputs=(spec,),
        outputs=(result,),
        initializers={},
        values={"x": spec, "y": result},
        opset=18,
    )


def write_small(folder: Path, *shape: Dim) -> Path:
    path = folder / "small.onnx"
    write_graph(small_graph(shape), path)
    return path


def test_every_target_becomes_an_artifact(result: ConversionResult) -> None:
    names = [artifact.name for artifact in result.bundle.artifacts]

    assert names == [
        "onnx-fp32", "openvino-fp32", "openvino-fp16", "tflite-fp32", "tflite-fp16",
        "tensorrt-fp32",
    ]  # fmt: skip


def test_what_runs_here_is_verified_with_its_figures(result: ConversionResult) -> None:
    manifest = result.bundle.manifest
    missing = {name for name, entry in RUNTIMES.items() if entry.missing()}
    if missing:
        pytest.skip(f"{', '.join(sorted(missing))} is not installed here")

    verified = {name for name, status in manifest.status.items() if status.is_verified}
    assert verified == {artifact.name for artifact in manifest.artifacts} - {"tensorrt-fp32"}
    assert {figures.artifact for figures in manifest.parity} == verified


def test_what_cannot_run_here_is_unverified_with_what_it_needs(result: ConversionResult) -> None:
    status = result.bundle.manifest.status_of("tensorrt-fp32")

    assert not status.is_verified
    assert "NVIDIA GPU" in status.reason


def test_the_goldens_replay_on_every_runtime_here(result: ConversionResult) -> None:
    replays = verify_bundle(result.bundle)

    assert [replay for replay in replays if replay.status == FAILED] == []
    assert any(replay.status == PASSED for replay in replays)


def test_a_golden_picture_is_kept_as_the_frame(result: ConversionResult) -> None:
    (golden,) = result.bundle.goldens()

    assert golden.origin == "seven.png"
    assert golden.inputs["image"].dtype == np.uint8
    assert golden.inputs["image"].shape == (96, 96, 3)


def test_the_bundle_knows_its_source_and_its_tools(result: ConversionResult) -> None:
    manifest = result.bundle.manifest

    assert manifest.source.file_name == "digits.onnx"
    assert manifest.labels[7] == "seven"
    assert {"onnx", "numpy", "flatbuffers"} <= set(manifest.tools)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_loaded_bundle_names_the_digit(runtime: str, result: ConversionResult) -> None:
    if reason := why_unusable(runtime):
        pytest.skip(f"{runtime}: {reason}")
    cv2 = pytest.importorskip("cv2")
    frame = cv2.imread(str(PICTURE))

    with edgekit.load(result.bundle, device=runtime) as session:
        scores = session.run({"image": frame})["probabilities"]

    assert result.bundle.labels[int(scores.argmax())] == "seven"


def test_fused_artifacts_take_the_frame_and_agree(tmp_path: Path) -> None:
    fused = convert(
        MODEL,
        targets=["onnx", "openvino", "tflite"],
        output=tmp_path / "fused.edgekit",
        preprocess=STEPS,
        fuse_preprocess=True,
        golden=[PICTURE],
    )

    assert all(artifact.fused_preprocess == ("image",) for artifact in fused.bundle.artifacts)
    assert [r.artifact for r in verify_bundle(fused.bundle) if r.status == FAILED] == []


def test_without_samples_the_golden_is_seeded_noise_and_says_so(tmp_path: Path) -> None:
    model = write_small(tmp_path, 1, 4)

    made = convert(model, targets=["onnx"], output=tmp_path / "small.edgekit")

    assert [golden.origin for golden in made.bundle.manifest.goldens] == ["noise, seed 0"]


def test_a_dynamic_batch_is_fixed_for_tflite_with_a_note(tmp_path: Path) -> None:
    model = write_small(tmp_path, "batch", 4)

    made = convert(model, targets=["onnx", "tflite"], output=tmp_path / "small.edgekit")

    assert made.bundle.artifact("tflite-fp32").inputs[0].shape == (1, 4)
    assert made.bundle.artifact("onnx-fp32").inputs[0].shape == ("batch", 4)
    assert "batch" in made.notes[0] and "= 1" in made.notes[0]


def test_a_session_refuses_a_batch_that_its_artifact_fixed(tmp_path: Path) -> None:
    if RUNTIMES["litert"].missing():
        pytest.skip("litert is not installed here")
    model = write_small(tmp_path, "batch", 4)
    made = convert(model, targets=["onnx", "tflite"], output=tmp_path / "small.edgekit")

    with (
        edgekit.load(made.bundle, device="litert") as session,
        pytest.raises(InputError, match=r"\(1, 4\)|1x4"),
    ):
        session.run({"x": np.zeros((3, 4), np.float32)})


def test_another_dynamic_size_for_tflite_asks_for_the_shape(tmp_path: Path) -> None:
    model = write_small(tmp_path, 1, "width")

    with pytest.raises(ShapeError, match="--shape x:1x224"):
        convert(model, targets=["tflite"], output=tmp_path / "small.edgekit")


def test_a_given_shape_is_used_by_every_target(tmp_path: Path) -> None:
    model = write_small(tmp_path, "batch", "width")

    made = convert(
        model, targets=["onnx", "tflite"], output=tmp_path / "s.edgekit", shapes={"": (2, 6)}
    )

    assert [a.inputs[0].shape for a in made.bundle.artifacts] == [(2, 6), (2, 6)]


def test_a_wrong_artifact_is_refused_and_the_old_bundle_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, output = write_small(tmp_path, 1, 4), tmp_path / "small.edgekit"
    convert(model, targets=["onnx"], output=output)
    before = output.read_bytes()
    real = build.simplify

    def break_it(graph: Graph) -> Graph:
        return real(graph).with_nodes([replace(graph.nodes[0], op_type="Sigmoid")])

    monkeypatch.setattr("edgekit.pipeline.simplify", break_it)

    with pytest.raises(GateError, match="simplify"):
        convert(model, targets=["onnx"], output=output)
    assert output.read_bytes() == before


@dataclass(frozen=True)
class Case:
    id: str
    options: dict[str, object]
    error: type[Exception]
    says: str


@pytest.mark.parametrize(
    "case",
    [
        Case("no_target", {"targets": []}, UsageError, "no target"),
        Case("twice", {"targets": ["openvino", "intel-cpu"]}, UsageError, "both the artifact"),
        Case("mistyped", {"targets": ["tfilte"]}, UsageError, "did you mean 'tflite'"),
        Case("no_fuse", {"fuse_preprocess": True}, UsageError, "no preprocessing to fuse"),
        Case("no_input", {"preprocess": {"img": STEPS["image"]}}, UsageError, "did you mean"),
        Case("no_golden", {"golden": [PICTURE], "verify": False}, UsageError, "golden"),
        Case("no_folder", {"output": "no/such/folder/x.edgekit"}, UsageError, "does not exist"),
        Case("shape", {"shapes": {"image": (1, 3, 32, 32)}}, ShapeError, "axis 1"),
        Case("labels", {"labels": PICTURE}, UsageError, "UTF-8"),
    ],
    ids=lambda case: case.id,
)
def test_a_wrong_option_is_refused_before_anything_is_written(case: Case, tmp_path: Path) -> None:
    options: dict[str, object] = {"targets": ["onnx"], "output": tmp_path / "x.edgekit"}

    with pytest.raises(case.error, match=case.says):
        convert(MODEL, **{**options, **case.options})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")

    with pytest.raises(BundleError, match="not an EdgeKit bundle"):
        convert(MODEL, targets=["onnx"], output=tmp_path / "precious.txt", verify=False)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_truncated_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(MODEL.read_bytes()[:5000])

    with pytest.raises(ModelFormatError, match=r"cut\.onnx"):
        convert(tmp_path / "cut.onnx", targets=["onnx"], output=tmp_path / "x.edgekit")


def test_without_verifying_no_engine_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys, edgekit; edgekit.convert(sys.argv[1], targets=['onnx', 'tflite'], "
        "output=sys.argv[2], verify=False);"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )

    found = subprocess.run(
        [sys.executable, "-c", script, str(MODEL), str(tmp_path / "x.edgekit")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert found.stdout == "[]\n"


def test_without_verifying_nothing_is_claimed(tmp_path: Path) -> None:
    made = convert(MODEL, targets=["onnx"], output=tmp_path / "x.edgekit", verify=False)

    status = made.bundle.manifest.status_of("onnx-fp32")
    assert (status.state, status.reason) == ("unverified", "converted with --no-verify")
    assert made.bundle.goldens() == ()


def test_stages_are_told_as_they_start(tmp_path: Path) -> None:
    stages: list[str] = []

    convert(
        MODEL, targets=["tflite"], output=tmp_path / "x.edgekit", verify=False,
        progress=stages.append,
    )  # fmt: skip

    assert stages == ["load digits.onnx", "simplify", "emit tflite-fp32", "write x.edgekit"]


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_conversion_leaves_nothing_half_written(
    number: signal.Signals, tmp_path: Path
) -> None:
    output, temporary = tmp_path / "out", tmp_path / "tmp"
    output.mkdir()
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", "convert", str(MODEL), "-t", "onnx", "-t", "tflite",
         "-o", str(output / "x.edgekit")],
        stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)}, cwd=ROOT,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not any(temporary.iterdir()) and process.poll() is None:
        assert time.monotonic() < deadline, "the conversion did not start"
        time.sleep(0.005)

    process.send_signal(number)
    _, errors = process.communicate(timeout=30)

    assert b"Traceback" not in errors
    assert list(temporary.iterdir()) == []
    left = [path.name for path in output.iterdir()]
    assert left in ([], ["x.edgekit"])
    if left:  # it was done before the signal came
        Bundle.open(output / "x.edgekit").verify_files()
    else:
        assert process.returncode == 128 + number


def test_the_example_model_is_right_on_pictures_it_never_saw(result: ConversionResult) -> None:
    held_out = np.load(DIGITS / "heldout.npz")

    with edgekit.load(result.bundle) as session:
        answers = [int(out["probabilities"].argmax()) for out in session.map(held_out["frames"])]

    assert np.mean(answers == held_out["labels"]) >= 0.98
