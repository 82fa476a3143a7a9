"""The report tells what each layer costs and saves, and which would go back to float first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_models import CONTRACT, Element, parsed, write_full

pytest.importorskip("jinja2", reason="the report needs Jinja2")

from edgekit.bundle import Contract
from edgekit.report.layers import layer_table, read_layers
from edgekit.report.page import render
from edgekit.report.view import view_of

ON = "top1 on 16 of 360 samples of heldout.npz; times measured on openvino 2026.4.1"
LAYERS: tuple[dict[str, Any], ...] = (
    {
        "layer": "small", "operator": "Mul", "output_sqnr_db": 40.0, "work_share": 0.01,
        "lost": 0.004, "saved_us": {"openvino": -1.5, "litert": 18.34},
    },
    {
        "layer": "large", "operator": "Conv", "output_sqnr_db": 20.0, "work_share": 0.9,
        "lost": 0.016, "saved_us": {"openvino": 41.26},
    },
    {"layer": "gain", "operator": "Conv", "output_sqnr_db": 60.0, "lost": -0.008, "saved_us": {}},
)  # fmt: skip
MEASURED = replace(CONTRACT, sensitivity=LAYERS, sensitivity_on=ON)


def section(contract: Contract, folder: Path) -> Element:
    page = parsed(render(view_of(write_full(folder / "m.edgekit", contract=contract))))
    return page.section("sensitivity")


def rows(shown: Element) -> dict[str, dict[str, Element]]:
    """Return the cells by layer and by the words that stand before them on a phone."""
    return {
        next(row.each("th")).text: {cell.attributes["data-label"]: cell for cell in row.each("td")}
        for row in next(shown.each("tbody")).each("tr")
    }


def test_layers_come_in_the_order_they_would_go_back_to_float(tmp_path: Path) -> None:
    shown = rows(section(MEASURED, tmp_path))

    assert list(shown) == ["small", "large", "gain"]
    assert [cells["No."].text for cells in shown.values()] == ["1", "2", "3"]


def test_a_loss_is_in_the_promise_s_unit(tmp_path: Path) -> None:
    shown = rows(section(MEASURED, tmp_path))

    # The promise is relative, and the float model has 0.8.
    words = [cells["Lost"].text.split(" %")[0] for cells in shown.values()]
    assert words == ["0.5", "2", "\N{MINUS SIGN}1"]


def test_bars_of_losses_are_in_proportion_and_a_gain_has_none(tmp_path: Path) -> None:
    shown = rows(section(MEASURED, tmp_path))

    widths = [
        [float(bar.attributes["width"].rstrip("%")) for bar in cells["Lost"].with_class("fill")]
        for cells in shown.values()
    ]
    assert widths == [[25.0], [100.0], [0.0]]


def test_times_stand_under_their_runtime(tmp_path: Path) -> None:
    shown = rows(section(MEASURED, tmp_path))

    assert shown["small"]["µs saved, openvino"].text == "\N{MINUS SIGN}1.5"
    assert shown["small"]["µs saved, litert"].text == "18.3"
    assert shown["large"]["µs saved, openvino"].text == "41.3"
    assert shown["large"]["µs saved, litert"].text == ""


def test_what_was_measured_is_said(tmp_path: Path) -> None:
    assert f"Measured: {ON}." in section(MEASURED, tmp_path).text


def test_older_bundles_show_what_they_have(tmp_path: Path) -> None:
    shown = section(CONTRACT, tmp_path)

    heads = [cell.text for cell in next(shown.each("thead")).each("th")]
    assert heads == ["No.", "Layer", "Operator", "Error", "SQNR, dB", "Share of the work"]
    assert "Measured:" not in shown.text
    assert list(rows(shown)) == ["conv1", "conv2"]


@pytest.mark.parametrize(
    "odd",
    [
        {"lost": "x", "saved_us": "x"},
        {"lost": 1e300, "saved_us": {"a": 1e300, "b": None, "c": True}},
        {"lost": None, "saved_us": []},
        {"lost": True},
    ],
    ids=["words", "huge", "null", "truth"],
)
def test_what_is_no_number_is_not_measured(odd: dict[str, Any]) -> None:
    (layer,) = read_layers([{"layer": "x", "output_sqnr_db": 1.0, **odd}])

    assert (layer.lost, layer.saved_us) == (None, {})


def test_entries_that_are_left_out_keep_the_places_of_others() -> None:
    layers = read_layers([{"layer": "bad"}, {"layer": "good", "output_sqnr_db": 1.0}])

    assert [(item.order, item.layer) for item in layers] == [(2, "good")]


def test_a_float_model_that_reaches_nothing_has_no_share_to_lose() -> None:
    table = layer_table(replace(MEASURED, baseline=0.0))

    assert [row.lost for row in table.rows] == ["", "", ""]


def test_many_runtimes_do_not_make_a_wide_table() -> None:
    times = {f"runtime {number}": 1.0 for number in range(50)}
    table = layer_table(replace(MEASURED, sensitivity=({**LAYERS[0], "saved_us": times},)))

    assert len(table.runtimes) == len(table.rows[0].saved) == 4


def test_nodes_in_float_are_told_once_for_all_that_keep_them(tmp_path: Path) -> None:
    nodes = {"openvino-int8": ("conv1",), "onnx-int8": ("conv1",), "tensorrt-int8": ()}
    contract = replace(CONTRACT, float_nodes=nodes)

    page = parsed(render(view_of(write_full(tmp_path / "m.edgekit", contract=contract))))

    titles = [item.text for item in page.section("float").each("h3")]
    assert titles == ["openvino-int8 and onnx-int8: 1 node"]
