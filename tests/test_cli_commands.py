"""Each command on the example model: what it prints, its JSON, its exit status."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from digits import LABELS, MODEL, PICTURE, PREPROCESS
from onnx import numpy_helper

from edgekit.bundle import Bundle
from edgekit.cli import COMMANDS
from edgekit.cli.main import main
from edgekit.runtimes import RUNTIMES

pytestmark = pytest.mark.skipif(
    any(entry.missing() for entry in RUNTIMES.values()), reason="not every runtime is here"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "digits.edgekit"
    status = main(
        ["convert", str(MODEL), "-t", "onnx", "-t", "openvino", "-t", "tflite", "-t", "tensorrt",
         "--labels", str(LABELS), "--preprocess", PREPROCESS, "--golden", str(PICTURE),
         "-o", str(path)]
    )  # fmt: skip
    assert status == 0
    return path


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@dataclass(frozen=True)
class Case:
    """A command on the bundle, and what its text must say."""

    words: tuple[str, ...]
    says: tuple[str, ...]

    @property
    def id(self) -> str:
        return self.words[0]


CASES = (
    Case(("inspect",), ("digits.onnx", "NCHW", "openvino-fp32", "verified", "seven.png")),
    Case(
        ("verify",),
        ("compared with their hash", "passed", "tensorrt-fp32: unverified: needs an NVIDIA GPU"),
    ),
    Case(("bench", "--rounds", "5", "--no-memory"), ("median", "litert", "CPUs", "tensorrt")),
    Case(("run", "--input", str(PICTURE)), ("seven", "score")),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_command_prints_what_it_found(
    case: Case, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main([case.words[0], str(bundle), *case.words[1:]])

    text = capsys.readouterr().out
    assert status == 0
    assert [word for word in case.says if word not in text] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_json_is_one_document(case: Case, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, case.words[0], str(bundle), *case.words[1:])

    assert document


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])

    assert left.value.code == 0
    assert f"edgekit {name}" in capsys.readouterr().out


def test_convert_says_what_is_unverified_and_why(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["convert", str(MODEL), "-t", "tensorrt", "-o", str(tmp_path / "x.edgekit")])

    assert "tensorrt-fp32: unverified: needs an NVIDIA GPU" in capsys.readouterr().out


def test_convert_json_has_each_artifact_s_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = run_json(
        capsys, "convert", str(MODEL), "-t", "tflite:fp16", "-o", str(tmp_path / "x.edgekit")
    )

    (artifact,) = document["artifacts"]
    assert artifact["name"] == "tflite-fp16"
    assert artifact["status"]["state"] == "verified"
    assert artifact["outputs"][0]["cosine"] > 0.999


def test_convert_writes_beside_the_model_by_default(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(MODEL.read_bytes())

    status = main(["convert", str(model), "-t", "onnx", "--no-verify"])

    assert status == 0
    assert Bundle.open(tmp_path / "m.edgekit").artifacts[0].name == "onnx-fp32"


def test_precision_is_for_targets_that_name_none(tmp_path: Path) -> None:
    output = tmp_path / "x.edgekit"

    main(["convert", str(MODEL), "-t", "tflite:fp32", "-t", "openvino", "--precision", "fp16",
          "--no-verify", "-o", str(output)])  # fmt: skip

    names = [artifact.name for artifact in Bundle.open(output).artifacts]
    assert names == ["tflite-fp32", "openvino-fp16"]


def test_verify_fails_with_8_where_an_artifact_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = spoiled_bundle(tmp_path)

    status = main(["verify", str(bundle)])

    captured = capsys.readouterr()
    assert status == 8
    assert "FAILED" in captured.out
    assert "onnx-fp32 on onnxruntime" in captured.err


@pytest.mark.parametrize("command", ["verify", "compare"])
def test_a_failure_is_told_in_one_json_document(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = spoiled_bundle(tmp_path)
    words = [str(MODEL), str(bundle)] if command == "compare" else [str(bundle)]
    capsys.readouterr()  # what making the bundle printed

    status = main([command, *words, "--json"])

    captured = capsys.readouterr()
    assert status == 8
    assert isinstance(json.loads(captured.out), dict)
    assert "EK600" in captured.err


def test_verify_fails_with_5_where_a_file_was_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "x.edgekit"
    main(["convert", str(MODEL), "-t", "onnx", "--folder", "-o", str(folder)])
    model = folder / "onnx-fp32" / "model.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)

    status = main(["verify", str(folder)])

    assert status == 5
    assert "EK303" in capsys.readouterr().err


def test_compare_passes_on_the_bundle_s_own_model(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["compare", str(MODEL), str(bundle)])

    text = capsys.readouterr().out
    assert status == 0
    assert "tflite-fp32 on litert" in text
    assert "tensorrt-fp32: unverified" in text
    assert "every rung that runs here agrees" in text


def test_compare_names_the_operator_of_a_changed_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, node = spoiled_model(tmp_path)

    status = main(["compare", str(MODEL), str(wrong)])

    assert status == 8
    assert f"at node '{node}' (Conv)" in capsys.readouterr().err


def test_compare_says_that_a_bundle_s_file_is_not_what_the_model_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["compare", str(MODEL), str(spoiled_bundle(tmp_path))])

    assert status == 8
    assert "emitted again from the model" in capsys.readouterr().err


def test_run_keeps_all_outputs(bundle: Path, tmp_path: Path) -> None:
    main(["run", str(bundle), "--input", str(PICTURE), "--output", str(tmp_path / "out.npz")])

    scores = np.load(tmp_path / "out.npz")["probabilities"]
    assert scores.shape == (1, 10)
    assert scores.argmax() == 7


def test_run_takes_arrays_by_name_and_plain_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 32, 32), np.float32))

    status = main(["run", str(MODEL), "--input", f"image={tmp_path / 'x.npy'}"])

    text = capsys.readouterr().out
    assert status == 0
    assert "probabilities" in text and "1 x 10" in text


def test_run_refuses_a_picture_without_preprocessing(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["run", str(MODEL), "--input", str(PICTURE)])

    assert status == 2
    assert "--preprocess" in capsys.readouterr().err


def test_inspect_reads_every_kind_of_model_file(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Bundle.open(bundle)
    for artifact in opened.artifacts:
        for path in artifact.files.values():
            target = tmp_path / path
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(opened.read(path))

    files = ("onnx-fp32/model.onnx", "openvino-fp32/model.xml", "tflite-fp32/model.tflite")
    documents = [run_json(capsys, "inspect", str(tmp_path / file)) for file in files]

    assert [document["format"] for document in documents] == ["onnx", "openvino", "tflite"]
    assert [document["inputs"][0]["name"] for document in documents] == ["image"] * 3
    shapes = [document["inputs"][0]["shape"] for document in documents]
    assert shapes == [[1, 1, 32, 32], [1, 1, 32, 32], [1, 32, 32, 1]]
    assert all(sum(document["operators"].values()) > 10 for document in documents)


def test_inspect_refuses_xml_with_entities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.xml").write_text('<!DOCTYPE net [<!ENTITY a "aa">]><net>&a;</net>')
    (tmp_path / "x.bin").write_bytes(b"")

    status = main(["inspect", str(tmp_path / "x.xml")])

    assert status == 4
    assert "document type" in capsys.readouterr().err


def test_doctor_lists_every_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor"])

    text = capsys.readouterr().out
    assert status == 0
    assert [name for name in RUNTIMES if name not in text] == []


def spoiled_model(folder: Path) -> tuple[Path, str]:
    """Write the example with the weights of one convolution enlarged; return its name too."""
    model = onnx.load(MODEL)
    node = [item for item in model.graph.node if item.op_type == "Conv"][3]
    for tensor in model.graph.initializer:
        if tensor.name == node.input[1]:
            weights = numpy_helper.to_array(tensor).copy()
            weights[0] *= 1.5
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    onnx.save(model, folder / "spoiled.onnx")
    return folder / "spoiled.onnx", node.name


def spoiled_bundle(folder: Path) -> Path:
    """Return a bundle whose hashes hold and whose model is not the golden outputs' model."""
    from edgekit.bundle import write_bundle

    honest, wrong = folder / "honest.edgekit", folder / "wrong.edgekit"
    main(["convert", str(MODEL), "-t", "onnx", "-o", str(honest)])
    opened = Bundle.open(honest)
    files: dict[str, bytes | Path] = {path: opened.read(path) for path in opened.manifest.files}
    files["onnx-fp32/model.onnx"] = spoiled_model(folder)[0]
    write_bundle(wrong, opened.manifest, files)
    return wrong
