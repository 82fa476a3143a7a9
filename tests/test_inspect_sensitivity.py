"""``edgekit inspect --sensitivity`` tells what each layer of a model costs in integers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from bundle_models import write_tiny
from digits import DIGITS, MODEL, PREPROCESS
from report_models import CONTRACT, write_full

from edgekit.calibration.sensitivity import Layer, Sensitivity
from edgekit.cli.layer_table import layer_table
from edgekit.cli.main import main
from edgekit.pipeline import sensitivity_of
from edgekit.report.layer_plot import layer_plot
from edgekit.report.layers import read_layers
from edgekit.runtimes import RUNTIMES

SVG = "{http://www.w3.org/2000/svg}"
ON = "top1 on 16 of 360 samples of heldout.npz"
LAYERS: tuple[dict[str, Any], ...] = (
    {
        "layer": "/model.22/cv2.0/cv2.0.0/conv/Conv_output_quantized", "operator": "ConvTranspose",
        "output_sqnr_db": 20.0, "work_share": 0.25, "lost": 0.0123,
        "saved_us": {"openvino": 41.2, "onnxruntime": -12.04, "litert": 1018.3},
    },
    {
        "layer": "conv2", "operator": "Conv", "output_sqnr_db": 40.0, "work_share": 0.5,
        "lost": -0.004, "saved_us": {"openvino": 3.0, "litert": 5.25},
    },
    {"layer": "conv3", "operator": "Conv", "output_sqnr_db": 60.0, "work_share": 0.5},
)  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    contract = replace(CONTRACT, sensitivity=LAYERS, sensitivity_on=ON)
    return str(write_full(tmp_path / "m.edgekit", contract=contract).location)


def rows(text: str) -> list[list[str]]:
    """Return the cells of the table's rows, without the spaces inside of them."""
    lines = text.split("\n\n")[1].split("\n")[2:]
    return [re.sub(" +/ +", "/", line).split() for line in lines]


def test_a_bundle_shows_the_table_that_it_keeps(
    bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", bundle, "--sensitivity"]) == 0

    text = capsys.readouterr().out
    first, second, third = rows(text)
    assert first[0] == "1" and first[2:] == [
        "Conv…pose", "######", "20.0", "0.0123", "41.2/-12.0/1018.3"
    ]  # fmt: skip
    # 40 dB is a hundredth of the signal's amplitude, a tenth of the largest: one mark of six.
    assert second == ["2", "conv2", "Conv", "#", "40.0", "-0.004", "3.0/?/5.2"]
    assert third[:5] == ["3", "conv3", "Conv", "#", "60.0"]
    assert f"measured: {ON}\n" in text
    assert "µs saved by integers: openvino / onnxruntime / litert\n" in text


def test_the_table_fits_80_columns_and_names_keep_both_ends(
    bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["inspect", bundle, "--sensitivity"])

    table = capsys.readouterr().out.split("\n\n")[1].split("\n")
    name = table[2].split()[1]
    assert max(map(len, table)) <= 80
    assert name == "/model.2…uantized"


def test_an_older_bundle_shows_what_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_full(tmp_path / "m.edgekit")

    assert main(["inspect", str(tmp_path / "m.edgekit"), "--sensitivity"]) == 0

    text = capsys.readouterr().out
    assert rows(text) == [
        ["1", "conv1", "Conv", "######", "20.0"],
        ["2", "conv2", "Conv", "#", "40.0"],
    ]
    assert "lost" not in text and "measured:" not in text


def test_only_the_first_are_shown_on_request(
    bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["inspect", bundle, "--sensitivity", "--top", "2"])

    text = capsys.readouterr().out
    assert [row[0] for row in rows(text)] == ["1", "2"]
    assert "1 layers more; --top 3 shows all" in text


def test_json_has_all_of_it(bundle: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", bundle, "--sensitivity", "--top", "1", "--json"])

    document = json.loads(capsys.readouterr().out)
    assert document == {
        "path": bundle, "metric": "top1", "baseline": None, "on": ON, "layers": list(LAYERS),
        "notes": [], "plot": None,
    }  # fmt: skip


def test_a_bundle_without_a_table_says_how_to_get_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny(tmp_path / "plain.edgekit", "zip")
    write_full(tmp_path / "m.edgekit", contract=replace(CONTRACT, sensitivity=()))

    for name, why in (("plain", "under a promise"), ("m", "none was measured")):
        assert main(["inspect", str(tmp_path / f"{name}.edgekit"), "--sensitivity"]) == 2
        error = capsys.readouterr().err
        assert why in error
        assert "edgekit inspect tiny.onnx --sensitivity --calibration DATA" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--top", "3"], "--top is for --sensitivity"),
        (["--plot", "x.svg"], "--plot is for --sensitivity"),
        (["--metric", "top1"], "--metric is for --sensitivity"),
        (["--sensitivity", "--calibration", "x"], "is a bundle, and keeps what was measured"),
        (["--sensitivity", "--plot", "x.png"], ".svg"),
        (["--sensitivity", "--plot", "no/where.svg"], "the folder no does not exist"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    words: list[str], said: str, bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", bundle, *words]) == 2
    assert said in capsys.readouterr().err


def test_a_model_is_not_measured_without_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(MODEL), "--sensitivity"]) == 2
    assert "give --calibration DATA" in capsys.readouterr().err


def test_only_a_float_model_can_be_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"")

    assert main(["inspect", str(path), "--sensitivity", "--calibration", "x"]) == 2
    assert "is no .onnx file" in capsys.readouterr().err


def bars(picture: str) -> list[float]:
    """Return the lengths of the filled bars in per cent, from top to bottom."""
    found = ElementTree.fromstring(picture).iter(f"{SVG}rect")
    fills = [item for item in found if item.get("class", "").startswith("fill")]
    return [float(item.get("width", "").rstrip("%")) for item in fills]


def test_the_plot_has_a_bar_as_long_as_each_figure(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "layers.svg"
    path.write_text("an older one")

    main(["inspect", bundle, "--sensitivity", "--plot", str(path), "--json"])

    assert json.loads(capsys.readouterr().out)["plot"] == str(path)
    # Errors of 10, 1 and 0.1 %; losses of 0.0123 and a gain.
    assert bars(path.read_text()) == pytest.approx([100, 100, 10, 0, 1], abs=1e-3)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["layers.svg", "m.edgekit"]


def test_a_plot_never_replaces_a_bundle(tmp_path: Path, bundle: str) -> None:
    Path(bundle).rename(tmp_path / "m.svg")

    assert main(["inspect", str(tmp_path / "m.svg"), "--sensitivity", "--plot",
                 str(tmp_path / "m.svg")]) == 2  # fmt: skip
    assert main(["inspect", str(tmp_path / "m.svg"), "--sensitivity"]) == 0


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "\"'--></style></svg>&<b", "\u202ex"]
)
def test_a_hostile_name_is_text_in_the_plot(text: str) -> None:
    layers = read_layers([{**LAYERS[0], "layer": text, "operator": text, "saved_us": {text: 1.0}}])

    picture = layer_plot(layers, title=text, metric=text, on=text)

    tags = {item.tag.removeprefix(SVG) for item in ElementTree.fromstring(picture).iter()}
    assert tags == {"svg", "style", "rect", "text", "tspan", "title"}
    assert "\u202e" not in picture
    assert "http" not in picture.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_a_hostile_name_does_not_drive_the_terminal() -> None:
    layers = [{"layer": "\x1b[2Jx", "operator": "\x1b[31m\u202e", "output_sqnr_db": 1.0}]

    shown = layer_table(read_layers(layers), title="m")

    assert not {"\x1b", "\u202e"} & set("".join(shown.rows[0]))


def test_what_was_asked_for_is_what_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}
    cost = Sensitivity(Layer("conv", ("conv",), "Conv", 1), 30.0, 25.0, 1.0)

    def measured(model: Path, **words: Any) -> sensitivity_of.Sensitivities:
        asked.update(words)
        return sensitivity_of.Sensitivities((cost,), "map", float("nan"), "few", ("a note",))

    monkeypatch.setattr(sensitivity_of, "sensitivity_of", measured)

    status = main(
        ["inspect", str(MODEL), "--sensitivity", "-c", "data", "-t", "openvino", "-t", "tflite:w8",
         "--metric", "map", "--decoder", "yolox", "--output-name", "boxes", "--time", "2m",
         "--shape", "image:1x1x32x32", "--validation", str(DIGITS), "--json"]
    )  # fmt: skip

    document = json.loads(capsys.readouterr().out)
    terms = asked["terms"]
    assert status == 0
    targets = [(target.name, target.precision) for target in asked["targets"]]
    assert targets == [("openvino", "int8"), ("tflite", "w8")]
    assert (terms.calibration, terms.metric, terms.decoder) == ("data", "map", "yolox")
    assert (terms.output, terms.time_s, terms.validation) == ("boxes", 120.0, DIGITS)
    assert asked["shapes"] == {"image": (1, 1, 32, 32)}
    assert document["layers"] == [cost.to_json()]
    assert (document["baseline"], document["on"], document["notes"]) == (None, "few", ["a note"])


def test_without_a_target_all_that_run_here_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs = {"openvino": "json", "litert": "json", "onnxruntime": "no_such", "tensorrt": "no_such"}
    asked: list[tuple[str, str]] = []

    def measured(model: Path, *, targets: Any, **words: Any) -> sensitivity_of.Sensitivities:
        asked.extend((target.name, target.precision) for target in targets)
        cost = Sensitivity(Layer("conv", ("conv",), "Conv", 1), 30.0, 25.0, 1.0)
        return sensitivity_of.Sensitivities((cost,), "map", 1.0, "few")

    monkeypatch.setattr(sensitivity_of, "sensitivity_of", measured)
    for name, need in needs.items():
        monkeypatch.setitem(RUNTIMES, name, replace(RUNTIMES[name], needs=(need,)))

    main(["inspect", str(MODEL), "--sensitivity", "-c", "data"])

    assert asked == [("openvino", "int8"), ("tflite", "int8")]


@pytest.mark.skipif(bool(RUNTIMES["onnxruntime"].missing()), reason="needs onnxruntime")
def test_a_model_is_measured_on_the_user_s_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(
        ["inspect", str(MODEL), "--sensitivity", "--calibration", str(DIGITS / "calibration.npz"),
         "-t", "onnx", "--validation", str(DIGITS / "heldout.npz"), "--metric", "top1",
         "--preprocess", PREPROCESS, "--plot", str(tmp_path / "layers.svg"), "--json"]
    )  # fmt: skip

    document = json.loads(capsys.readouterr().out)
    names = [layer["layer"] for layer in document["layers"]]
    assert status == 0
    assert document["metric"] == "top1"
    assert document["baseline"] > 0.9
    assert "heldout.npz" in document["on"]
    assert {"logits", "layer_20"} <= set(names) and len(names) == len(set(names))
    # Two bars a layer: error and loss.
    assert len(bars((tmp_path / "layers.svg").read_text())) == 2 * len(names)
