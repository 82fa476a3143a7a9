"""From an artifact's recipe to what one release builds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.artifact import Artifact
from edgekit.errors import TensorRtError, UsageError
from edgekit.runtimes.tensorrt.profile import Profile, parse_profile
from edgekit.runtimes.tensorrt.release import Release
from edgekit.runtimes.tensorrt.spec import BuildOptions, BuildSpec, plan_build
from edgekit.tensor import DType, TensorSpec

FIXED = TensorSpec("x", DType.FLOAT32, (1, 3, 8, 8))
OPEN = TensorSpec("x", DType.FLOAT32, ("batch", 3, "height", 8))
ASSUMED = {"min": [1, 3, 64, 8], "opt": [1, 3, 320, 8], "max": [8, 3, 1280, 8]}
OLD, MID, NEW = Release.parse("8.5.2"), Release.parse("10.3.0"), Release.parse("11.4.1")


@dataclass(frozen=True)
class Folder:
    """The files of an artifact, in a folder or, without one, in a bundle's zip."""

    artifact: Artifact
    place: Path | None = None

    def path(self, role: str) -> Path | None:
        return None if self.place is None else self.place / self.artifact.files[role]

    def read(self, role: str) -> bytes:
        return role.encode()


def builds(**form: Any) -> list[dict[str, Any]]:
    flags = form.get("flags", ["FP16"])
    typed = {"file": "typed", "network_flags": ["STRONGLY_TYPED"]}
    return [
        {"tensorrt": ">=11", "file": "typed", "network_flags": [], "builder_flags": []},
        {
            "tensorrt": ">=10,<11",
            "file": "model",
            "network_flags": [],
            "builder_flags": flags,
            "alternative": typed,
        },
        {
            "tensorrt": ">=8.5,<10",
            "file": "model",
            "network_flags": ["EXPLICIT_BATCH"],
            "builder_flags": flags,
        },
    ]


def made(precision: str = "fp16", spec: TensorSpec = FIXED, **recipe: Any) -> Artifact:
    return Artifact(
        format="tensorrt",
        precision=precision,
        files={"model": "model.onnx", "typed": "typed.onnx", "calibration": "cal.cache"},
        inputs=(spec,),
        outputs=(TensorSpec("y", DType.FLOAT32, (1, 2)),),
        recipe={
            "builds": builds(),
            "profiles": [] if spec.is_static else [{"x": ASSUMED}],
            "workspace_mib": 256,
            "oldest_tensorrt": "8.5",
            **recipe,
        },
    )


def plan(
    artifact: Artifact,
    release: Release,
    folder: Path,
    *,
    plain: Artifact | None = None,
    **options: Any,
) -> BuildSpec:
    return plan_build(
        artifact,
        Folder(artifact),
        release,
        options=BuildOptions(**options),
        folder=folder,
        plain=None if plain is None else (plain, Folder(plain)),
    )


@dataclass(frozen=True)
class Picked:
    id: str
    release: Release
    role: str
    builder_flags: tuple[str, ...]
    network_flags: tuple[str, ...]
    strongly_typed: bool


PICKED = [
    Picked("8.5", OLD, "model", ("FP16",), ("EXPLICIT_BATCH",), False),
    Picked("10.3", MID, "model", ("FP16",), (), False),
    Picked("11", NEW, "typed", (), (), True),
    Picked("rtx", Release.parse("rtx-1.7.1"), "typed", (), (), True),
]


@pytest.mark.parametrize("case", PICKED, ids=lambda case: case.id)
def test_each_release_gets_its_file_and_flags(case: Picked, tmp_path: Path) -> None:
    spec = plan(made(), case.release, tmp_path)

    assert spec.model.read_bytes() == case.role.encode()
    assert spec.builder_flags == case.builder_flags
    assert spec.network_flags == case.network_flags
    assert spec.strongly_typed is case.strongly_typed
    assert spec.workspace_mib == 256


def test_release_10_takes_the_typed_file_where_asked(tmp_path: Path) -> None:
    spec = plan(made(), MID, tmp_path, strongly_typed=True)

    assert spec.model.read_bytes() == b"typed"
    assert spec.network_flags == ("STRONGLY_TYPED",)
    assert spec.builder_flags == ()


def test_a_typing_that_a_release_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TensorRtError, match=r"no strongly typed form for TensorRT 8\.5\.2"):
        plan(made(), OLD, tmp_path, strongly_typed=True)


def test_a_release_outside_of_every_range_is_refused(tmp_path: Path) -> None:
    artifact = made(builds=builds()[:1])

    with pytest.raises(TensorRtError, match=r"TensorRT 10\.3\.0 is in none of .*: >=11"):
        plan(artifact, MID, tmp_path)


def test_operators_that_are_too_new_are_said_before_a_build(tmp_path: Path) -> None:
    with pytest.raises(TensorRtError, match=r"needs TensorRT 10\.15 or later .* here is 8\.5\.2"):
        plan(made(oldest_tensorrt="10.15"), OLD, tmp_path)


def test_an_artifact_without_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'tensorrt-fp16' has no recipe"):
        plan(replace(made(), recipe={}), MID, tmp_path)


def test_a_file_on_disk_is_used_where_it_lies(tmp_path: Path) -> None:
    artifact = made()
    (tmp_path / "model.onnx").write_bytes(b"onnx")

    spec = plan_build(artifact, Folder(artifact, tmp_path), MID, folder=tmp_path / "other")

    assert spec.model == tmp_path / "model.onnx"
    # printf onnx | sha256sum
    assert spec.model_sha256.startswith("87e93f89")


def test_a_spec_reads_as_it_is_written(tmp_path: Path) -> None:
    spec = plan(
        made(spec=OPEN),
        NEW,
        tmp_path,
        timing_cache=tmp_path / "t.cache",
        compute_capabilities=("8.6",),
        optimization_level=2,
    )

    assert BuildSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_settings_have_no_paths(tmp_path: Path) -> None:
    spec = plan(made(), NEW, tmp_path, timing_cache=tmp_path / "t.cache")

    assert str(tmp_path) not in json.dumps(spec.settings())
    assert spec.settings()["model_sha256"] == spec.model_sha256


def test_int8_on_a_dla_takes_the_float_file_and_the_cache(tmp_path: Path) -> None:
    spec = plan(made("int8"), MID, tmp_path, dla_core=0, plain=made("fp16"))

    assert spec.model.name == "tensorrt-fp16-model.onnx"
    assert spec.calibration is not None
    assert spec.calibration.read_bytes() == b"calibration"
    assert spec.builder_flags == ("INT8", "FP16")
    assert not spec.strongly_typed


def test_int8_on_a_dla_of_release_11_takes_the_pairs(tmp_path: Path) -> None:
    spec = plan(made("int8"), NEW, tmp_path, dla_core=0)

    assert spec.calibration is None
    assert spec.model.read_bytes() == b"typed"


def test_int8_on_a_dla_without_the_float_artifact_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(TensorRtError, match="--target tensorrt:fp16 --target tensorrt:int8"):
        plan(made("int8"), MID, tmp_path, dla_core=0)


def test_a_dla_takes_no_dynamic_sizes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a DLA cannot run; fix them: --shape x:1x3x64x8"):
        plan(made(spec=OPEN), MID, tmp_path, dla_core=0)


def test_profiles_are_the_recipes_where_none_are_given(tmp_path: Path) -> None:
    (profile,) = plan(made(spec=OPEN), MID, tmp_path).profiles

    assert profile.shapes["x"] == ((1, 3, 64, 8), (1, 3, 320, 8), (8, 3, 1280, 8))


def test_given_profiles_win(tmp_path: Path) -> None:
    name, sizes = parse_profile("x:1x3x32x8..4x3x64x8")

    (profile,) = plan(made(spec=OPEN), MID, tmp_path, profiles=(Profile({name: sizes}),)).profiles

    assert profile.shapes == {"x": ((1, 3, 32, 8), (1, 3, 64, 8), (4, 3, 64, 8))}


def test_a_fixed_input_needs_no_profile(tmp_path: Path) -> None:
    name, sizes = parse_profile("x:1x3x8x8")

    assert plan(made(), MID, tmp_path, profiles=(Profile({name: sizes}),)).profiles == ()


@dataclass(frozen=True)
class Wrong:
    id: str
    text: str
    said: str


WRONG = [
    Wrong("name", "z:1x3x32x8", "no input named 'z'"),
    Wrong("fixed", "x:1x4x32x8", "1x4x32x8 does not fit input x float32 batchx3xheightx8"),
    Wrong("rank", "x:1x3x32", "1x3x32 does not fit input x"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.id)
def test_a_profile_that_contradicts_the_model_is_refused(case: Wrong, tmp_path: Path) -> None:
    name, sizes = parse_profile(case.text)

    with pytest.raises(UsageError, match=case.said):
        plan(made(spec=OPEN), MID, tmp_path, profiles=(Profile({name: sizes}),))


def test_a_dynamic_input_without_shapes_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give them: --shape x:MIN\.\.MAX"):
        plan(made(spec=OPEN, profiles=[]), MID, tmp_path, profiles=(Profile({}),))


SHAPES = {
    "x:1x3x224x224": ((1, 3, 224, 224), (1, 3, 224, 224), (1, 3, 224, 224)),
    "x:1x3x224x224..8x3x640x640": ((1, 3, 224, 224), (1, 3, 640, 640), (8, 3, 640, 640)),
    "x:1x3x64x64..4x3x96x96..8x3x640x640": ((1, 3, 64, 64), (4, 3, 96, 96), (8, 3, 640, 640)),
}


@pytest.mark.parametrize("text", SHAPES)
def test_a_shape_option_reads_as_one_two_or_three_shapes(text: str) -> None:
    assert parse_profile(text) == ("x", SHAPES[text])


def test_a_name_may_hold_a_colon() -> None:
    assert parse_profile("serving:0:1x2")[0] == "serving:0"


@pytest.mark.parametrize(
    "text", ["x", "1x3", "x:", ":1x3", "x:1xa", "x:1x2..2x2..3x2..4x2", "x:2x3..1x3", "x:0x1"]
)
def test_a_malformed_shape_option_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="shape"):
        parse_profile(text)
