"""Ranges of shapes for a TensorRT engine: the model can have them, and so can what is fed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tiny_onnx import build, normal

from edgekit.cli.main import main
from edgekit.converters.emitters.tensorrt import emit
from edgekit.converters.onnx_model import graph_from_bytes, write_graph
from edgekit.errors import ShapeError
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.target import TARGETS, ShapeRange, Target


def picture(op: str, constant: object, *, flat: bool = False) -> Graph:
    """Return one layer, x:(n, 3, height, 8) -> y, behind a Flatten where it takes rows."""
    nodes = [
        *([helper.make_node("Flatten", ["x"], ["rows"], name="flatten")] if flat else []),
        helper.make_node(op, ["rows" if flat else "x", "w"], ["y"], name="layer"),
    ]
    model = build(
        nodes,
        inputs={"x": ["n", 3, "height", 8]},
        outputs={"y": None},
        constants={"w": np.asarray(constant)},
    )
    return graph_from_bytes(model.SerializeToString())


def rows(*heights: int, batches: tuple[int, int, int] = (1, 2, 4)) -> Target:
    low, usual, high = (
        (batch, 3, height, 8) for batch, height in zip(batches, heights, strict=True)
    )
    return replace(TARGETS["tensorrt"], ranges={"x": (low, usual, high)})


@dataclass(frozen=True)
class Wrong:
    id: str
    graph: Callable[[], Graph]
    target: Target
    said: str


WRONG = [
    Wrong(
        "product",
        lambda: picture("MatMul", normal((192, 5)), flat=True),
        rows(8, 8, 16),
        r"largest shapes of --shape, x:4x3x16x8, are none that the model can have: .*layer",
    ),
    Wrong(
        "reshape",
        lambda: picture("Reshape", np.array([0, 192])),
        rows(8, 8, 16),
        r"largest .*'layer' \(Reshape\) makes 4x192 of 4x3x16x8",
    ),
    Wrong(
        "usual",
        lambda: picture("Reshape", np.array([1, 192])),
        rows(8, 8, 8),
        r"usual shapes of --shape, x:2x3x8x8, .* makes 1x192 of 2x3x8x8",
    ),
    Wrong(
        "too_small",
        lambda: picture("Conv", normal((4, 3, 5, 5))),
        rows(3, 8, 16),
        r"smallest .*'layer' \(Conv\) finds no place for its window in 1x3x3x8",
    ),
    Wrong(
        "just_too_small",
        lambda: picture("Conv", normal((4, 3, 5, 5))),
        rows(4, 8, 16),
        "smallest .* finds no place for its window in 1x3x4x8",
    ),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.id)
def test_a_range_that_the_model_cannot_have_is_refused(case: Wrong, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=case.said):
        emit(case.graph(), tmp_path, target=case.target)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["tensorrt:fp16", "tensorrt-rtx:fp16"])
def test_the_command_ends_with_a_sentence_and_no_bundle(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "model.onnx", tmp_path / "model.edgekit"
    write_graph(picture("Reshape", np.array([0, 192])), source)
    words = ("--shape", "x:1x3x8x8..4x3x16x8", "-t", target, "-o", str(output))

    status = main(["convert", str(source), *words])

    assert status == 4
    assert "'layer' (Reshape) makes 1x192 of 1x3x16x8; give other" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("op", ["Conv", "Reshape"])
def test_a_range_that_it_can_have_is_in_the_recipe(op: str, tmp_path: Path) -> None:
    constant = normal((4, 3, 3, 3)) if op == "Conv" else np.array([0, -1])

    (profile,) = emit(picture(op, constant), tmp_path, target=rows(3, 8, 16)).recipe["profiles"]

    assert profile == {"x": {"min": [1, 3, 3, 8], "opt": [2, 3, 8, 8], "max": [4, 3, 16, 8]}}


def test_a_range_of_what_takes_frames_is_one_of_frames(tmp_path: Path) -> None:
    given: ShapeRange = ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8))
    target = replace(TARGETS["tensorrt"], ranges={"x": given})
    graph = graph_from_bytes(
        build(
            [helper.make_node("Conv", ["x", "w"], ["y"], name="layer")],
            inputs={"x": ["n", 3, 8, 8]},
            outputs={"y": None},
            constants={"w": normal((4, 3, 3, 3))},
        ).SerializeToString()
    )

    artifact = emit(
        graph, tmp_path, target=target, preprocess={"x": Preprocess.parse("scale=1/255")}
    )

    assert artifact.inputs[0].shape == ("n", 8, 8, 3)
    (profile,) = artifact.recipe["profiles"]
    assert profile == {"x": {"min": [1, 8, 8, 3], "opt": [2, 8, 8, 3], "max": [4, 8, 8, 3]}}
