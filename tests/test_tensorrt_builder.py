"""NVIDIA's real parser and builder, through the adapter, on a machine without a GPU.

They are TensorRT-RTX's, which need no GPU. A bad model, a bad file and a bad range of shapes give
our error; that all good networks compile is shown by test_tensorrt_networks.py. A gate: on the
machines that TensorRT-RTX is made for it fails where it is not installed.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from tiny_onnx import build, normal

from edgekit.errors import EngineMismatchError, TensorRtError
from edgekit.runtimes.tensorrt.api import Api, open_api
from edgekit.runtimes.tensorrt.build import build_engine
from edgekit.runtimes.tensorrt.profile import Profile
from edgekit.runtimes.tensorrt.spec import BuildSpec

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64") or sys.version_info >= (3, 14),
    reason="TensorRT-RTX has no wheel for this machine or Python",
)


@cache
def rtx() -> Api:
    return open_api("rtx", needs_builder=True)


ZERO = np.array(0, np.int8)
CONV = helper.make_node("Conv", ["d", "w"], ["y"], name="conv", pads=[1] * 4)
PICTURE, RESULT = {"x": [1, 3, 8, 8]}, {"y": [1, 4, 8, 8]}


def quantized(scale: float, point: Any = ZERO) -> onnx.ModelProto:
    """Return a convolution of a picture that is rounded first."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="the_node"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        CONV,
    ]
    constants = {"w": normal((4, 3, 3, 3)), "s": np.array(scale, np.float32), "z": point}
    return build(nodes, inputs=PICTURE, outputs=RESULT, constants=constants, opset=17)


def quantized_bias() -> onnx.ModelProto:
    nodes = [
        helper.make_node("DequantizeLinear", ["b", "s"], ["f"], name="the_node"),
        helper.make_node("Conv", ["x", "w", "f"], ["y"], pads=[1] * 4),
    ]
    constants = {"w": normal((4, 3, 3, 3)), "b": np.ones(4, np.int32), "s": np.float32(0.1)}
    return build(nodes, inputs=PICTURE, outputs=RESULT, constants=constants, opset=17)


def one_node(op: str, domain: str = "", **constants: Any) -> onnx.ModelProto:
    inputs = ["x", *constants]
    node = helper.make_node(op, inputs, ["y"], name="the_node", domain=domain)
    return build([node], inputs=PICTURE, outputs={"y": None}, constants=constants, opset=17)


@dataclass(frozen=True)
class Bad:
    id: str
    model: onnx.ModelProto
    cause: str
    fix: str


BAD = [
    Bad("zero_point", quantized(0.1, ZERO + 3), "zero point that is not 0", "convert again"),
    Bad("unsigned", quantized(0.1, np.uint8(128)), "zero point that is not 0", "convert again"),
    Bad("zero_scale", quantized(0.0), "scale that is 0, negative", "convert again"),
    Bad("negative_scale", quantized(-0.1), "scale that is 0, negative", "convert again"),
    Bad("nan_scale", quantized(np.nan), "not a number", "convert again"),
    Bad("quantized_bias", quantized_bias(), "a bias must stay float", "convert again"),
    Bad("operator", one_node("Det"), "parser does not take the operator", "docs/operators.md"),
    Bad("plugin", one_node("Mine", "my.company"), "no plugin for it", "replace it"),
    Bad("channels", one_node("Conv", w=normal((4, 5, 3, 3))), "number of channels", "export it"),
    Bad("reshape", one_node("Reshape", s=np.array([5, 5])), "[1,3,8,8] to [5,5]", "--shape"),
]


def raw_spec(path: Path, **settings: Any) -> BuildSpec:
    given = {"compute_capabilities": ("8.6",), **settings}
    return BuildSpec(path, "", "fp32", rtx().release, **given)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_a_bad_model_is_our_error_with_node_cause_and_fix(case: Bad, tmp_path: Path) -> None:
    onnx.save(case.model, tmp_path / "bad.onnx")

    with pytest.raises(TensorRtError, match="the_node") as caught:
        build_engine(rtx(), raw_spec(tmp_path / "bad.onnx"), tmp_path / "bad.plan")

    assert case.cause in str(caught.value)
    assert case.fix in str(caught.value)
    assert not (tmp_path / "bad.plan").exists()


@pytest.mark.parametrize("data", [b"", b"hello", b"cut"], ids=["empty", "text", "cut_off"])
def test_a_file_that_is_no_model_is_our_error(data: bytes, tmp_path: Path) -> None:
    whole = one_node("Relu").SerializeToString()
    (tmp_path / "bad.onnx").write_bytes(whole[: len(whole) // 2] if data == b"cut" else data)

    with pytest.raises(TensorRtError, match=r"no ONNX model, or is cut off; .*edgekit verify"):
        build_engine(rtx(), raw_spec(tmp_path / "bad.onnx"), tmp_path / "bad.plan")


def saved(path: Path, op: str, constant: Any, **attributes: Any) -> Path:
    """Write a model of one layer whose batch, x:n, is dynamic."""
    node = helper.make_node(op, ["x", "w"], ["y"], name="stem", **attributes)
    model = build(
        [node],
        inputs={"x": ["n", 3, 8, 8]},
        outputs={"y": None},
        constants={"w": constant},
        opset=17,
    )
    onnx.save(model, path)
    return path


@pytest.fixture
def open_model(tmp_path: Path) -> Path:
    return saved(tmp_path / "open.onnx", "Conv", normal((4, 3, 3, 3)), pads=[1] * 4)


def profile(name: str, *batches: int, channels: int = 3) -> tuple[Profile, ...]:
    low, usual, high = ((batch, channels, 8, 8) for batch in batches)
    return (Profile({name: (low, usual, high)}),)


def of_rank(rank: int) -> tuple[Profile, ...]:
    return (Profile({"x": ((1, 3, 8, 8)[:rank],) * 3}),)


WRONG_PROFILES = {
    "missing": ((), "no profile says which"),
    "order": (profile("x", 4, 2, 8), "profile of input x is not in order"),
    "name": (profile("z", 1, 2, 8), "no input named 'z'; choose from: x"),
    "fixed_size": (profile("x", 1, 2, 8, channels=5), "contradicts the model at input x"),
    "rank": (of_rank(3), "gives input x 3 sizes; the model's has 4"),
    "no_size": (profile("x", -1, 2, 8), "profile of input 'x' is not taken: .*sizes from 1"),
    "too_large": (profile("x", 1, 2, 2**31), "profile of input 'x' is not taken: .*sizes from 1"),
}


@pytest.mark.parametrize("id", WRONG_PROFILES)
def test_a_wrong_profile_is_our_error(id: str, open_model: Path, tmp_path: Path) -> None:
    profiles, said = WRONG_PROFILES[id]

    with pytest.raises(TensorRtError, match=said):
        build_engine(rtx(), raw_spec(open_model, profiles=profiles), tmp_path / "x.plan")


def test_a_range_that_the_model_cannot_have_is_our_error(tmp_path: Path) -> None:
    path = saved(tmp_path / "fixed.onnx", "Reshape", np.array([1, 192]))

    with pytest.raises(TensorRtError, match="node stem: a layer cannot have the sizes") as caught:
        build_engine(rtx(), raw_spec(path, profiles=profile("x", 2, 3, 4)), tmp_path / "x.plan")

    assert "reshape changes volume" in str(caught.value)
    assert "--shape NAME:MIN..MAX" in str(caught.value)


def test_a_right_profile_builds_and_says_how_far_it_is(open_model: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int | None]] = []
    spec = raw_spec(open_model, profiles=profile("x", 1, 2, 8), optimization_level=1)

    build_engine(
        rtx(), spec, tmp_path / "x.plan", tell=lambda stage, percent: told.append((stage, percent))
    )

    assert [stage for stage, percent in told if percent is None] == ["parse", "build", "serialize"]
    percents = [percent for _, percent in told if percent is not None]
    assert percents == sorted(percents)
    assert percents[-1] > 50


def test_what_is_no_engine_is_a_mismatch() -> None:
    with pytest.raises(EngineMismatchError, match="no plain engine"):
        rtx().deserialize(rtx().runtime(), b"junk" * 100)


def run_module(spec: dict[str, Any], folder: Path) -> tuple[int, dict[str, Any]]:
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "edgekit.runtimes.tensorrt.build"]
    child = subprocess.run(
        [*command, folder / "spec.json", folder / "made.plan"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return child.returncode, json.loads(child.stdout.splitlines()[-1])


def test_the_module_builds_and_writes_one_document_per_line(
    open_model: Path, tmp_path: Path
) -> None:
    spec = raw_spec(open_model, profiles=profile("x", 1, 2, 8))

    status, last = run_module(spec.to_json(), tmp_path)

    assert status == 0
    assert last["done"]["plan_bytes"] == (tmp_path / "made.plan").stat().st_size


def test_the_modules_last_line_is_its_error(open_model: Path, tmp_path: Path) -> None:
    status, last = run_module(raw_spec(open_model).to_json(), tmp_path)

    assert status == 1
    assert last["code"] == "EK422"
    assert "no profile says which" in last["error"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["open.onnx", "spec.json"]
