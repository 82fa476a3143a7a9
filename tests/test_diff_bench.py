"""``edgekit diff --bench`` times both bundles on this machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from digits import LABELS, MODEL

from edgekit.cli.main import main
from edgekit.runtimes import RUNTIMES

pytestmark = pytest.mark.skipif(
    bool(RUNTIMES["onnxruntime"].missing() or RUNTIMES["litert"].missing()),
    reason="ONNX Runtime and LiteRT are needed to make and time the bundles",
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("diff")
    made = {"a": ("tflite", "tensorrt"), "b": ("tflite", "tensorrt")}
    # The labels are written into the artifacts, so that their bytes differ.
    more: dict[str, list[str]] = {"a": [], "b": ["--labels", str(LABELS)]}
    for name, targets in made.items():
        words = [*more[name], *(word for target in targets for word in ("-t", target))]
        path = folder / f"{name}.edgekit"
        assert main(["convert", str(MODEL), *words, "--no-verify", "-o", str(path)]) == 0
    return str(folder / "a.edgekit"), str(folder / "b.edgekit")


def latencies(capsys: pytest.CaptureFixture[str], *bundles: str) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["diff", *bundles, "--bench", "--rounds", "5", "--threads", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    found = [item for item in figures if item["figure"] == "latency"]
    return {f"{item['artifact']}: {item['of']}": item for item in found}


def test_both_bundles_are_timed(
    bundles: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    times = latencies(capsys, *bundles)["tflite-fp32: fastest ms on litert"]

    assert times["before"] > 0 and times["after"] > 0
    assert times["note"] == "measured now, in turns"


def test_equal_files_are_equally_fast(
    bundles: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    times = latencies(capsys, bundles[0], bundles[0])["tflite-fp32: fastest ms on litert"]

    assert times["before"] == times["after"] > 0
    assert "the files are the same" in times["note"]


def test_what_does_not_run_here_is_unknown(
    bundles: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    status = main(
        ["diff", *bundles, "--bench", "--rounds", "5", "--fail-on", "latency:0%", "--strict"]
    )

    assert status == 8
    assert "tensorrt-fp32: latency is unknown" in capsys.readouterr().err
