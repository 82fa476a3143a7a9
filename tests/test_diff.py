"""``edgekit diff`` tells what changed, and fails exactly where a limit is exceeded."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from bundle_models import make_manifest, write_tiny
from report_models import CONTRACT, full_files, full_manifest, write_full

from edgekit.bundle import Bundle, Contract, write_bundle
from edgekit.cli.main import main
from edgekit.errors import UsageError
from edgekit.preprocess import Preprocess
from edgekit.report.diff import compare
from edgekit.report.limits import Limit, parse_limits

OPENVINO = "openvino-int8"


def with_figure(**changes: Any) -> Contract:
    """Return the contract with another figure of OpenVINO's int8."""
    first, *rest = CONTRACT.figures
    return replace(CONTRACT, figures=(replace(first, **changes), *rest))


def with_cosine(cosine: float) -> dict[str, Any]:
    (figures,) = make_manifest().parity
    return {"parity": (replace(figures, cosine=cosine),)}


def write_larger(path: Path) -> Bundle:
    """Return a bundle whose OpenVINO int8 has 10 % more bytes: 573 instead of 521."""
    files = {**full_files(), "openvino-int8/weights": bytes(515 + 52)}
    return write_bundle(path, full_manifest(), files)


@dataclass(frozen=True)
class Case:
    """A change, the limits, and the figure that exceeds one of them."""

    id: str
    changes: dict[str, Any]
    limits: str
    exceeds: str = ""


CASES = (
    # 0.796 -> 0.794 is 0.2513 %.
    Case("accuracy_within", {"contract": with_figure(value=0.794)}, "accuracy:0.26%"),
    Case("accuracy_over", {"contract": with_figure(value=0.794)}, "accuracy:0.25%", "accuracy"),
    Case("absolute_within", {"contract": with_figure(value=0.794)}, "accuracy:0.002"),
    Case("absolute_over", {"contract": with_figure(value=0.794)}, "accuracy:0.0019", "accuracy"),
    Case("a_gain", {"contract": with_figure(value=0.9, lost=-0.1)}, "accuracy:0%"),
    # 1.5 ms -> 1.65 ms is 10 %.
    Case("latency_within", {"contract": with_figure(latency_ms=1.65)}, "latency:10%"),
    Case("latency_over", {"contract": with_figure(latency_ms=1.65)}, "latency:9.9%", "latency"),
    Case("latency_in_ms", {"contract": with_figure(latency_ms=1.65)}, "latency:0.1ms", "latency"),
    Case("latency_in_us", {"contract": with_figure(latency_ms=1.65)}, "latency:200us"),
    Case("faster", {"contract": with_figure(latency_ms=0.1)}, "latency:0"),
    Case("cosine_within", with_cosine(0.99999), "cosine:0.00001"),
    Case("cosine_over", with_cosine(0.99999), "cosine:0.000008", "cosine"),
    Case("nothing_changed", {}, "accuracy:0,latency:0,size:0,cosine:0"),
    Case("no_limit", {"contract": with_figure(value=0.5)}, "size:0"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_it_fails_where_a_limit_is_exceeded_and_only_there(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_full(tmp_path / "a.edgekit")
    write_full(tmp_path / "b.edgekit", **case.changes)

    status = main(
        ["diff", str(tmp_path / "a.edgekit"), str(tmp_path / "b.edgekit"), "--fail-on", case.limits]
    )

    error = capsys.readouterr().err
    assert status == (8 if case.exceeds else 0)
    assert f": {case.exceeds} (" in error if case.exceeds else not error


@pytest.mark.parametrize(
    ("limit", "status"), [("10%", 0), ("9.9%", 8), ("52B", 0), ("0.05kB", 8), ("51", 8)]
)
def test_size_is_that_of_an_artifact_s_files(limit: str, status: int, tmp_path: Path) -> None:
    write_full(tmp_path / "a.edgekit")
    write_larger(tmp_path / "b.edgekit")

    words = ["diff", str(tmp_path / "a.edgekit"), str(tmp_path / "b.edgekit")]
    assert main([*words, "--fail-on", f"size:{limit}"]) == status


def test_each_exceeded_limit_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_full(tmp_path / "a.edgekit")
    worse = with_figure(value=0.795, latency_ms=3.0)
    write_full(tmp_path / "b.edgekit", contract=worse)

    main(
        ["diff", str(tmp_path / "a.edgekit"), str(tmp_path / "b.edgekit"),
         "--fail-on", "accuracy:0.1%", "--fail-on", "latency:10%"]
    )  # fmt: skip

    head, *lines = capsys.readouterr().err.rstrip().split("\n")
    assert head == "edgekit: error EK610: 2 limits are exceeded:"
    assert [line.strip() for line in lines] == [
        "openvino-int8: accuracy (top1) went from 0.796 to 0.795 (-0.13%); the limit is 0.1%",
        "openvino-int8: latency (ms, as stored) went from 1.5 to 3 (+100.00%); the limit is 10%",
    ]


def diff_json(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["diff", *words, "--json"]) == status
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_json_is_one_document_also_where_it_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_full(tmp_path / "a.edgekit")
    write_full(tmp_path / "b.edgekit", contract=with_figure(value=0.5))
    pair = str(tmp_path / "a.edgekit"), str(tmp_path / "b.edgekit")

    document = diff_json(capsys, *pair, "--fail-on", "accuracy:1%", status=8)

    assert set(document) == {
        "schema_version", "before", "after", "added", "removed", "figures", "points", "changes",
        "limits", "exceeded", "unknown", "is_strict", "passed",
    }  # fmt: skip
    assert document["schema_version"] == 1
    assert document["passed"] is False
    assert document["limits"] == [{"figure": "accuracy", "value": 0.01, "is_relative": True}]
    figures = {(item["artifact"], item["figure"]): item for item in document["figures"]}
    assert figures[OPENVINO, "accuracy"] == {
        "artifact": OPENVINO, "figure": "accuracy", "of": "top1", "before": 0.796, "after": 0.5,
        "change": pytest.approx((0.5 - 0.796) / 0.796), "higher_is_better": True, "note": "",
        "certainty": {
            "before": {"lost": pytest.approx(0.004), "interval": None, "is_sure": None},
            "after": {"lost": pytest.approx(0.004), "interval": None, "is_sure": None},
            "samples": "360 samples of heldout.npz",
            "more_lost": None, "told_apart": None,
            "why_unknown": "the bundle before has no interval",
        },
    }  # fmt: skip


def test_what_is_unknown_is_said_and_fails_only_when_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_full(tmp_path / "a.edgekit")
    write_full(tmp_path / "b.edgekit", contract=with_figure(latency_ms=None))
    pair = str(tmp_path / "a.edgekit"), str(tmp_path / "b.edgekit")

    loose = main(["diff", *pair, "--fail-on", "latency:10%"])
    said = capsys.readouterr().out
    strict = main(["diff", *pair, "--fail-on", "latency:10%", "--strict"])

    assert (loose, strict) == (0, 8)
    assert f"not judged: {OPENVINO}: latency is unknown" in said
    assert f"{OPENVINO}: latency is unknown" in capsys.readouterr().err


def test_a_simulated_time_is_unknown(tmp_path: Path) -> None:
    bundle = write_full(tmp_path / "a.edgekit")

    (latency,) = (
        pair
        for pair in compare(bundle, bundle).figures
        if (pair.artifact, pair.figure) == ("tensorrt-int8", "latency")
    )
    assert (latency.before, latency.after) == (None, None)


def test_a_removed_artifact_is_unknown(tmp_path: Path) -> None:
    before = write_full(tmp_path / "a.edgekit")
    after = write_tiny(tmp_path / "b.edgekit", "zip")

    difference = compare(before, after)

    assert difference.removed == (OPENVINO, "tensorrt-int8", "onnx-int8")
    assert difference.added == ("tensorrt-fp16",)
    assert f"{OPENVINO}: size is unknown: it was removed" in (
        difference.judged(parse_limits(["size:5%"])).unknown
    )


def test_metrics_that_differ_are_not_compared(tmp_path: Path) -> None:
    before = write_full(tmp_path / "a.edgekit")
    after = write_full(tmp_path / "b.edgekit", contract=replace(CONTRACT, metric="map"))

    said = compare(before, after).judged(parse_limits(["accuracy:50%"]))

    assert any("top1 before and map after cannot be compared" in line for line in said.unknown)


def test_a_metric_that_is_better_when_it_falls_gets_worse_by_rising(tmp_path: Path) -> None:
    error = replace(CONTRACT, metric="eer", higher_is_better=False, is_relative=False)
    first, *rest = error.figures
    risen = replace(error, figures=(replace(first, value=0.9), *rest))
    before = write_full(tmp_path / "a.edgekit", contract=error)
    after = write_full(tmp_path / "b.edgekit", contract=risen)

    limits = parse_limits(["accuracy:1%"])
    assert len(compare(before, after).judged(limits).exceeded) == 1
    assert compare(after, before).judged(limits).exceeded == ()


def test_without_contracts_agreement_stands_for_accuracy(tmp_path: Path) -> None:
    before = write_tiny(tmp_path / "a.edgekit", "zip")
    after = write_tiny(tmp_path / "b.edgekit", "folder")

    (pair,) = (
        pair
        for pair in compare(before, after).figures
        if (pair.artifact, pair.figure) == ("openvino-fp32", "accuracy")
    )
    assert (pair.of, pair.before, pair.after) == ("cosine", 0.999999, 0.999999)


def test_facts_that_differ_are_listed_and_others_are_not(tmp_path: Path) -> None:
    before = write_full(tmp_path / "a.edgekit")
    after = write_full(
        tmp_path / "b.edgekit",
        preprocess={"image": Preprocess(resize="stretch", scale=(1 / 255,), pad_value=114)},
        labels=("cat",),
        calibration="sha256:9",
        tools={"onnx": "1.23.3", "numpy": "2.4"},
        contract=replace(CONTRACT, limit=0.02),
    )

    changes = {item.what: (item.before, item.after) for item in compare(before, after).changes}

    assert changes == {
        "preprocess image resize": ("letterbox", "stretch"),
        "labels": ("2: cat, dög", "1: cat"),
        "calibration": ("sha256:1234", "sha256:9"),
        "promise": ("at most 1% of top1 lost", "at most 2% of top1 lost"),
        "tool onnx": ("1.23.2", "1.23.3"),
        "tool openvino": ("2026.4.1", "none"),
        "tool numpy": ("none", "2.4"),
    }


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("accuracy:0.5%", Limit("accuracy", 0.005, is_relative=True)),
        ("accuracy:0.005", Limit("accuracy", 0.005, is_relative=False)),
        ("latency: 2 ms", Limit("latency", 2.0, is_relative=False)),
        ("latency:.5s", Limit("latency", 500.0, is_relative=False)),
        ("size:1.5MB", Limit("size", 1.5e6, is_relative=False)),
        ("cosine:1e-4", Limit("cosine", 1e-4, is_relative=False)),
    ],
)
def test_a_limit_is_read(text: str, limit: Limit) -> None:
    assert parse_limits([text]) == (limit,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("accuraci:1%", "did you mean 'accuracy'"),
        ("latency:2mss", "did you mean 'ms'"),
        ("size:2mb", "did you mean 'MB'"),
        ("accuracy:2ms", "choose from: %"),
        ("accuracy", "FIGURE:LIMIT"),
        ("", "FIGURE:LIMIT"),
        ("size:5%,", "FIGURE:LIMIT"),
        ("accuracy:", "no limit"),
        ("accuracy:-1%", "no limit"),
        ("accuracy:nan", "no limit"),
        ("accuracy:inf", "no limit"),
        ("accuracy:1%%", "unit"),
        ("accuracy:1e999", "too large"),
        ("accuracy:\N{ARABIC-INDIC DIGIT ONE}%", "no limit"),
        ("size:1%,size:2%", "twice"),
    ],
)
def test_a_mistyped_limit_is_refused_with_what_was_meant(text: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_limits([text])

    assert words in str(raised.value)


@pytest.mark.parametrize(
    "options", [["--strict"], ["--rounds", "5"], ["--threads", "1"]], ids=lambda item: item[0]
)
def test_an_option_without_what_it_belongs_to_is_refused(
    options: list[str], tmp_path: Path
) -> None:
    path = write_full(tmp_path / "a.edgekit").location

    assert main(["diff", str(path), str(path), *options]) == 2
