"""What a TensorRT session holds of a device, and when it lets go; simulated, no GPU."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytest
from simulated_session import (
    OFFERS,
    ON_SIMULATION,
    SimulatedTensorRtSession,
    ones,
    opened,
)
from tiny_models import SHAPE, BytesFiles, onnx_content, tensorrt_recipe

from edgekit.artifact import Artifact
from edgekit.errors import CudaError, EngineError, SessionClosedError
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.tensorrt.slots import Slot
from edgekit.tensor import DType, TensorSpec

pytestmark = ON_SIMULATION
NOTHING = dict.fromkeys(("memory", "host", "stream", "event", "graph", "exec"), 0)


def test_a_session_that_is_forgotten_frees_all() -> None:
    session = opened(options=SessionOptions(hint="throughput"))
    cuda = session.cuda
    for _ in range(4):
        session.run(ones())
    assert cuda.alive() != NOTHING

    del session
    gc.collect()

    assert cuda.alive() == NOTHING


def test_a_manifest_that_does_not_fit_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def load(self: Any, *given: Any) -> Any:
        made.append(self)
        return real(self, *given)

    real = SimulatedTensorRtSession._load
    monkeypatch.setattr(SimulatedTensorRtSession, "_load", load)
    spec = TensorSpec("x", DType.FLOAT32, SHAPE)
    artifact = Artifact(
        "tensorrt", "fp32", {"model": "x"}, (spec,), (spec,), recipe=tensorrt_recipe()
    )
    with pytest.raises(EngineError, match="the manifest's are"):
        SimulatedTensorRtSession.open(artifact, BytesFiles(onnx_content(SHAPE)))
    cuda = made.pop().cuda
    gc.collect()

    assert cuda.alive() == NOTHING


def test_a_slot_that_cannot_be_made_frees_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Slot] = []
    real = Slot.__init__

    def second_fails(self: Slot, plan: Any) -> None:
        if made:
            raise CudaError("cudaStreamCreate failed: cudaErrorMemoryAllocation (2)")
        made.append(self)
        real(self, plan)

    monkeypatch.setattr(Slot, "__init__", second_fails)
    with pytest.raises(CudaError):
        opened(options=SessionOptions(hint="throughput"))
    cuda = made[0]._plan.cuda
    made.clear()
    gc.collect()

    assert cuda.alive() == NOTHING


def test_closing_frees_all_though_cuda_refuses_to_free_one() -> None:
    session = opened(options=SessionOptions(hint="throughput"))
    cuda, free = session.cuda, session.cuda.free
    refused: list[int] = []

    def refuse_first(address: int) -> None:
        if not refused:
            refused.append(address)
            raise CudaError("cudaFree failed: cudaErrorIllegalAddress (700)")
        free(address)

    cuda.free = refuse_first  # type: ignore[method-assign]
    with pytest.raises(CudaError, match="cudaFree"):
        session.close()
    assert cuda.alive() == {**NOTHING, "memory": 1}

    free(refused[0])


def test_layers_of_a_closed_session_are_an_error() -> None:
    session = opened()
    session.close()

    with pytest.raises(SessionClosedError):
        _ = session.layers


def test_the_simulation_is_of_a_recorded_release() -> None:
    with opened() as session:
        assert session.version in OFFERS


def test_a_plan_tells_how_its_engine_is_run() -> None:
    with opened() as session:
        assert session.plan.uses_graph
        other = Slot(replace(session.plan, uses_graph=False))
        results = other.run(list(ones().values()), [None, None])
        other.free()

    assert [array.mean() for array in results] == [2, 1]
