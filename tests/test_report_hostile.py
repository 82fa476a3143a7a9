"""A bundle from anywhere cannot put anything into the page but text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundle_models import GOLDEN_CONTENT, INPUT, OUTPUT, make_manifest
from report_models import CONTRACT, RANGES, Element, parsed, write_full

pytest.importorskip("jinja2", reason="the report needs Jinja2")

from edgekit.bundle import Bundle, GoldenFiles, Source, Status, write_bundle
from edgekit.errors import BundleIntegrityError, CalibrationError
from edgekit.ranges import Range, Ranges
from edgekit.report.page import render
from edgekit.report.view import view_of

SCRIPT = "<script>alert(1)</script>"
BREAKOUT = "\"'--></title></style></svg></textarea><img src=x onerror=alert(1)>{{7*7}}{%x%}"
LINK = "https://evil.example/<b>"
# Characters that turn the text after them around, as a name of a file may hold them.
TURNED = "\u202egpj.exe\u2066"

OURS = {
    "html", "head", "meta", "title", "style", "body", "a", "header", "nav", "main", "footer",
    "section", "h1", "h2", "h3", "p", "ul", "ol", "li", "dl", "div", "dt", "dd", "table", "caption",
    "thead", "tbody", "tr", "th", "td", "span", "code", "details", "summary", "figure",
    "figcaption", "svg", "desc", "rect", "line", "text", "path",
}  # fmt: skip


def poisoned(text: str, folder: Path) -> Bundle:
    """Return a bundle that has the text in every field that is free text."""
    tensor, result = replace(INPUT, name=f"in {text}"), replace(OUTPUT, name=f"out {text}")
    manifest = make_manifest()
    sensitivity = {
        "layer": text, "operator": text, "output_sqnr_db": 20.0, "nodes": [text], "lost": 0.1,
        "saved_us": {text: 1.0},
    }  # fmt: skip
    hazard = dict.fromkeys(("rule", "severity", "reason", "fix"), text) | {"nodes": [text]}
    artifacts = tuple(
        replace(
            item,
            format=f"{item.format} {text}",
            inputs=(replace(tensor, shape=(text, 3, 4, 4)),),
            outputs=(result,),
            fused_preprocess=(tensor.name,),
            recipe={text: text},
        )
        for item in manifest.artifacts
    )
    names = [item.name for item in artifacts]
    contract = replace(
        CONTRACT,
        metric=f"m {text}",
        samples=text,
        recipe=text,
        figures=tuple(
            replace(figure, artifact=name, runtime=text)
            for figure, name in zip(CONTRACT.figures, names, strict=False)
        ),
        float_nodes={text: (text,)},
        steps=tuple(replace(step, recipe=text, lost={text: 0.1}) for step in CONTRACT.steps),
        sensitivity=(sensitivity,),
        sensitivity_on=text,
        hazards=(hazard,),
        advice=(text,),
    )
    (golden,) = manifest.goldens
    changes: dict[str, Any] = {
        "name": text,
        "source": Source(text.replace("/", "|"), "ab" * 32, framework=text, opset=18),
        "inputs": (replace(tensor, shape=(text, 3, 4, 4)),),
        "outputs": (result,),
        "artifacts": artifacts,
        "preprocess": {tensor.name: manifest.preprocess["image"]},
        "labels": (text, "cat"),
        "goldens": (
            GoldenFiles(
                text,
                {tensor.name: next(iter(golden.inputs.values()))},
                {result.name: next(iter(golden.outputs.values()))},
            ),
        ),
        "parity": tuple(
            replace(
                manifest.parity[0],
                artifact=name,
                output=result.name,
                runtime=text,
                runtime_version=text,
                backend=text,
                inference_precision=text,
                date=text,
            )
            for name in names
        ),
        "status": {name: Status("unverified", text) for name in names},
        "tools": {text: text},
        "calibration": text,
        "contract": contract,
        "edgekit_version": text,
    }
    tensors = {f"tensor {text}": Range(-1.0, 2.0, text)}
    ranges = Ranges(text, 7, text, tensors, {f"tensor {text}": RANGES.statistics["good"]})
    files = {
        path: b"x"
        for item in manifest.artifacts
        for path in item.files.values()
    }  # fmt: skip

    ranges_text = json.dumps(ranges.to_json()).encode()
    return write_bundle(
        folder / "m.edgekit",
        make_manifest(**changes),
        {**files, **GOLDEN_CONTENT, "ranges.json": ranges_text},
    )


def elements(page: Element) -> list[Element]:
    return list(page.each())


@pytest.mark.parametrize("text", [SCRIPT, BREAKOUT, LINK], ids=["script", "breakout", "link"])
def test_hostile_text_stays_text(text: str, tmp_path: Path) -> None:
    page = parsed(render(view_of(poisoned(text, tmp_path))))

    assert {item.tag for item in elements(page)} <= OURS
    assert page.text.count(text) > 30  # it is shown, so it was not simply left out
    assert not [name for item in elements(page) for name in item.attributes if name[:2] == "on"]


@pytest.mark.parametrize("text", [SCRIPT, BREAKOUT, LINK], ids=["script", "breakout", "link"])
def test_nothing_is_loaded_and_nothing_leads_away(text: str, tmp_path: Path) -> None:
    page = parsed(render(view_of(poisoned(text, tmp_path))))

    loading = {
        "src",
        "srcset",
        "data",
        "action",
        "formaction",
        "background",
        "poster",
        "xlink:href",
    }
    assert not [item.tag for item in elements(page) if loading & set(item.attributes)]
    links = [item.attributes["href"] for item in elements(page) if "href" in item.attributes]
    assert links and all(link.startswith("#") for link in links)
    (style,) = page.each("style")
    assert not re.search(r"url\(|@import|https?:", style.text)


def test_text_that_turns_the_page_around_is_replaced(tmp_path: Path) -> None:
    page = render(view_of(poisoned(TURNED, tmp_path)))

    assert "\ufffdgpj.exe\ufffd" in page
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", page)


def test_classes_are_our_own_words(tmp_path: Path) -> None:
    hostile = parsed(render(view_of(poisoned(SCRIPT, tmp_path))))
    classes = {
        name for item in elements(hostile) for name in item.attributes.get("class", "").split()
    }

    assert all(re.fullmatch("[a-z]+", name) for name in classes)


def test_names_that_are_no_text_get_a_page(tmp_path: Path) -> None:
    data = json.dumps(RANGES.to_json()).replace('"clipped"', '"\\ud800\\u0000"').encode()

    page = render(view_of(write_full(tmp_path / "m.edgekit", ranges=data)))

    assert "\ufffd\ufffd" in page.encode("utf-8").decode("utf-8")


@pytest.mark.parametrize(
    "content",
    [
        b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"schema_version": 99, "tensors": {}}',
        b'{"schema_version": 1, "model": "", "samples": 1, "fingerprint": "", "tensors": []}',
    ],
    ids=range(6),
)  # fmt: skip
def test_ranges_that_cannot_be_read_are_told_of(content: bytes, tmp_path: Path) -> None:
    page = parsed(render(view_of(write_full(tmp_path / "m.edgekit", ranges=content))))

    assert "ranges.json is not a ranges file" in page.section("ranges").text


@pytest.mark.parametrize(
    "change",
    [
        {"low": -1e308, "high": 1e308},
        {"low": 1e17, "high": 1e17 + 64},
        {"low": 0.0, "high": 5e-324},
        {"counts": "0 0"},
        {"counts": f"{10**300} 1"},
    ],
    ids=["huge", "far", "tiny", "empty", "many"],
)
def test_histograms_of_any_size_get_a_page(change: dict[str, Any], tmp_path: Path) -> None:
    data = RANGES.to_json()
    data["tensors"]["good"]["seen"]["histogram"].update(change)
    data["tensors"]["clipped"]["seen"]["minimum"] = float("nan")
    content = json.dumps(data).encode()

    page = parsed(render(view_of(write_full(tmp_path / "m.edgekit", ranges=content))))

    drawn = " ".join(value for item in page.each() for value in item.attributes.values())
    assert not re.search(r"\b(nan|inf)\b", drawn)


def test_runs_of_empty_bins_do_not_fill_the_memory(tmp_path: Path) -> None:
    data = RANGES.to_json()
    data["tensors"]["good"]["seen"]["histogram"]["counts"] = "z60000 " * 1000

    with pytest.raises((CalibrationError, ValueError), match="bins"):
        Ranges.from_json(data)


def test_changed_ranges_are_refused(tmp_path: Path) -> None:
    from report_models import full_files, full_manifest

    path = tmp_path / "m.edgekit"
    write_bundle(path, full_manifest(), full_files(), folder=True)
    content = (path / "ranges.json").read_bytes()
    (path / "ranges.json").write_bytes(content.replace(b"mse", b"kld"))

    with pytest.raises(BundleIntegrityError):
        view_of(Bundle.open(path))


def test_a_long_name_does_not_make_a_long_chart(tmp_path: Path) -> None:
    contract = replace(CONTRACT, sensitivity=({"layer": "x" * 100_000, "output_sqnr_db": 1.0},))

    page = parsed(render(view_of(write_full(tmp_path / "m.edgekit", contract=contract))))

    titles = [item.text for svg in page.each("svg") for item in svg.each("title")]
    assert max(map(len, titles)) <= 200
