"""Precisions other than int8, from the command to the bundle: what is asked, what is promised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from quantize_models import noise, residual
from test_four_bits import products

from edgekit.bundle import Bundle
from edgekit.cli.main import main
from edgekit.converters.onnx_model import write_graph
from edgekit.converters.quantize import SCHEMES
from edgekit.target import TARGETS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, graph in (("net", residual()), ("products", products())):
        write_graph(graph, tmp_path / f"{name}.onnx")
        frames = np.concatenate([feed["x"] for feed in noise(graph, 32)])
        np.save(tmp_path / f"{name}.npy", frames)
    return tmp_path


def convert(folder: Path, name: str, *words: str) -> int:
    model, bundle = (str(folder / f"{name}{ending}") for ending in (".onnx", ".edgekit"))
    return main(["convert", model, "-o", bundle, *words])


@pytest.mark.parametrize("target", ["onnx:w8", "openvino:w8", "tflite:w8", "tflite:w8a32"])
def test_weights_alone_need_no_data_where_nothing_is_promised(
    folder: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = convert(folder, "net", "-t", target)

    assert status == 0
    assert Bundle.open(folder / "net.edgekit").manifest.contract is None
    assert "nothing is promised about the loss" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--max-drop", "1%"], ["--metric", "cosine"]], ids=" ".join)
def test_a_promise_needs_something_to_measure_on(
    folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status = convert(folder, "net", "-t", "onnx:w8", *words)

    assert status == 2
    assert "give --validation" in capsys.readouterr().err
    assert not (folder / "net.edgekit").exists()


def test_int8_beside_weights_alone_still_needs_data(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = convert(folder, "net", "-t", "onnx:w8", "-t", "openvino:int8")

    assert status == 2
    assert "--calibration" in capsys.readouterr().err


@dataclass(frozen=True)
class Kept:
    id: str
    model: str
    targets: tuple[str, ...]


KEPT = [
    Kept("w8a16", "net", ("tflite:w8a16",)),
    Kept("w4", "products", ("onnx:w4", "openvino:w4", "tflite:w4")),
]


@pytest.mark.parametrize("case", KEPT, ids=lambda case: case.id)
def test_the_contract_measures_it_on_the_runtime_of_each_target(case: Kept, folder: Path) -> None:
    words = [word for target in case.targets for word in ("-t", target)]
    data = str(folder / f"{case.model}.npy")

    status = convert(folder, case.model, *words, "-c", data, "--max-drop", "2%")

    contract = Bundle.open(folder / f"{case.model}.edgekit").manifest.contract
    assert status == 0
    assert contract is not None
    assert {item.artifact for item in contract.figures} == {
        target.replace(":", "-") for target in case.targets
    }
    assert all(item.status == "measured" and item.lost <= 0.02 for item in contract.figures)


def test_where_only_weights_are_integers_no_other_ranges_are_tried(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(folder / "products.npy")

    convert(folder, "products", "-t", "onnx:w4", "-c", data, "--max-drop", "0.001%")

    told = capsys.readouterr().err
    assert "adaptive rounding" in told
    assert "nodes in float" in told  # the last rung: all others were tried before
    assert "ranges by minmax" not in told


def test_the_second_file_for_tensorrt_is_held_against_the_measured_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = convert(folder, "net", "-t", "tensorrt:int8", "-c", str(folder / "net.npy"))

    told = capsys.readouterr().out
    assert status == 0
    assert "tensorrt-int8: the file for TensorRT 11, float16 between the pairs, has cosine" in told
    artifact = Bundle.open(folder / "net.edgekit").artifact("tensorrt-int8")
    assert set(artifact.files) == {"model", "typed", "calibration"}


@pytest.mark.parametrize("format", ["onnx", "openvino", "tflite", "tensorrt"])
def test_every_quantized_precision_of_a_target_has_a_scheme(format: str) -> None:
    asked = {
        precision
        for target in TARGETS.values()
        if target.format == format
        for precision in target.precisions
    }

    known = {scheme.precision for scheme in SCHEMES.values() if scheme.format == format}
    assert asked - {"fp32", "fp16"} == known
