"""NVIDIA's real parser and builder, through the adapter, on a machine without a GPU.

They are TensorRT-RTX's, which need no GPU: every network of docs/conversion.md compiles, and
a bad model gives our error. A gate: on the machines that TensorRT-RTX is made for it fails
where it is not installed. It says nothing about speed, nor about a Jetson's engine.
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
from networks.subjects import Subject, all_subjects
from onnx import TensorProto, helper
from quantize_models import minmax_ranges
from tiny_onnx import build, normal

from edgekit.artifact import Artifact
from edgekit.converters.emitters.tensorrt import emit
from edgekit.converters.frontends.onnx import load_onnx
from edgekit.converters.passes import simplify
from edgekit.converters.quantize import pick_scheme, prepare_for_integers, quantize
from edgekit.errors import EngineMismatchError, TensorRtError
from edgekit.runtimes.tensorrt.api import Api, open_api
from edgekit.runtimes.tensorrt.build import build_engine
from edgekit.runtimes.tensorrt.profile import Profile
from edgekit.runtimes.tensorrt.spec import BuildOptions, BuildSpec, plan_build
from edgekit.target import pick_target

SUBJECTS = {subject.name: subject for subject in all_subjects()}
# Wide ones once: the shipped in float32, those with random weights in float16.
PLAIN = [name for name, one in SUBJECTS.items() if one.size == "small" or "shipped" in name]
TYPED = [name for name, one in SUBJECTS.items() if one.size == "small" or "shipped" not in name]
INTEGERS = (
    "squeezenet",
    "shufflenet",
    "mobilenet_v2",
    "mobilenet_v3_blocks",
    "grouped_net",
    "mlp",
    "text_cnn_float",
    "lstm",
    "fcn",
    "unet_transpose",
    "yolov8",
    "c3d",
    "vit",
    "yolox_nano",
    "yunet_n_640_640",
)
"""One of each kind of layer and trunk; all of them are quantized elsewhere."""
OPEN = [name for name, one in SUBJECTS.items() if one.shapes or "dynamic" in name]

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64") or sys.version_info >= (3, 14),
    reason="TensorRT-RTX has no wheel for this machine or Python",
)


@cache
def rtx() -> Api:
    return open_api("rtx", needs_builder=True)


@dataclass(frozen=True)
class Folder:
    """An artifact's files in a folder."""

    artifact: Artifact
    place: Path

    def path(self, role: str) -> Path:
        return self.place / self.artifact.files[role]

    def read(self, role: str) -> bytes:
        return self.path(role).read_bytes()


def compiled(
    source: Any, target: str, folder: Path, *, profiles: tuple[Profile, ...] = ()
) -> tuple[int, BuildSpec]:
    """Emit, plan and build for compute capability 8.6; return the engine's size and the spec."""
    artifact = emit(source, folder, target=pick_target(target))
    options = BuildOptions(compute_capabilities=("8.6",), profiles=profiles)
    spec = plan_build(
        artifact, Folder(artifact, folder), rtx().release, options=options, folder=folder
    )
    built = build_engine(rtx(), spec, folder / "model.plan")
    assert (folder / "model.plan").stat().st_size == built.plan_bytes
    return built.plan_bytes, spec


def graph_of(subject: Subject, folder: Path, *, fixed: bool = True) -> Any:
    path = subject.write(folder)
    return simplify(load_onnx(path, shapes=subject.shapes if fixed else None))


@pytest.mark.parametrize("name", PLAIN)
def test_every_network_compiles_in_float32(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    size, spec = compiled(graph_of(SUBJECTS[name], tmp_path), "tensorrt:fp32", tmp_path / "out")

    assert size > 0
    assert spec.strongly_typed


@pytest.mark.parametrize("name", TYPED)
def test_every_network_compiles_in_float16(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    size, spec = compiled(graph_of(SUBJECTS[name], tmp_path), "tensorrt:fp16", tmp_path / "out")

    assert size > 0
    assert spec.model.name == "model.typed.onnx"


@pytest.mark.parametrize("name", [name for name in INTEGERS if name in SUBJECTS])
def test_quantized_networks_compile(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    subject = SUBJECTS[name]
    graph = prepare_for_integers(graph_of(subject, tmp_path))
    feed = subject.inputs(onnx.load(subject.write(tmp_path)), seed=0)
    table = quantize(graph, minmax_ranges(graph, [feed]), pick_scheme("tensorrt", "int8"))

    size, spec = compiled(table, "tensorrt:int8", tmp_path / "out")

    assert size > 0
    assert spec.builder_flags == ()  # a typed network takes none


@pytest.mark.parametrize("name", OPEN)
def test_networks_with_dynamic_sizes_compile(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    graph = graph_of(SUBJECTS[name], tmp_path, fixed=False)

    size, spec = compiled(graph, "tensorrt:fp16", tmp_path / "out")

    assert size > 0
    assert spec.profiles


def bad(name: str) -> onnx.ModelProto:
    """Return a model that the parser must not take."""
    constants: dict[str, Any] = {"w": normal((4, 3, 3, 3))}
    picture, output = {"x": [1, 3, 8, 8]}, {"y": [1, 4, 8, 8]}
    conv = helper.make_node("Conv", ["d", "w"], ["y"], name="stem", pads=[1] * 4)
    if name == "zero_point":
        constants |= {"s": np.array(0.1, np.float32), "z": np.array(3, np.int8)}
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="the_node"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            conv,
        ]
    elif name == "quantized_bias":
        constants |= {"b": np.ones(4, np.int32), "s": np.array(0.1, np.float32)}
        nodes = [
            helper.make_node("DequantizeLinear", ["b", "s"], ["f"], name="the_node"),
            helper.make_node("Conv", ["x", "w", "f"], ["y"], pads=[1] * 4),
        ]
    else:
        picture, output, constants = {"x": [1, 2, 4, 4]}, {"y": [1, 2]}, {}
        nodes = [helper.make_node("Det", ["x"], ["y"], name="the_node")]
    return build(nodes, inputs=picture, outputs=output, constants=constants, opset=17)


@dataclass(frozen=True)
class Bad:
    id: str
    cause: str
    fix: str


BAD = [
    Bad("zero_point", "zero point that is not 0", "convert again"),
    Bad("quantized_bias", "a bias must stay float", "convert again"),
    Bad("operator", "parser does not take the operator", "docs/operators.md"),
]


def raw_spec(path: Path, **settings: Any) -> BuildSpec:
    given = {"compute_capabilities": ("8.6",), **settings}
    return BuildSpec(path, "", "fp32", rtx().release, **given)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_a_bad_model_is_our_error_with_node_cause_and_fix(case: Bad, tmp_path: Path) -> None:
    onnx.save(bad(case.id), tmp_path / "bad.onnx")

    with pytest.raises(TensorRtError, match="the_node") as caught:
        build_engine(rtx(), raw_spec(tmp_path / "bad.onnx"), tmp_path / "bad.plan")

    assert case.cause in str(caught.value)
    assert case.fix in str(caught.value)
    assert not (tmp_path / "bad.plan").exists()


@pytest.fixture
def open_model(tmp_path: Path) -> Path:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="stem", pads=[1] * 4)
    model = build(
        [node],
        inputs={"x": ["n", 3, 8, 8]},
        outputs={"y": ["n", 4, 8, 8]},
        constants={"w": normal((4, 3, 3, 3))},
        dtypes={"x": TensorProto.FLOAT},
        opset=17,
    )
    onnx.save(model, tmp_path / "open.onnx")
    return tmp_path / "open.onnx"


def profile(name: str, *batches: int, channels: int = 3) -> tuple[Profile, ...]:
    low, usual, high = ((batch, channels, 8, 8) for batch in batches)
    return (Profile({name: (low, usual, high)}),)


WRONG_PROFILES = {
    "missing": ((), "no profile says which"),
    "order": (profile("x", 4, 2, 8), "profile of input x is not in order"),
    "name": (profile("z", 1, 2, 8), "no input named 'z'; choose from: x"),
    "fixed_size": (profile("x", 1, 2, 8, channels=5), "contradicts the model at input x"),
}


@pytest.mark.parametrize("id", WRONG_PROFILES)
def test_a_wrong_profile_is_our_error(id: str, open_model: Path, tmp_path: Path) -> None:
    profiles, said = WRONG_PROFILES[id]

    with pytest.raises(TensorRtError, match=said):
        build_engine(rtx(), raw_spec(open_model, profiles=profiles), tmp_path / "x.plan")


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
