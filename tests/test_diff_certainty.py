"""``edgekit diff`` says how sure a difference is, and what was timed beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from report_models import CONTRACT, full_manifest, write_full

from edgekit.bundle import Contract, ContractPoint, Source
from edgekit.cli.main import main
from edgekit.report.certainty import Certainty
from edgekit.report.figures import stored_figures
from edgekit.report.points import point_pairs

OPENVINO = "openvino-int8"
NEAR = {"value": 0.796, "lost": 0.005, "interval": (0.0, 0.01)}
FAR = {"value": 0.792, "lost": 0.01, "interval": (0.009, 0.011)}


def promised(figure: dict[str, Any], **changes: Any) -> Contract:
    """Return the contract with another figure of OpenVINO's int8."""
    first, *rest = CONTRACT.figures
    return replace(CONTRACT, figures=(replace(first, **figure), *rest), **changes)


def found(before: Contract, after: Contract, **of_after: Any) -> Certainty:
    manifests = full_manifest(contract=before), full_manifest(contract=after, **of_after)
    (pair,) = (
        pair
        for pair in stored_figures(*manifests)
        if (pair.artifact, pair.figure) == (OPENVINO, "accuracy")
    )
    assert pair.certainty is not None
    return pair.certainty


@dataclass(frozen=True)
class Case:
    """Two losses with their intervals, in shares of 0.8, and whether they are told apart."""

    id: str
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    more: tuple[float, float]
    is_told_apart: bool


CASES = (
    # 0.8 times: 0.004 in 0 to 0.008, and 0.006 in 0.003 to 0.01. MOVER by hand:
    # 0.002 - sqrt(0.003 ** 2 + 0.004 ** 2), 0.002 + sqrt(0.004 ** 2 + 0.004 ** 2).
    Case("near", (0.005, 0.0, 0.01), (0.0075, 0.00375, 0.0125), (-0.003, 0.0076569), False),
    # 0.008 in 0.005 to 0.011, and 0.024 in 0.02 to 0.03: 0.016 - 0.005, 0.016 + sqrt(45) / 1000.
    Case("far", (0.01, 0.00625, 0.01375), (0.03, 0.025, 0.0375), (0.011, 0.0227082), True),
    Case("better", (0.03, 0.025, 0.0375), (0.01, 0.00625, 0.01375), (-0.0227082, -0.011), True),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_losses_are_told_apart_where_their_difference_is_surely_not_zero(case: Case) -> None:
    one, other = (
        promised({"lost": lost, "interval": (low, high)}, limit=0.05)
        for lost, low, high in (case.before, case.after)
    )

    certainty = found(one, other)

    assert certainty.more == pytest.approx(case.more, abs=1e-7)
    assert certainty.is_told_apart is case.is_told_apart


def test_absolute_losses_are_in_the_metric_s_unit_as_they_are() -> None:
    contract = promised({"lost": 0.25, "interval": (0.125, 0.5)}, is_relative=False, limit=1.0)

    assert found(contract, contract).before.interval == (0.125, 0.5)


@pytest.mark.parametrize(
    ("after", "changes", "why"),
    [
        (promised({**NEAR, "interval": None}), {}, "the bundle after has no interval"),
        (promised(NEAR), {"source": Source("b.onnx", "cd" * 32)}, "the source models differ"),
        (promised(NEAR, samples="10 others"), {}, "the samples differ"),
    ],
    ids=["no_interval", "other_model", "other_samples"],
)
def test_intervals_of_other_things_say_nothing(
    after: Contract, changes: dict[str, Any], why: str
) -> None:
    certainty = found(promised(FAR), after, **changes)

    assert (certainty.is_told_apart, certainty.why_unknown) == (None, why)


def test_what_the_samples_do_not_tell_apart_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = {"value": 0.795, "lost": 0.00625, "interval": (0.0, 0.0125)}
    write_full(tmp_path / "a.edgekit", contract=promised(NEAR))
    write_full(tmp_path / "b.edgekit", contract=promised(later))

    status = main(
        ["diff", str(tmp_path / "a.edgekit"), str(tmp_path / "b.edgekit"),
         "--fail-on", "accuracy:0.1%"]
    )  # fmt: skip

    said = capsys.readouterr()
    (row,) = (line for line in said.out.split("\n") if "0 .. 0.008" in line)
    assert " ".join(row.split()) == f"{OPENVINO} 0.004 0 .. 0.008 0.005 0 .. 0.01 no"
    assert f"{OPENVINO}: not told apart on 360 samples of heldout.npz" in said.out
    # The promise is 1 %; only the newer one may lose 1.25 %.
    assert f"above the promise (95 %): {OPENVINO} after\n" in said.out
    # The stated limit is what decides, and the line says how sure that is.
    assert status == 8
    assert "the limit is 0.1%; not told apart on 360 samples" in said.err


def test_json_has_the_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_full(tmp_path / "a.edgekit", contract=promised(NEAR))
    write_full(tmp_path / "b.edgekit", contract=promised(FAR))

    main(["diff", str(tmp_path / "a.edgekit"), str(tmp_path / "b.edgekit"), "--json"])

    figures = json.loads(capsys.readouterr().out)["figures"]
    (said,) = (
        item["certainty"]
        for item in figures
        if (item["artifact"], item["figure"]) == (OPENVINO, "accuracy")
    )
    assert said["before"] == {
        "lost": pytest.approx(0.004), "interval": [0.0, pytest.approx(0.008)], "is_sure": True,
    }  # fmt: skip
    assert said["after"]["is_sure"] is False
    # 0.004 - sqrt(0.0008 ** 2 + 0.004 ** 2): a hair below 0.
    assert said["more_lost"][0] == pytest.approx(-0.0000792, abs=1e-7)
    assert said["told_apart"] is False


def points(**times_ms: float) -> Contract:
    made = tuple(ContractPoint("litert", name, 0.8, time) for name, time in times_ms.items())
    return replace(CONTRACT, points=made)


def test_points_of_both_bundles_are_compared() -> None:
    one = full_manifest(contract=points(fp32=4.0, int8=2.0, bf16=3.0))
    other = full_manifest(contract=points(int8=1.0, fp32=5.0))

    pairs = {pair.before.precision: pair for pair in point_pairs(one, other)}

    assert {name: pair.change for name, pair in pairs.items()} == {"fp32": 0.25, "int8": -0.5}
    assert [name for name, pair in pairs.items() if pair.is_same_model] == ["fp32"]


def test_float_times_are_shown_and_not_limited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_full(tmp_path / "a.edgekit", contract=points(fp32=4.0))
    write_full(tmp_path / "b.edgekit", contract=points(fp32=5.0))

    status = main(
        ["diff", str(tmp_path / "a.edgekit"), str(tmp_path / "b.edgekit"),
         "--fail-on", "latency:10%"]
    )  # fmt: skip

    assert status == 0
    assert "litert   fp32               4         5  +25.00%  the same model" in (
        capsys.readouterr().out
    )


def test_bundles_without_points_have_none_in_common(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_full(tmp_path / "a.edgekit", contract=points(fp32=4.0))
    write_full(tmp_path / "b.edgekit")

    main(["diff", str(tmp_path / "a.edgekit"), str(tmp_path / "b.edgekit"), "--json"])

    assert json.loads(capsys.readouterr().out)["points"] == []
