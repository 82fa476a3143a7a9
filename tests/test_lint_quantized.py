"""``edgekit lint`` on models that are quantized already: what their integers run into."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import pytest
from onnx.helper import make_node
from quantize_models import minmax_ranges, noise, to_graph, weights
from tiny_onnx import build

from edgekit.cli.main import main
from edgekit.converters.onnx_model import graph_to_bytes
from edgekit.converters.quantize import pick_scheme, quantize, to_qdq
from edgekit.graph import Graph
from edgekit.ranges import Ranges


def silu() -> Graph:
    """Return a SiLU between two convolutions."""
    nodes = [
        make_node("Conv", ["x", "w0"], ["c"], name="first"),
        make_node("Sigmoid", ["c"], ["g"], name="gate"),
        make_node("Mul", ["c", "g"], ["s"], name="swish"),
        make_node("Conv", ["s", "w1"], ["y"], name="last"),
    ]
    constants = {"w0": weights(4, 3, 1, 1), "w1": weights(4, 4, 1, 1, seed=1)}
    return to_graph(
        build(nodes, inputs={"x": [1, 3, 8, 8]}, outputs={"y": [1, 4, 8, 8]}, constants=constants)
    )


def silu_ranges() -> Ranges:
    return minmax_ranges(silu(), noise(silu()))


def written(path: Path, *, keep_float: Collection[str] = ()) -> Path:
    scheme = pick_scheme("onnx")
    table = quantize(silu(), silu_ranges(), scheme, keep_float=keep_float)
    path.write_bytes(graph_to_bytes(to_qdq(table, scheme)))
    return path


def rules_found(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["lint", str(path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["is_quantized"]
    return [hazard["rule"] for hazard in answer["hazards"]]


def test_a_hazard_that_is_in_integers_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "q.onnx")

    assert rules_found(path, capsys) == ["swish"]


def test_a_hazard_that_its_maker_left_in_float_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "q.onnx", keep_float=["first", "gate", "swish", "last"])
    other = written(tmp_path / "o.onnx", keep_float=["gate", "swish", "last"])

    assert main(["lint", str(path)]) == 0
    assert "quantized already" not in capsys.readouterr().out
    assert rules_found(other, capsys) == []


def test_the_text_says_that_it_is_quantized(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["lint", str(written(tmp_path / "q.onnx"))])

    assert "q.onnx is quantized already" in capsys.readouterr().out


def test_ranges_beside_a_quantized_model_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silu_ranges().save(tmp_path / "r.json")

    status = main(["lint", str(written(tmp_path / "q.onnx")), "--ranges", str(tmp_path / "r.json")])

    assert status == 2
    assert "leave out --ranges" in capsys.readouterr().err
