"""``edgekit quantize``: one artifact from a model and its ranges, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from quantize_models import minmax_ranges, noise, residual, sqnr_db
from test_four_bits import products

from edgekit.bundle.hashing import file_sha256
from edgekit.cli.main import main
from edgekit.converters.evaluate import evaluate
from edgekit.converters.onnx_model import read_graph, write_graph
from edgekit.runtimes.select import load

NETWORK_SQNR_DB = 20.0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    graph = residual()
    path = tmp_path / "net.onnx"
    write_graph(graph, path)
    ranges = replace(minmax_ranges(graph, noise(graph)), model=file_sha256(path))
    ranges.save(tmp_path / "ranges.json")
    return path


def words(model: Path, target: str, *more: str) -> list[str]:
    ranges = model.with_name("ranges.json")
    return ["quantize", str(model), "--ranges", str(ranges), "--target", target, *more]


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_the_artifact_runs_near_the_model(model: Path, target: str, tmp_path: Path) -> None:
    graph = read_graph(model)
    feed = noise(graph)[0]

    status = main(words(model, target, "-o", str(tmp_path / "out")))

    file = next(path for path in (tmp_path / "out").iterdir() if path.suffix in (".onnx", ".xml"))
    with load(file) as session:
        result = session.run(feed)
    assert status == 0
    assert sqnr_db(evaluate(graph, feed)["y"], result["y"]) > NETWORK_SQNR_DB


def test_it_says_what_stays_float_and_why(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words(model, "onnx", "-o", str(tmp_path / "out"), "--keep-float", "third"))

    out = capsys.readouterr().out
    assert "kept float on request" in out
    assert "in integers" in out


def test_the_json_form_names_every_node(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words(model, "tensorrt", "-o", str(tmp_path / "out"), "--json"))

    data = json.loads(capsys.readouterr().out)
    assert data["scheme"] == "tensorrt-int8"
    assert "head" in data["float"]
    assert "third" in data["integer"]
    assert set(data["files"]) == {"model", "typed", "calibration"}


def test_a_fix_uses_the_samples(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.concatenate([feed["x"] for feed in noise(residual(), 8)]))
    plain, fixed = tmp_path / "plain", tmp_path / "fixed"

    main(words(model, "onnx", "-o", str(plain)))
    more = ["-o", str(fixed), "--fix", "bias_correction", "-c", str(tmp_path / "x.npy")]
    main(words(model, "onnx", *more))

    def biases(folder: Path) -> list[bytes]:
        graph = onnx.load(folder / "model.onnx").graph
        return sorted(
            t.raw_data for t in graph.initializer if t.data_type == onnx.TensorProto.INT32
        )

    assert biases(plain) != biases(fixed)


def test_a_fix_without_samples_is_refused(model: Path, tmp_path: Path) -> None:
    status = main(words(model, "onnx", "-o", str(tmp_path / "out"), "--fix", "adaptive_rounding"))

    assert status == 2
    assert not (tmp_path / "out").exists()


def test_ranges_of_another_model_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = onnx.load(model)
    other.doc_string = "trained again"
    onnx.save(other, model)

    status = main(words(model, "onnx", "-o", str(tmp_path / "out")))

    assert status == 7
    assert "another model" in capsys.readouterr().err


def test_a_precision_that_the_target_lacks_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(words(model, "tensorrt:w8", "-o", str(tmp_path / "out")))

    assert status == 2
    assert "cannot be 'w8'" in capsys.readouterr().err


def test_a_folder_with_files_is_not_written_over(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")

    status = main(words(model, "onnx", "-o", str(tmp_path / "out")))

    assert status == 2
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


def run_written(folder: Path, feed: dict[str, np.ndarray]) -> np.ndarray:
    """Return what the folder's model gives; a plain TFLite file has channels last."""
    suffixes = (".onnx", ".xml", ".tflite")
    file = next(path for path in folder.iterdir() if path.suffix in suffixes)
    with load(file) as session:
        if file.suffix != ".tflite":
            return session.run(feed)["y"]
        return session.run({"x": feed["x"].transpose(0, 2, 3, 1)})["y"]


@pytest.mark.parametrize("target", ["onnx:w8", "openvino:w8", "tflite:w8", "tflite:w8a32"])
def test_weights_alone_need_no_ranges(model: Path, target: str, tmp_path: Path) -> None:
    graph = read_graph(model)
    feed = noise(graph)[0]

    status = main(["quantize", str(model), "-t", target, "-o", str(tmp_path / "out")])

    assert status == 0
    assert (
        sqnr_db(evaluate(graph, feed)["y"], run_written(tmp_path / "out", feed)) > NETWORK_SQNR_DB
    )


def test_activations_without_ranges_are_refused_with_the_command_to_run(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["quantize", str(model), "-t", "onnx"])

    assert status == 2
    said = capsys.readouterr().err
    assert "edgekit calibrate" in said
    assert "onnx:w8" in said


@pytest.fixture
def quantized(model: Path, tmp_path: Path) -> Path:
    main(words(model, "onnx", "-o", str(tmp_path / "other")))
    return tmp_path / "other" / "model.onnx"


@pytest.mark.parametrize("target", ["openvino", "tflite", "onnx"])
def test_a_quantized_source_brings_its_own_integers(
    quantized: Path, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    feed = noise(residual())[0]

    status = main(["quantize", str(quantized), "-t", target, "-o", str(tmp_path / "out")])

    assert status == 0
    assert "quantized already" in capsys.readouterr().out
    assert (
        sqnr_db(evaluate(residual(), feed)["y"], run_written(tmp_path / "out", feed))
        > NETWORK_SQNR_DB
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-t", "openvino", "--ranges", "ranges.json"], "leave out --calibration and --ranges"),
        (["-t", "openvino:w8"], "give --precision int8"),
        (["-t", "tensorrt"], "needs zero points of 0"),
    ],
    ids=["ranges", "precision", "symmetry"],
)
def test_what_a_quantized_source_cannot_give_is_refused(
    quantized: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ranges = str(quantized.parent.with_name("ranges.json"))
    more = [ranges if word == "ranges.json" else word for word in more]

    status = main(["quantize", str(quantized), *more])

    assert status == 2
    assert said in capsys.readouterr().err


def test_a_source_of_integer_weights_stays_one_without_being_told(tmp_path: Path) -> None:
    write_graph(products(), tmp_path / "net.onnx")
    other = str(tmp_path / "other")
    main(["quantize", str(tmp_path / "net.onnx"), "-t", "onnx:w8", "-o", other])

    status = main(["quantize", f"{other}/model.onnx", "-t", "tflite", "-o", str(tmp_path / "out")])

    assert status == 0
    assert (tmp_path / "out" / "model.tflite").is_file()
