"""What the manifest says of a contract: intervals, points, hazards."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgekit.bundle import Contract, ContractFigure, ContractPoint, ContractStep
from edgekit.bundle.fields import parse_json
from edgekit.errors import BundleFormatError
from edgekit.report.hazards import hazard_rows
from edgekit.report.promise import float_rows, search_steps

FIGURE = ContractFigure(
    "openvino-int8", "openvino 2026.4", "measured", 0.79, 0.01, 1.5, interval=(-0.002, 0.021)
)
CONTRACT = Contract(
    limit=0.02,
    is_relative=True,
    metric="top1",
    samples="100 pictures",
    baseline=0.8,
    float_nodes={},
    figures=(FIGURE,),
    points=(
        ContractPoint("openvino", "fp32", 0.8, 3.0),
        ContractPoint("openvino", "int8", 0.79, 1.2),
    ),
    hazards=({"rule": "swish", "severity": "medium", "nodes": ["a", "b"], "reason": "a tail"},),
)


def _read(contract: Contract) -> Contract:
    return Contract.read(parse_json(json.dumps(contract.to_json()).encode()))


def test_all_of_it_is_read_back() -> None:
    assert _read(CONTRACT) == CONTRACT


def test_a_manifest_from_before_has_none_of_it() -> None:
    data = CONTRACT.to_json()
    for name in ("points", "hazards"):
        del data[name]
    del data["figures"][0]["interval"]

    read = Contract.read(parse_json(json.dumps(data).encode()))

    assert (read.points, read.hazards, read.figures[0].interval) == ((), (), None)


@pytest.mark.parametrize("interval", [[0.2, 0.1], [0.1], ["a", "b"], 3])
def test_a_malformed_interval_is_refused(interval: object) -> None:
    data = CONTRACT.to_json()
    data["figures"][0]["interval"] = interval

    with pytest.raises(BundleFormatError):
        Contract.read(parse_json(json.dumps(data).encode()))


def test_a_figure_whose_upper_end_breaks_the_promise_is_not_sure() -> None:
    assert not CONTRACT.is_sure(FIGURE)
    assert CONTRACT.is_sure(replace(FIGURE, interval=(-0.002, 0.02)))
    assert CONTRACT.is_sure(replace(FIGURE, interval=None))


def test_the_float_model_has_its_own_row_and_number() -> None:
    rows = float_rows(CONTRACT)

    assert [(row.number, row.name) for row in rows] == [(2, "fp32 on openvino")]


def test_hostile_hazards_are_shown_as_nothing() -> None:
    (row,) = hazard_rows([{"rule": 3, "nodes": "abc", "reason": None}])

    assert (row.rule, row.where, row.reason) == ("", "", "")


@pytest.mark.parametrize(
    ("lost", "worst"),
    [
        ({"openvino-int8": 0.25, "onnx-int8": 0.5}, "50 %"),
        ({"openvino-int8": 0.25}, "at least 25 %"),
        ({}, "no number"),
    ],
)
def test_a_step_that_left_artifacts_out_lost_that_much_at_least(
    lost: dict[str, float], worst: str
) -> None:
    step = ContractStep("ranges by auto", lost, 1.0, 2.0)
    figures = (FIGURE, replace(FIGURE, artifact="onnx-int8"))

    rows = search_steps(replace(CONTRACT, figures=figures, steps=(step,)))

    assert [row.worst for row in rows] == [worst]
