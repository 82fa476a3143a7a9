"""The contract in a bundle: kept through a write and a read, refused where it is broken."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundle_models import FILES, make_manifest

from edgekit.bundle import (
    Bundle,
    Contract,
    ContractFigure,
    ContractStep,
    Manifest,
    Status,
    write_bundle,
)
from edgekit.errors import BundleFormatError

CONTRACT = Contract(
    limit=0.01,
    is_relative=True,
    metric="top1",
    samples="360 samples of heldout.npz",
    baseline=0.997,
    figures=(
        ContractFigure("openvino-fp32", "openvino 2026", "measured", 0.995, 0.002, 1.5),
        ContractFigure("tensorrt-fp16", "onnxruntime 1.32", "simulated", 0.99, 0.007),
    ),
    recipe="ranges by auto",
    float_nodes={"openvino-fp32": ("conv1",)},
    steps=(ContractStep("ranges by auto", {"openvino-fp32": 0.002}, 1.0, 0.5),),
    sensitivity=({"layer": "conv1", "output_sqnr_db": 31.5},),
    advice=("openvino: int8 wins",),
    ranges="ranges.json",
)


def broken(place: tuple[str | int, ...], value: Any) -> bytes:
    tree = copy.deepcopy(make_manifest(contract=CONTRACT).to_json())
    spot: Any = tree["contract"]
    for step in place[:-1]:
        spot = spot[step]
    spot[place[-1]] = value
    return json.dumps(tree).encode()


def test_a_contract_survives_the_bundle(tmp_path: Path) -> None:
    manifest = make_manifest(contract=CONTRACT)

    write_bundle(tmp_path / "m.edgekit", manifest, {**FILES, "ranges.json": b"{}"})

    assert Bundle.open(tmp_path / "m.edgekit").manifest.contract == CONTRACT


def test_a_bundle_whose_ranges_are_not_there_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"ranges\.json"):
        write_bundle(tmp_path / "m.edgekit", make_manifest(contract=CONTRACT), FILES)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("figures", 0, "lost"), 0.02, r"figures\[0\].*lost 0\.02"),
        (("figures", 0, "artifact"), "other", "other"),
        (("figures", 0, "artifact"), "tensorrt-fp16", "twice"),
        (("figures", 0, "status"), "guessed", "guessed"),
        (("figures",), [], "without figures"),
        (("limit",), -1, "limit"),
        (("limit",), "1%", r"contract\.limit"),
        (("is_relative",), 1, "true or false"),
        (("steps",), {}, r"contract\.steps"),
        (("float_nodes",), [], "float_nodes"),
    ],
)
def test_a_contract_that_is_broken_or_malformed_is_refused(
    place: tuple[str | int, ...], value: Any, words: str
) -> None:
    with pytest.raises(BundleFormatError, match=words):
        Manifest.from_bytes(broken(place, value))


def test_a_figure_that_breaks_the_promise_cannot_be_written() -> None:
    worse = replace(CONTRACT.figures[0], lost=0.011)

    with pytest.raises(BundleFormatError, match="promised"):
        make_manifest(contract=replace(CONTRACT, figures=(worse,)))


def test_a_simulated_artifact_says_why_and_is_not_verified() -> None:
    status = Status("simulated", "needs a GPU")

    assert not status.is_verified
    with pytest.raises(ValueError, match="reason"):
        Status("simulated")
