"""The adapter on every release that people have.

Releases 10.3 to 11.4: NVIDIA's own Python bindings, imported over a stub library in a child.
8.5 and 8.6: what their bindings offer, recorded. On all of them the adapter's whole flow runs
against a recorder of that shape (simulated): each name and argument that it uses is there, and
each branch between releases goes the right way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tensorrt_recorder import Recorder

from edgekit.errors import TensorRtError
from edgekit.runtimes.tensorrt.calibration import running_cache
from edgekit.runtimes.tensorrt.profile import Profile
from edgekit.runtimes.tensorrt.release import Release
from edgekit.runtimes.tensorrt.spec import BuildSpec
from edgekit.tensor import DType

TESTS = Path(__file__).parent
sys.path.append(str(TESTS.parent / "scripts"))

from fetch_tensorrt_bindings import (  # noqa: E402
    NOT_FOR_3_13,
    RELEASES,
    cache_folder,
    fetch,
    unpack,
)

RECORDED = json.loads((TESTS / "data" / "tensorrt_api.json").read_text())
REAL = [
    pytest.param(
        release,
        marks=pytest.mark.skipif(
            sys.version_info >= (3, 13) and release in NOT_FOR_3_13,
            reason="NVIDIA has no wheel of this release for Python 3.13",
        ),
    )
    for release in RELEASES
]
ALL = [*RECORDED, *REAL]
SHAPES = ((1, 3, 8, 8), (2, 3, 8, 8), (8, 3, 8, 8))


@cache
def stub(major: str, folder: Path) -> Path:
    """Compile the libraries that a binding links against; return their folder."""
    folder.mkdir()
    for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        target = f"lib{name}.so.{major}"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{target}", "-o", folder / target]
        subprocess.run([*command, TESTS / "native" / "tensorrt_stub.c"], check=True)
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function: what the child finds on the real binding of a release."""
    root = tmp_path_factory.mktemp("bindings")

    @cache
    def find(release: str) -> dict[str, Any]:
        major = release.partition(".")[0]
        package = unpack(fetch(release, cache_folder()), root / release)
        paths = [package, TESTS, TESTS.parent]
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(stub(major, root / f"stub{major}")),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
        }
        child = subprocess.run(
            [sys.executable, TESTS / "tensorrt_bindings_child.py"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert child.returncode == 0, child.stderr
        result: dict[str, Any] = json.loads(child.stdout)
        return result

    return find


def offers_of(release: str, found: Any) -> Mapping[str, Any]:
    return RECORDED[release] if release in RECORDED else found(release)["offers"]


@pytest.mark.parametrize("release", REAL)
def test_a_real_binding_opens_and_says_its_release(release: str, found: Any) -> None:
    assert found(release)["release"] == release
    assert found(release)["dims"] == [1, 3]
    assert found(release)["log"] == "a line"


@pytest.mark.parametrize("release", REAL)
def test_without_a_gpu_a_real_binding_gives_our_error(release: str, found: Any) -> None:
    # The binding itself says "TypeError: factory function returned nullptr".
    assert "failed in making a builder; check the GPU" in found(release)["builder"]
    assert "failed in making a runtime; check the GPU" in found(release)["runtime"]


@pytest.mark.parametrize("release", REAL)
def test_a_real_calibrator_gives_the_cache_of_its_release(release: str, found: Any) -> None:
    has = Release.parse(release).in_range("<11")

    assert found(release)["features"]["calibrator"] is has
    if has:
        number = Release.parse(release).calibration_number()
        assert found(release)["cache"] == f"TRT-{number}-EntropyCalibration2\nx: 3c010204\n"
        assert found(release)["batch"] == [1, None]
    else:
        assert "takes int8 as Q/DQ pairs only" in found(release)["calibrator"]


@dataclass(frozen=True)
class Branch:
    """Which releases have a feature, from NVIDIA's migration pages."""

    feature: str
    releases: str


BRANCHES = [
    Branch("builder", ">=8.5"),
    Branch("strongly_typed", ">=10"),
    Branch("explicit_batch_flag", "<11"),
    Branch("fp16_flag", "<11"),
    Branch("int8_flag", "<11"),
    Branch("calibrator", "<11"),
    Branch("optimization_level", ">=8.6"),
    Branch("timing_cache", ">=8.5"),
    Branch("progress", ">=10"),
    Branch("compute_capabilities", ">=99"),
    Branch("dla", ">=8.5"),
    Branch("named_tensors", ">=8.5"),
    Branch("inspector", ">=8.5"),
    Branch("plugins", ">=8.5"),
    Branch("engine_validity", ">=99"),
]


@pytest.mark.parametrize("release", ALL)
def test_each_release_has_the_features_of_its_time(release: str, found: Any) -> None:
    api = Recorder(offers_of(release, found), {}).api

    expected = {case.feature: api.release.in_range(case.releases) for case in BRANCHES}
    assert api.features == expected
    if release in RELEASES:
        assert found(release)["features"] == expected


ANSWERS = {
    "Builder.num_DLA_cores": 2,
    "Builder.build_serialized_network": b"an engine",
    "ITimingCache.serialize": b"measured",
    "INetworkDefinition.num_inputs": 1,
    "INetworkDefinition.get_input": lambda index: Input(),
    "ICudaEngine.num_io_tensors": 1,
    "ICudaEngine.get_tensor_name": "x",
    "ICudaEngine.get_tensor_shape": [-1, 3, 8, 8],
    "ICudaEngine.num_optimization_profiles": 1,
    "ICudaEngine.get_tensor_profile_shape": SHAPES,
    "EngineInspector.get_engine_information": "{}",
    "IExecutionContext.infer_shapes": [],
    "IExecutionContext.get_tensor_shape": [2, 4, 8, 8],
}


class Input:
    name = "x"
    is_shape_tensor = False


def recorder(release: str, found: Any) -> Recorder:
    made = Recorder(offers_of(release, found), ANSWERS)
    enums = made.module
    made.answers["ICudaEngine.get_tensor_dtype"] = enums.DataType.HALF
    made.answers["ICudaEngine.get_tensor_mode"] = enums.TensorIOMode.INPUT
    made.answers["ICudaEngine.get_tensor_location"] = enums.TensorLocation.DEVICE
    return made


def spec_for(made: Recorder, model: Path, **settings: Any) -> BuildSpec:
    has = made.api.features
    flags = ("INT8", "FP16") if has["fp16_flag"] else ()
    batch = ("EXPLICIT_BATCH",) if not has["strongly_typed"] else ()
    given = {"builder_flags": flags, "network_flags": batch, **settings}
    return BuildSpec(model, "", "int8", made.api.release, **given)


def built(made: Recorder, spec: BuildSpec) -> bytes:
    api = made.api
    builder = api.create_builder()
    network = api.create_network(builder, flags=spec.network_flags)
    parser = api.parse(network, spec.model)
    config = api.create_config(builder, spec, network)
    api.load_timing_cache(config, b"kept")
    api.watch(config, lambda percent: None)
    plan = api.build(builder, network, config)
    assert api.timing_cache(config) == b"measured"
    assert parser is not None
    return bytes(plan)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"onnx")
    return path


@pytest.mark.parametrize("release", ALL)
def test_a_build_uses_what_the_release_offers(release: str, found: Any, model: Path) -> None:
    made = recorder(release, found)
    spec = spec_for(made, model, profiles=(Profile({"x": SHAPES}),), optimization_level=3)

    plan = built(made, spec)

    assert plan == b"an engine"
    assert made.called("OnnxParser.parse_from_file") == [(str(model),)]
    assert made.called("IOptimizationProfile.set_shape") == [("x", *map(list, SHAPES))]
    pool = made.module.MemoryPoolType.WORKSPACE
    assert made.called("IBuilderConfig.set_memory_pool_limit") == [(pool, 512 << 20)]
    assert made.called("IBuilderConfig.profiling_verbosity") == [
        (made.module.ProfilingVerbosity.DETAILED,)
    ]
    levels = made.called("IBuilderConfig.builder_optimization_level")
    assert levels == ([(3,)] if made.api.release.in_range(">=8.6") else [])
    flags = [flag.name for (flag,) in made.called("IBuilderConfig.set_flag")]
    assert flags == (["INT8", "FP16"] if made.api.release.in_range("<11") else [])
    assert bool(made.called("IBuilderConfig.progress_monitor")) == made.api.features["progress"]


@pytest.mark.parametrize("release", ALL)
def test_a_network_flag_is_its_releases_bit(release: str, found: Any, model: Path) -> None:
    made = recorder(release, found)
    strong = made.api.features["strongly_typed"]
    name = "STRONGLY_TYPED" if strong else "EXPLICIT_BATCH"

    built(made, spec_for(made, model, network_flags=(name,), builder_flags=()))

    # NVIDIA's headers: kSTRONGLY_TYPED is 1 in release 10 and 0 in 11; kEXPLICIT_BATCH is 0.
    expected = 2 if made.api.release.in_range(">=10,<11") else 1
    assert made.called("Builder.create_network") == [(expected,)]


@pytest.mark.parametrize("release", ALL)
def test_a_flag_that_the_release_lacks_is_our_error(release: str, found: Any, model: Path) -> None:
    made = recorder(release, found)
    lacks = "FP16" if made.api.release.in_range(">=11") else "FP32"

    with pytest.raises(TensorRtError, match=rf"has no BuilderFlag\.{lacks}"):
        built(made, spec_for(made, model, builder_flags=(lacks,)))


@pytest.mark.parametrize("release", ALL)
def test_a_dla_build_sets_device_core_fallback_and_calibrator(
    release: str, found: Any, model: Path
) -> None:
    made = recorder(release, found)
    table = model.with_suffix(".cache")
    table.write_bytes(b"TRT-8502-EntropyCalibration2\nx: 3c010204\n")
    calibration = table if made.api.features["calibrator"] else None

    built(made, spec_for(made, model, dla_core=1, calibration=calibration))

    assert made.called("IBuilderConfig.DLA_core") == [(1,)]
    assert made.called("IBuilderConfig.default_device_type") == [(made.module.DeviceType.DLA,)]
    flags = [flag.name for (flag,) in made.called("IBuilderConfig.set_flag")]
    assert "GPU_FALLBACK" in flags
    calibrators = made.called("IBuilderConfig.int8_calibrator")
    assert len(calibrators) == (1 if calibration is not None else 0)


def test_a_dla_core_that_is_not_there_is_named(found: Any, model: Path) -> None:
    made = recorder("8.5.3.1", found)

    with pytest.raises(TensorRtError, match=r"DLA core 2 .* has 2 \(0 to 1\)"):
        built(made, spec_for(made, model, dla_core=2))


@pytest.mark.parametrize("release", ALL)
def test_other_gpus_are_for_rtx_alone(release: str, found: Any, model: Path) -> None:
    made = recorder(release, found)

    with pytest.raises(TensorRtError, match="only TensorRT-RTX"):
        built(made, spec_for(made, model, compute_capabilities=("8.6",)))


@pytest.mark.parametrize("release", ALL)
def test_a_run_uses_what_the_release_offers(release: str, found: Any) -> None:
    made = recorder(release, found)
    api = made.api

    engine = api.deserialize(api.runtime(), b"an engine", dla_core=1)
    (tensor,) = api.tensors(engine)
    context = api.create_context(engine)
    api.use_profile(context, 0, 7)
    api.set_shape(context, "x", (2, 3, 8, 8))
    api.set_address(context, "x", 4096)
    watch = api.watch_shape(context, "x", capacity=64)
    api.execute(context, 7)

    assert (tensor.dtype, tensor.shape, tensor.profiles) == (
        DType.FLOAT16,
        (-1, 3, 8, 8),
        (SHAPES,),
    )
    assert made.called("Runtime.DLA_core") == [(1,)]
    assert made.called("IExecutionContext.set_input_shape") == [("x", [2, 3, 8, 8])]
    assert made.called("IExecutionContext.execute_async_v3") == [(7,)]
    assert api.output_shape(context, "x") == (2, 4, 8, 8)
    assert api.missing_shapes(context) == ()
    assert api.max_output_bytes(context, "x") == 0
    assert api.inspect(engine) == "{}"
    assert watch.shape is None


REFUSED = {
    "Builder.create_network": None,
    "Builder.create_builder_config": None,
    "Builder.build_serialized_network": None,
    "IBuilderConfig.add_optimization_profile": -1,
    "OnnxParser.parse_from_file": False,
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("release", ["8.5.3.1", "8.6.0"])
def test_a_builders_silent_no_is_our_error(
    name: str, release: str, found: Any, model: Path
) -> None:
    made = recorder(release, found)
    made.answers[name] = REFUSED[name]

    with pytest.raises(TensorRtError, match="failed in"):
        built(made, spec_for(made, model, profiles=(Profile({"x": SHAPES}),)))


def test_a_timing_cache_of_another_device_is_left_out(found: Any, model: Path) -> None:
    made = recorder("8.6.0", found)
    made.answers["IBuilderConfig.set_timing_cache"] = False
    api = made.api
    builder = api.create_builder()
    config = api.create_config(builder, spec_for(made, model), api.create_network(builder))

    assert api.load_timing_cache(config, b"theirs") is False


@pytest.mark.parametrize("text", [b"", b"TRT-8502-MinMaxCalibration\nx: 3c010204\n", b"junk\nx"])
def test_what_is_no_calibration_cache_is_refused(text: bytes) -> None:
    with pytest.raises(TensorRtError, match="calibration cache begins with"):
        running_cache(text, Release.parse("10.3.0"))
