"""The example's model is really trained, and its held-out pictures are really held out."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgekit.preprocess import Preprocess
from edgekit.tensor import DType, TensorSpec

cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install 'edgekit[vision]'")
ort = pytest.importorskip("onnxruntime", reason="needs pip install 'edgekit[onnxruntime]'")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "digits"
LABELS = (FOLDER / "labels.txt").read_text(encoding="utf-8").split()
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'edgekit[test]'")
    pytest.importorskip("onnx", reason="needs pip install 'edgekit[convert]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        return importlib.import_module("train_digits")


@pytest.fixture(scope="module")
def preprocess() -> Preprocess:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    line = next(line for line in readme.splitlines() if line.startswith("    letterbox"))
    return Preprocess.parse(line.strip())


@pytest.fixture(scope="module")
def classify(preprocess: Preprocess) -> Any:
    session = ort.InferenceSession(str(FOLDER / "digits.onnx"), providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    spec = TensorSpec(source.name, DType.FLOAT32, tuple(source.shape))

    def probabilities(frame: Any) -> Any:
        return session.run(["probabilities"], {spec.name: preprocess.apply(frame, spec)})[0][0]

    return probabilities


def test_the_model_reads_held_out_digits(classify: Any) -> None:
    held_out = np.load(FOLDER / "heldout.npz")

    answers = [classify(frame).argmax() for frame in held_out["frames"]]

    assert len(answers) == 360
    assert np.mean(answers == held_out["labels"]) >= 0.98


def test_the_model_reads_enlarged_held_out_digits(classify: Any) -> None:
    held_out = np.load(FOLDER / "heldout.npz")
    pictures = [
        cv2.resize(frame, (96, 96), interpolation=cv2.INTER_CUBIC) for frame in held_out["frames"]
    ]

    answers = [classify(picture).argmax() for picture in pictures]

    assert np.mean(answers == held_out["labels"]) >= 0.98


@pytest.mark.parametrize("label", LABELS)
def test_the_model_reads_the_picture_with_most_of_its_weight(classify: Any, label: str) -> None:
    probabilities = classify(cv2.imread(str(FOLDER / f"{label}.png")))

    assert LABELS[probabilities.argmax()] == label
    assert probabilities.max() > 0.5
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_the_committed_held_out_set_is_the_scripts_own(script: ModuleType) -> None:
    frames, labels = script.load_frames()
    is_test = script.held_out(len(frames))
    committed = np.load(FOLDER / "heldout.npz")

    np.testing.assert_array_equal(committed["frames"], frames[is_test])
    np.testing.assert_array_equal(committed["labels"], labels[is_test])


def test_readme_and_script_state_the_same_preprocessing(
    script: ModuleType, preprocess: Preprocess
) -> None:
    assert Preprocess.parse(script.PREPROCESS) == preprocess


def test_the_model_keeps_the_operators_that_converters_have_to_lower() -> None:
    onnx = pytest.importorskip("onnx", reason="needs pip install 'edgekit[convert]'")
    path = FOLDER / "digits.onnx"

    model = onnx.load(path)

    assert path.stat().st_size < MOST_BYTES
    assert [item.version for item in model.opset_import] == [18]
    assert {node.op_type for node in model.graph.node} == {
        "Conv", "BatchNormalization", "Relu", "MaxPool", "Add",
        "GlobalAveragePool", "Flatten", "Gemm", "Softmax",
    }  # fmt: skip


@pytest.mark.parametrize("depthwise", [False, True])
def test_the_convolutions_gradient_is_that_of_finite_differences(
    script: ModuleType, depthwise: bool
) -> None:
    network = importlib.import_module("numpy_network")
    rng = np.random.default_rng(3)
    channels = (2, 2) if depthwise else (2, 3)
    layer = network.Conv(channels, kernel=3, stride=2, depthwise=depthwise, rng=rng)
    x = rng.standard_normal((2, 2, 6, 6))
    slope = rng.standard_normal(layer.forward(x, training=True).shape)
    nudge = rng.standard_normal(x.shape)
    step = 1e-3

    by_x = layer.backward(slope)

    above = (layer.forward(x + step * nudge, training=True) * slope).sum()
    below = (layer.forward(x - step * nudge, training=True) * slope).sum()
    assert (by_x * nudge).sum() == pytest.approx((above - below) / (2 * step), rel=1e-3)


def test_training_lowers_the_loss(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "EPOCHS", 8)
    frames, labels = script.load_frames()
    inputs, labels = script.network_inputs(list(frames[:256])), labels[:256]
    rng = np.random.default_rng(0)
    layers = script.build_network(rng)

    script.train(layers, inputs, labels, rng=rng)

    logits = script.forward(layers, inputs, training=True)
    log_odds = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    guessing = np.log(10)
    assert -log_odds[np.arange(256), labels].mean() < guessing / 2


def test_the_calibration_pictures_are_trained_on_and_not_held_out(script: ModuleType) -> None:
    frames, _ = script.load_frames()
    training = {frame.tobytes() for frame in frames[~script.held_out(len(frames))]}
    given = np.load(FOLDER / "calibration.npz")["frames"]
    unseen = {frame.tobytes() for frame in np.load(FOLDER / "heldout.npz")["frames"]}

    chosen = {frame.tobytes() for frame in given}

    assert len(chosen) == len(given) == 100
    assert chosen <= training
    assert not chosen & unseen


def test_the_calibration_file_can_be_written_without_training(
    script: ModuleType, tmp_path: Path
) -> None:
    script.main(["--output", str(tmp_path), "--calibration-only"])

    assert [path.name for path in tmp_path.iterdir()] == ["calibration.npz"]
    written = np.load(tmp_path / "calibration.npz")["frames"]
    np.testing.assert_array_equal(written, np.load(FOLDER / "calibration.npz")["frames"])
