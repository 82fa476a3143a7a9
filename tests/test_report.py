"""The report shows what the bundle says, as one page that loads nothing."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from bundle_models import make_manifest, write_tiny
from report_models import CONTRACT, Element, parsed, write_full

pytest.importorskip("jinja2", reason="the report needs Jinja2")

from edgekit.bundle import Bundle, write_bundle
from edgekit.cli.main import main
from edgekit.errors import UsageError
from edgekit.preprocess import Preprocess
from edgekit.ranges import Histogram, Range, Statistics
from edgekit.report import words
from edgekit.report.page import render, write_report
from edgekit.report.tensors import judged
from edgekit.report.view import view_of

OLD_FILES = {"openvino-fp32/model.xml": b"<net/>", "openvino-fp32/model.bin": b"1"}


def page_of(bundle: Bundle) -> Element:
    return parsed(render(view_of(bundle)))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Element:
    return page_of(write_full(tmp_path_factory.mktemp("report") / "m.edgekit"))


def cells(section: Element, row: str) -> list[str]:
    for item in section.each("tr"):
        words_of = [cell.text.strip() for cell in item.each() if cell.tag in ("th", "td")]
        if row in words_of:
            return words_of
    raise AssertionError(f"there is no row {row!r}")


def test_the_promise_and_its_figures_are_shown(page: Element) -> None:
    section = page.section("promise")

    assert "At most 1 % of the float model's top1 may be lost" in section.text
    assert "360 samples of heldout.npz" in section.text
    row = cells(section, "openvino-int8")
    assert row[:7] == ["openvino-int8", "1", "✓ kept", "0.796", "0.5 %", "", "1.5"]


def test_a_simulated_artifact_is_not_called_kept(page: Element) -> None:
    row = cells(page.section("promise"), "tensorrt-int8")

    assert row[2] == "◇ simulated"
    assert row[-1] == "there is no GPU"


def test_an_artifact_without_a_promise_says_what_is_known(page: Element) -> None:
    assert "✓ verified" in cells(page.section("promise"), "openvino-fp32")


def test_everything_that_the_bundle_tells_is_there(page: Element) -> None:
    expected = (
        "openvino: int8 wins, 1.9 times as fast as fp32",
        "bias correction",
        "conv1",
        "synthetic, seed 0",
        "ab" * 32,
        "sha256:1234",
        "2026.4.1",
        "cat, dög",
        "2026-01-31T12:00:00Z",
        "Red and blue change places: the model was trained on RGB.",
        hashlib.sha256(b"<net/>").hexdigest(),
    )

    assert [text for text in expected if text not in page.text] == []


@dataclass(frozen=True)
class Bar:
    """A bar and its length in per cent, worked out by hand."""

    section: str
    row: str
    percent: float


BARS = (
    # openvino-fp32: 6 + 1024 bytes, the largest; int8: 6 + 515; the others 100 and 200.
    Bar("artifacts", "openvino-fp32", 100.0),
    Bar("artifacts", "openvino-int8", 100 * 521 / 1030),
    Bar("artifacts", "tensorrt-int8", 100 * 100 / 1030),
    Bar("artifacts", "onnx-int8", 100 * 200 / 1030),
    # 20 dB is a tenth of the signal's amplitude, 40 dB a hundredth.
    Bar("sensitivity", "conv1", 100.0),
    Bar("sensitivity", "conv2", 10.0),
)


@pytest.mark.parametrize("case", BARS, ids=lambda case: f"{case.section}-{case.row}")
def test_a_bar_is_as_long_as_its_number(case: Bar, page: Element) -> None:
    (row,) = (
        item
        for item in page.section(case.section).each("tr")
        if [cell.text for cell in item.each("th")] == [case.row]
    )
    (fill,) = row.with_class("fill")

    assert float(fill.attributes["width"].rstrip("%")) == pytest.approx(case.percent, abs=1e-3)


def test_markers_stand_where_their_figures_are(page: Element) -> None:
    chart = page.section("frontier")
    spots = [item.attributes for item in chart.each("svg") if item.with_class("marker")[1:] == []]
    across = [float(spot["x"].rstrip("%")) for spot in spots if "x" in spot]
    down = [float(spot["y"]) for spot in spots if "y" in spot]
    lines = {item.attributes["class"]: float(item.attributes["y1"]) for item in chart.each("line")}
    left = min(float(line.attributes["x1"].rstrip("%")) for line in chart.with_class("grid"))

    assert len(across) == 2
    # 1.5 ms is half of 3 ms, on an axis that starts at 0.
    assert across[0] - left == pytest.approx((across[1] - left) / 2, abs=1e-2)
    # From the float model (0.8) to the limit (0.792) 0.796 is half the way down, 0.794 three
    # quarters.
    span = lines["level limit"] - lines["level float"]
    assert down[0] - lines["level float"] == pytest.approx(span / 2, abs=0.1)
    assert down[1] - lines["level float"] == pytest.approx(span * 0.75, abs=0.1)


def test_the_time_of_another_engine_is_not_a_simulated_artifact_s(page: Element) -> None:
    row = cells(page.section("promise"), "tensorrt-int8")

    assert (row[1], row[6]) == ("", "unknown")


def test_the_tensor_that_loses_most_comes_first(page: Element) -> None:
    cards = page.section("ranges").each("li")
    first = next(cards)

    assert [item.text for item in first.each("h3")] == ["clipped"]
    # A quarter of the span holds the last 10 of 100 values.
    assert "10 %" in first.text


def test_a_range_of_all_that_was_seen_leaves_nothing_outside() -> None:
    # The last bin reaches to 4, further than any value.
    seen = Statistics(4, -1.0, 3.5, -1.0, 3.5, Histogram(-1.0, 4.0, (1, 1, 1, 0, 1)))

    tensor = judged("x", Range(-1.0, 3.5, "minmax"), seen)

    assert tensor.clipped == 0


def test_the_expected_noise_is_that_of_rounding_and_clipping() -> None:
    seen = Statistics(2, -1.0, 1.0, -1.0, 1.0, Histogram(-1.0, 1.0, (1, 1)))

    tensor = judged("x", Range(-1.0, 0.0, "mse"), seen)

    # Values -0.5 and 0.5: the second is clipped to 0; the first is rounded to steps of 1 / 255.
    noise = (0.5**2 + (1 / 255) ** 2 / 12) / 2
    assert tensor.clipped == 0.5
    assert tensor.sqnr_db == pytest.approx(10 * math.log10(0.25 / noise))


def test_no_histogram_loses_a_value(page: Element) -> None:
    (chart, *_) = (item for item in page.section("ranges").each("svg"))
    heights = [float(bar.attributes["height"]) for bar in chart.with_class("seen")]

    # Four bins of 10, 40, 40, 10 in a logarithmic scale.
    assert len(heights) == 4
    assert heights[0] / heights[1] == pytest.approx(math.log(11) / math.log(41), rel=1e-3)


def test_a_page_without_a_contract_says_so(tmp_path: Path) -> None:
    page = page_of(write_tiny(tmp_path / "m.edgekit", "zip"))

    assert "Nothing was promised about accuracy" in page.section("promise").text
    assert "? unverified" in cells(page.section("promise"), "tensorrt-fp16")
    assert "The bundle carries no ranges." in page.section("ranges").text


def test_the_smallest_bundle_gets_a_page(tmp_path: Path) -> None:
    manifest = make_manifest(
        artifacts=make_manifest().artifacts[:1],
        preprocess={}, labels=(), goldens=(), parity=(), status={}, tools={},
        calibration=None, tolerances={},
    )  # fmt: skip
    path = tmp_path / "old.edgekit"
    write_bundle(path, manifest, OLD_FILES, folder=True)
    # An older EdgeKit wrote no contract at all.
    data = json.loads((path / "manifest.json").read_text())
    del data["contract"]
    (path / "manifest.json").write_text(json.dumps(data))

    page = page_of(Bundle.open(path))

    assert "No artifact was compared" in page.text
    assert "The bundle tells no preprocessing" in page.text


@pytest.mark.parametrize(
    "change",
    [
        {"figures": tuple(replace(item, latency_ms=None) for item in CONTRACT.figures)},
        {"sensitivity": (), "steps": (), "advice": (), "float_nodes": {}, "recipe": ""},
        {"baseline": 0.0, "is_relative": False, "higher_is_better": False, "metric": "eer"},
        {"baseline": 1e308},
        {"figures": tuple(replace(item, latency_ms=0.0) for item in CONTRACT.figures)},
        {"figures": tuple(replace(item, latency_ms=-1.0) for item in CONTRACT.figures)},
        {"figures": tuple(replace(item, latency_ms=1e300) for item in CONTRACT.figures)},
        {"figures": tuple(replace(item, value=1e-320) for item in CONTRACT.figures)},
        {"figures": tuple(replace(item, value=-1e308) for item in CONTRACT.figures)},
        {"sensitivity": ({}, {"output_sqnr_db": "x"}, {"output_sqnr_db": 10**400, "layer": {}})},
        {"sensitivity": ({"output_sqnr_db": -120.0}, {"output_sqnr_db": 120.0, "layer": None})},
    ],
    ids=range(11),
)
def test_a_contract_with_odd_parts_gets_a_page(change: dict[str, object], tmp_path: Path) -> None:
    contract = replace(CONTRACT, **change)  # type: ignore[arg-type]

    page = page_of(write_full(tmp_path / "m.edgekit", contract=contract))

    drawn = " ".join(value for item in page.each() for value in item.attributes.values())
    assert not re.search(r"\b(nan|inf)\b", drawn)


def test_the_command_writes_beside_the_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_full(tmp_path / "m.edgekit")

    status = main(["report", str(tmp_path / "m.edgekit"), "--json"])

    document = json.loads(capsys.readouterr().out)
    path = tmp_path / "m.html"
    assert status == 0
    assert document == {
        "bundle": str(tmp_path / "m.edgekit"),
        "report": str(path),
        "nbytes": path.stat().st_size,
    }
    assert sorted(item.name for item in tmp_path.iterdir()) == ["m.edgekit", "m.html"]


def test_a_report_never_replaces_a_bundle(tmp_path: Path) -> None:
    bundle = write_full(tmp_path / "m.edgekit")

    with pytest.raises(UsageError, match=r"\.html"):
        write_report(bundle, tmp_path / "m.edgekit")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    bundle = write_full(tmp_path / "m.edgekit")

    with pytest.raises(UsageError, match="nowhere"):
        write_report(bundle, tmp_path / "nowhere" / "m.html")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("letterbox,rgb,pad=114", "padded around with grey 114"),
        (
            "stretch,gray,scale=2,mean=1,std=4",
            "y = (x \N{MULTIPLICATION SIGN} 2 \N{MINUS SIGN} 1) / 4.",
        ),
        ("stretch,gray,scale=2", "y = x \N{MULTIPLICATION SIGN} 2."),
        ("stretch,gray", "Colours become grey"),
        ("stretch,bgr", "Values stay in 0 to 255."),
    ],
)
def test_preprocessing_is_told_in_words(text: str, sentence: str) -> None:
    assert sentence in " ".join(words.steps(Preprocess.parse(text)))
