"""``calibrate`` and its command: from a model and photos to a file of ranges."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from tiny_onnx import DATA, build, conv_relu

from edgekit.calibration.observers import OBSERVERS
from edgekit.cli.main import main
from edgekit.converters.evaluate import evaluate
from edgekit.errors import CalibrationError, UsageError
from edgekit.pipeline.build import load_source
from edgekit.pipeline.calibration import calibrate
from edgekit.preprocess import Preprocess
from edgekit.ranges import Ranges

STEPS = {"": Preprocess.parse("stretch,rgb,scale=1/255")}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(conv_relu(), path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(40):
        picture = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index:02}.png"), picture)
    return folder


def test_ranges_are_those_of_the_models_own_activations(model: Path, photos: Path) -> None:
    result = calibrate(model, photos, preprocess=STEPS, method="minmax")

    graph = load_source(model, shapes={})
    pictures = [cv2.imread(str(path)) for path in sorted(photos.iterdir())]
    inputs = [STEPS[""].apply(picture, graph.inputs[0]) for picture in pictures]
    outputs = [evaluate(graph, {"x": x})["y"] for x in inputs]
    assert set(result.ranges.ranges) == {"x", "y"}
    assert result.ranges.ranges["y"].high == pytest.approx(np.max(outputs), rel=1e-5)
    assert result.ranges.ranges["x"].high == np.max(inputs)


@pytest.mark.parametrize("method", OBSERVERS)
def test_every_method_can_be_chosen(model: Path, photos: Path, method: str) -> None:
    result = calibrate(model, photos, preprocess=STEPS, method=method)

    methods = {chosen.method for chosen in result.ranges.ranges.values()}
    assert method == "auto" or methods == {method}


def test_a_model_that_gives_nan_is_named(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Log", ["x"], ["y"])
    onnx.save(build([node], inputs={"x": [1, 4]}, outputs={"y": [1, 4]}), tmp_path / "log.onnx")
    np.save(tmp_path / "x.npy", np.float32([[1, 2, 3, 4], [1, 2, -3, 4]]))

    with pytest.raises(CalibrationError, match=r"'y' holds NaN or infinity on sample x\.npy\[1\]"):
        calibrate(tmp_path / "log.onnx", tmp_path / "x.npy")


def test_the_command_writes_a_file_and_prints_a_table(
    model: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "zz.png").write_bytes(b"no picture")
    words = ["calibrate", str(model), "-c", str(photos)]
    words += ["--preprocess", "stretch,rgb,scale=1/255", "--samples", "41"]

    status = main(words)

    assert status == 0
    ranges = Ranges.load(model.with_suffix(".ranges.json"))
    assert ranges.samples == 40
    printed = capsys.readouterr().out
    assert "2 tensors from 40 samples" in printed
    assert "skipped: zz.png" in printed


def test_the_command_answers_in_json(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["calibrate", str(model), "-c", str(photos), "-o", str(tmp_path / "r.json"), "--json"]
    words += ["--preprocess", "stretch,rgb", "--samples", "4", "--method", "mse", "--resume"]

    status = main(words)

    data = json.loads(capsys.readouterr().out)
    assert status == 0
    assert data["methods"] == {"mse": 2}
    assert "few" in [finding["code"] for finding in data["findings"]]
    assert not (tmp_path / "r.json.state").exists()


def test_a_mistyped_method_is_refused(model: Path, photos: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'entropy'"):
        calibrate(model, photos, preprocess=STEPS, method="entrop")


def test_a_model_that_is_quantized_already_is_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "qdq.onnx"
    onnx.save(rounded_model(), path)

    status = main(["calibrate", str(path), "-c", str(photos), "--preprocess", "stretch,rgb"])

    told = capsys.readouterr().err
    assert status == UsageError.exit_status
    assert "qdq.onnx is quantized already (1 QuantizeLinear, 1 DequantizeLinear)" in told
    assert "edgekit convert qdq.onnx takes its own scales" in told
    assert not path.with_suffix(".ranges.json").exists()


def test_a_model_of_integer_operators_is_refused(photos: Path, tmp_path: Path) -> None:
    node = onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    cast = onnx.helper.make_node("Cast", ["q"], ["y"], to=onnx.TensorProto.FLOAT)
    shape = [1, 3, 16, 16]
    onnx.save(build([node, cast], inputs={"x": shape}, outputs={"y": shape}), tmp_path / "d.onnx")

    with pytest.raises(UsageError, match=r"1 DynamicQuantizeLinear.*; give the float model"):
        calibrate(tmp_path / "d.onnx", photos, preprocess=STEPS)


def rounded_model() -> onnx.ModelProto:
    """Return a model of one tensor rounded to 8 bits."""
    shape = [1, 3, 16, 16]
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    constants = {"s": np.float32(0.1), "z": np.int8(0)}
    return build(nodes, inputs={"x": shape}, outputs={"y": shape}, constants=constants)


def test_a_trained_detector_gets_ranges(tmp_path: Path) -> None:
    model = DATA / "model-face-mobileface-v2" / "mobileface_v2.onnx"
    if not model.exists():
        pytest.skip("no MobileFace V2 beside the repository")
    steps = {"": Preprocess.parse("stretch,rgb")}

    result = calibrate(model, DATA / "data-faces-caltech", preprocess=steps, limit=8)

    ranges = result.ranges.ranges
    # Relu6 is written as a maximum and a minimum there.
    sixes = [chosen for name, chosen in ranges.items() if name.startswith("_minimumscalar")]
    assert sixes
    assert all(chosen.low == 0 and chosen.high <= 6 for chosen in sixes)
