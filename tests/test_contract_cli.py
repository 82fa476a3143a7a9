"""The options of a quantized conversion, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from digits import MODEL, PREPROCESS, ROOT

from edgekit.cli.main import main
from edgekit.cli.terms import duration
from edgekit.errors import UsageError
from edgekit.runtimes import RUNTIMES

HELD_OUT = ROOT / "examples" / "digits" / "heldout.npz"
INT8 = ("--precision", "int8", "--calibration", str(HELD_OUT), "--preprocess", PREPROCESS)

needs_all = pytest.mark.skipif(
    any(entry.missing() for entry in RUNTIMES.values()), reason="not every runtime is here"
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("2M", 120)]
)
def test_a_time_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "ten", "-1s", "0", "1d", "nan", "inf"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="10m"):
        duration(text)


@needs_all
def test_the_command_of_the_readme_prints_what_was_promised_and_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = ("-t", "openvino", "-t", "tflite", "-t", "tensorrt")

    status = main(
        ["convert", str(MODEL), *targets, *INT8, "--max-drop", "1%", "-o", str(tmp_path / "d")]
    )

    printed = capsys.readouterr().out
    assert status == 0
    assert "contract kept: top1 loses at most 1%" in printed
    assert "onnxruntime" in printed
    assert "(simulated)" in printed
    assert "advice: litert:" in printed


@needs_all
def test_json_has_the_contract_and_nothing_else_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["convert", str(MODEL), "-t", "onnx:int8", *INT8, "-o", str(tmp_path / "d"), "--json"])

    document = json.loads(capsys.readouterr().out)
    assert document["contract"]["figures"][0]["artifact"] == "onnx-int8"
    assert document["contract"]["sensitivity"]


@needs_all
def test_a_refusal_has_its_own_exit_status_and_shows_the_frontier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--max-drop", "0", "--metric", "cosine", "--time", "0.01s")

    status = main(["convert", str(MODEL), "-t", "onnx", *INT8, *words, "-o", str(tmp_path / "d")])

    said = capsys.readouterr().err
    assert status == 7
    assert "EK510" in said
    assert "ranges by auto" in said
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    "words",
    [("--calibration", str(HELD_OUT)), ("--max-drop", "1%"), ("--time", "1m"), ("--resume",)],
)
def test_an_option_for_int8_without_such_a_target_is_refused(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["convert", str(MODEL), "-t", "onnx", *words, "-o", str(tmp_path / "d")])

    assert status == 2
    assert "--precision int8" in capsys.readouterr().err


def test_int8_without_data_names_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["convert", str(MODEL), "-t", "onnx:int8", "-o", str(tmp_path / "d")])

    assert status == 2
    assert "--calibration" in capsys.readouterr().err
