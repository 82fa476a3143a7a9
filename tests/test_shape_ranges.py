"""``--shape NAME:MIN..OPT..MAX`` and ``--engine``: into the recipe, and checked on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from networks.builder import NetBuilder

from edgekit.bundle import Bundle
from edgekit.cli.main import main
from edgekit.errors import UsageError
from edgekit.pipeline import convert
from edgekit.target import TARGETS, pick_target


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = NetBuilder("ranges")
    net.input("x", ("batch", 3, "height", "width"))
    net.nodes.append(onnx.helper.make_node("Relu", ["x"], ["y"], name="relu"))
    net.outputs.append(
        onnx.helper.make_tensor_value_info(
            "y", onnx.TensorProto.FLOAT, ["batch", 3, "height", "width"]
        )
    )
    path = tmp_path_factory.mktemp("ranges") / "model.onnx"
    onnx.save(net.model(), path)
    return path


def test_the_range_and_the_settings_are_in_the_recipe(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.edgekit"

    status = main(
        [
            *("convert", str(model), "-t", "tensorrt:fp16", "-o", str(output)),
            *("--shape", "x:1x3x32x32..2x3x64x64..8x3x128x128"),
            *("--engine", "workspace=256,level=4,dla=1"),
        ]
    )

    recipe = Bundle.open(output).artifact("tensorrt-fp16").recipe
    assert status == 0
    assert recipe["profiles"] == [
        {"x": {"min": [1, 3, 32, 32], "opt": [2, 3, 64, 64], "max": [8, 3, 128, 128]}}
    ]
    assert recipe["assumed"] == []
    assert (recipe["workspace_mib"], recipe["optimization_level"], recipe["dla_core"]) == (
        256,
        4,
        1,
    )


def test_without_a_name_it_is_the_only_input(model: Path, tmp_path: Path) -> None:
    target = replace(
        TARGETS["tensorrt"], ranges={"": ((1, 3, 8, 8), (1, 3, 16, 16), (1, 3, 16, 16))}
    )

    result = convert(model, targets=[target], output=tmp_path / "m.edgekit")

    assert set(result.bundle.artifact("tensorrt-fp32").recipe["profiles"][0]) == {"x"}


def test_a_target_of_fixed_shapes_takes_the_usual_one(model: Path, tmp_path: Path) -> None:
    target = replace(
        pick_target("tflite"), ranges={"x": ((1, 3, 8, 8), (1, 3, 16, 16), (4, 3, 32, 32))}
    )

    result = convert(model, targets=[target], output=tmp_path / "m.edgekit")

    assert result.built[0].graph.inputs[0].shape == (1, 3, 16, 16)
    assert result.notes[0].startswith("tflite needs fixed shapes: x = 1x3x16x16")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--shape", "x:1x3x64x64..1x3x32x64"), "min <= opt <= max"),
        (("--shape", "z:1x3x8x8..1x3x9x9"), "no input named 'z'"),
        (("--shape", "x:1x4x8x8..1x4x9x9"), "keep its rank and its fixed sizes"),
        (("--shape", "x:1x3x8..1x3x9x9"), "same rank"),
        (("--shape", "x:1x3xax8..1x3x9x9"), "is not NAME:SIZES"),
        (("--engine", "level=9"), "level=N"),
        (("--engine", "lvl=1"), "did you mean 'level'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, str],
    message: str,
) -> None:
    status = main(["convert", str(model), "-t", "tensorrt", "-o", str(tmp_path / "m"), *words])

    assert status == 2
    assert message in capsys.readouterr().err


def test_a_range_for_a_fixed_input_is_refused(model: Path, tmp_path: Path) -> None:
    target = replace(TARGETS["tensorrt"], ranges={"x": ((1, 3, 8, 8),) * 2 + ((1, 3, 16, 16),)})

    with pytest.raises(UsageError, match="does not fit input x"):
        convert(model, targets=[target], output=tmp_path / "m", shapes={"x": (1, 3, 8, 8)})
