"""Every network of docs/conversion.md compiles with NVIDIA's own parser and builder.

In float32, float16 and int8, of fixed and of dynamic sizes, by the product's own path: its
passes, calibration, emitter, recipe and child process, so that a builder that dies fails one
test. TensorRT-RTX needs no GPU for it. A gate: it fails where TensorRT-RTX could be installed
and is not. It says nothing about speed, nor about a Jetson's engine.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from networks.subjects import all_subjects
from tensorrt_networks import Feed, Network

from edgekit.artifact import Artifact
from edgekit.converters.emitters.tensorrt import emit
from edgekit.converters.emitters.tensorrt_rtx import COMPUTE_CAPABILITIES
from edgekit.errors import ShapeError, UnsupportedOperatorError
from edgekit.graph import Graph
from edgekit.quantized import QuantizedGraph
from edgekit.runtimes.tensorrt.api import open_api
from edgekit.runtimes.tensorrt.child import Limits
from edgekit.runtimes.tensorrt.prepare import build_plan
from edgekit.runtimes.tensorrt.spec import BuildOptions, BuildSpec, Profile, plan_build
from edgekit.target import ShapeRange, pick_target

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64") or sys.version_info >= (3, 14),
    reason="TensorRT-RTX has no wheel for this machine or Python",
)

SUBJECTS = {subject.name: subject for subject in all_subjects()}
# Longer than any takes here by far; a builder that hangs is ended.
LIMITS = Limits(timeout_s=240)
EMITTED_RTOL = 1e-3  # of the largest value, as docs/conversion.md holds fixed sizes to

FLOAT = {
    name: "recurrent layers stay float, and the head has fewer than 16 columns"
    for name in SUBJECTS
    if "lstm" in name or "gru" in name
}
"""Networks of which nothing becomes an integer, and why."""

RESHAPED, MULTIPLIED = "tensor cannot be reshaped", "GEMM: Dimension mismatch"
LIGHT = ("alexnet", "inception_v1", "inception_v2", "resnet50", "shufflenet", "vgg19", "zfnet512")
ONE_SIZE = {
    **{f"{name}{kind}": RESHAPED for name in LIGHT for kind in ("", "_shipped")},
    **dict.fromkeys(("c3d", "yolov5", "vit", "vit_primitive"), RESHAPED),
    **dict.fromkeys(("conv1d_stack", "mobileface_v2"), MULTIPLIED),
    **dict.fromkeys(("fsanet-1x1-iter-688590", "fsanet-var-iter-688590"), MULTIPLIED),
    # One window of its max pooling over time is the whole sequence.
    **dict.fromkeys(("text_cnn", "text_cnn_float"), "Dimension of input 2 must be 1"),
    "yolov8": "Attempting to broadcast an axis",  # its anchors are constants
    "vit_dynamic": "Got invalid dimensions",  # as its file has them
}
"""Networks of which only the batch can change, and what ONNX Runtime says of another size."""

REFUSED = {"segnet": r"MaxPool.*fix the sizes of the picture with --shape"}
"""The same, where ONNX Runtime computes other sizes and the converter refuses by name."""


@pytest.fixture(scope="module", params=SUBJECTS)
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    """Return one network, read and calibrated once for all tests of it."""
    name = request.param
    with tempfile.TemporaryDirectory(prefix="edgekit-network-") as folder:
        yield Network(SUBJECTS[name], Path(folder), only_batch=name in {*ONE_SIZE, *REFUSED})


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that is gone at once: some files have 500 MB."""
    with tempfile.TemporaryDirectory(prefix="edgekit-engine-") as place:
        yield Path(place)


@dataclass(frozen=True)
class Emitted:
    """An artifact in a folder, and how the release that is here builds it."""

    artifact: Artifact
    folder: Path

    def path(self, role: str) -> Path:
        return self.folder / self.artifact.files[role]

    def read(self, role: str) -> bytes:
        return self.path(role).read_bytes()

    def spec(self) -> BuildSpec:
        options = BuildOptions(compute_capabilities=COMPUTE_CAPABILITIES)
        release = open_api("rtx", needs_builder=True).release
        return plan_build(self.artifact, self, release, options=options, folder=self.folder)

    def compile(self, role: str) -> int:
        """Build one of the files; return the engine's size in bytes."""
        plan = self.folder / "engine.plan"
        build_plan(replace(self.spec(), model=self.path(role)), plan, limits=LIMITS)
        return plan.stat().st_size


def emitted(
    source: Graph | QuantizedGraph,
    precision: str,
    folder: Path,
    *,
    ranges: Mapping[str, ShapeRange] | None = None,
) -> Emitted:
    target = replace(pick_target(f"tensorrt:{precision}"), ranges=ranges or {})
    return Emitted(emit(source, folder, target=target), folder)


def test_float32_of_fixed_sizes_compiles(network: Network, folder: Path) -> None:
    made = emitted(network.fixed, "fp32", folder)

    assert made.spec().profiles == ()
    assert made.compile("model") > 0


def test_float16_of_fixed_sizes_compiles(network: Network, folder: Path) -> None:
    made = emitted(network.fixed, "fp16", folder)

    assert made.spec().model == made.path("typed")
    assert made.compile("typed") > 0


def test_int8_of_fixed_sizes_compiles(network: Network, folder: Path) -> None:
    made = emitted(network.fixed_int8, "int8", folder)

    assert made.spec().model == made.path("typed")
    assert made.compile("typed") > 0
    assert made.compile("model") > 0  # as 8.5 to 10 parse it


def test_float32_of_dynamic_sizes_compiles(network: Network, folder: Path) -> None:
    made = emitted(network.dynamic, "fp32", folder, ranges=network.ranges)

    assert made.spec().profiles == (Profile(network.ranges),)
    assert made.compile("model") > 0


def test_float16_of_dynamic_sizes_compiles(network: Network, folder: Path) -> None:
    made = emitted(network.dynamic, "fp16", folder, ranges=network.ranges)

    assert made.compile("typed") > 0


def test_int8_of_dynamic_sizes_compiles(network: Network, folder: Path) -> None:
    made = emitted(network.dynamic_int8, "int8", folder, ranges=network.ranges)

    assert made.compile("typed") > 0
    assert made.compile("model") > 0


@pytest.mark.parametrize("name", [name for name, one in SUBJECTS.items() if one.shapes])
def test_a_range_that_nobody_gave_is_assumed_and_compiles(name: str, folder: Path) -> None:
    made = emitted(Network(SUBJECTS[name], folder).dynamic, "fp16", folder)

    assert made.artifact.recipe["assumed"]
    assert made.compile("typed") > 0


def test_layers_become_integers(network: Network) -> None:
    is_float = network.subject.name in FLOAT

    assert bool(network.fixed_int8.codes) != is_float
    assert len(network.dynamic_int8.codes) >= len(network.fixed_int8.codes)


def run(path: Path, feed: Feed) -> Feed:
    """Return what ONNX Runtime computes."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def test_the_dynamic_file_computes_what_the_model_does(network: Network, folder: Path) -> None:
    """NVIDIA's builder looks at no size within the range: these ones exist."""
    feed = network.feed(batch=2, size=2)
    made = emitted(network.dynamic, "fp32", folder, ranges=network.ranges)

    wanted = network.subject.judge(run(network.opened, feed))
    got = run(made.path("model"), feed)

    for name, values in wanted.items():
        largest = np.abs(values).max()
        np.testing.assert_allclose(got[name], values, rtol=0, atol=EMITTED_RTOL * largest)


@pytest.mark.parametrize("name", [name for name in ONE_SIZE if name in SUBJECTS])
def test_other_networks_have_one_size(name: str, folder: Path) -> None:
    network = Network(SUBJECTS[name], folder)

    with pytest.raises(Exception, match=ONE_SIZE[name]):
        run(network.opened, network.feed(batch=1, size=2))
    with pytest.raises(ShapeError, match="none that the model can have"):
        emitted(network.dynamic, "fp32", folder, ranges=network.ranges)


@pytest.mark.parametrize("name", REFUSED)
def test_a_dynamic_size_that_cannot_be_is_refused_by_name(name: str, folder: Path) -> None:
    network = Network(SUBJECTS[name], folder)

    with pytest.raises(UnsupportedOperatorError, match=REFUSED[name]):
        emitted(network.dynamic, "fp32", folder, ranges=network.ranges)
