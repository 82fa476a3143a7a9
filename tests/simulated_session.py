"""A session on the simulated TensorRT, for tests that hold all runtimes alike without a GPU.

The class is the real one; while it loads, the machine and the builder are simulated. An engine
is the ONNX file behind a tag; see ``tensorrt_simulation``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime as ort
import pytest
from cuda_simulation import SimulatedCuda, simulated_cuda
from tensorrt_simulation import TAG, simulated_api
from tiny_models import SHAPE, is_simulated, open_tiny

from edgekit.artifact import Artifact, ArtifactFiles
from edgekit.errors import TensorRtError
from edgekit.runtimes import usable
from edgekit.runtimes.cuda.exchange import DeviceTensor
from edgekit.runtimes.engines import DeviceFacts
from edgekit.runtimes.matching import EngineTensors
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.selftest import cuda as cuda_checks
from edgekit.runtimes.tensorrt import prepare
from edgekit.runtimes.tensorrt.machine import Machine
from edgekit.runtimes.tensorrt.session import TensorRtSession
from edgekit.runtimes.tensorrt.spec import BuildSpec
from edgekit.tensor import DType

OFFERS = json.loads((Path(__file__).parent / "data" / "tensorrt_api.json").read_text())
RELEASE = "8.6.0"
"""Whose recorded interface the session runs on unless another is told."""

ON_SIMULATION = pytest.mark.skipif(
    not is_simulated("tensorrt"), reason="looks into a simulated device; here is a real one"
)
DYNAMIC = ("batch", *SHAPE[1:])


class SimulatedTensorRtSession(TensorRtSession):
    """The real session on a simulated machine.

    Attributes:
        offers: What its release offers.
        cuda: Of that machine.
    """

    offers: Mapping[str, Any] = OFFERS[RELEASE]
    cuda: SimulatedCuda

    def _load(
        self, artifact: Artifact, files: ArtifactFiles, options: SessionOptions
    ) -> EngineTensors:
        self.cuda = simulated_cuda()
        machine = simulated_machine(artifact, self.cuda, self.offers)
        with (
            tempfile.TemporaryDirectory(prefix="edgekit-simulated-store-") as folder,
            mock.patch.object(Machine, "here", lambda edition=None, store=None: machine),
            mock.patch.object(prepare, "build_plan", _build),
        ):
            return super()._load(artifact, files, replace(options, cache_dir=Path(folder)))


def simulated_machine(
    artifact: Artifact, cuda: SimulatedCuda, offers: Mapping[str, Any]
) -> Machine:
    """Return a machine whose engines have the profiles of an artifact's recipe."""
    profiles = {
        name: tuple(map(tuple, sizes))
        for profile in artifact.recipe.get("profiles", ())
        for name, sizes in profile.items()
    }
    api = simulated_api(offers, cuda, profiles=profiles)
    facts = DeviceFacts("Simulated GPU", "8.7", str(api.release), "12.6")
    return Machine(api, cuda, 0, cuda.properties(), facts)


def opened(**named: Any) -> SimulatedTensorRtSession:
    """Open the tiny model; arguments as for ``open_tiny``."""
    session = open_tiny("tensorrt", **named)
    assert isinstance(session, SimulatedTensorRtSession)
    return session


def ones(batch: int = 1) -> dict[str, Any]:
    """Return inputs of the tiny model."""
    return {name: np.ones((batch, *SHAPE[1:]), np.float32) for name in ("a", "b")}


def on_device(session: SimulatedTensorRtSession, batch: int) -> dict[str, object]:
    """Return the same inputs in the memory of the session's device."""
    given: dict[str, object] = {}
    for name, array in ones(batch).items():
        tensor = DeviceTensor.allocate(session.cuda, array.shape, DType.FLOAT32, device=0)
        session.cuda.copy(tensor.address, array.ctypes.data, array.nbytes, 0)
        given[name] = tensor
    return given


def be_a_gpu_machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Make this process one with a simulated GPU and the oldest release; builds are in children."""
    cuda = simulated_cuda()
    api = simulated_api(OFFERS[sorted(OFFERS)[0]], cuda)
    facts = DeviceFacts("Simulated GPU", "8.7", str(api.release), "12.6")
    machine = Machine(api, cuda, 0, cuda.properties(), facts)
    monkeypatch.setattr(Machine, "here", lambda edition=None, store=None: machine)
    monkeypatch.setattr(usable, "_why_no_gpu", lambda runtime: "")
    monkeypatch.setattr(prepare, "_BUILDER", "simulated_builder")
    monkeypatch.setattr(cuda_checks, "open_cuda", lambda name: cuda)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return machine


def _build(spec: BuildSpec, plan: Path, **_limits: object) -> Mapping[str, Any]:
    model = spec.model.read_bytes()
    try:
        ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever it is: the builder refuses the file
        raise TensorRtError(f"TensorRT {spec.release} failed in parsing: {error}") from error
    plan.write_bytes(TAG + model)
    return {}
