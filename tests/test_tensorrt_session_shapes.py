"""Shapes, sizes and places of a TensorRT session's tensors; simulated, no GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from simulated_session import (
    DYNAMIC,
    OFFERS,
    ON_SIMULATION,
    SimulatedTensorRtSession,
    on_device,
    ones,
    opened,
)
from tensorrt_simulation import Context, Engine
from tiny_models import SHAPE, BytesFiles, tensorrt_recipe

from edgekit.artifact import Artifact
from edgekit.errors import CudaError, InputError
from edgekit.runtimes.options import SessionOptions
from edgekit.tensor import DType, TensorSpec

pytestmark = ON_SIMULATION


def test_host_arrays_run_after_larger_tensors_on_the_device() -> None:
    with opened(shape=DYNAMIC) as session:
        session.run(ones(1))
        session.run_on_device(on_device(session, 4))

        np.testing.assert_array_equal(session.run(ones(4))["sum"], np.full((4, 3, 4, 5), 2))


def test_host_arrays_run_where_only_tensors_on_the_device_did() -> None:
    with opened(shape=DYNAMIC) as session:
        session.run_on_device(on_device(session, 4))

        assert session.run(ones(4))["sum"].shape == (4, 3, 4, 5)


def test_a_shape_whose_memory_was_not_to_be_had_runs_once_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with opened(shape=DYNAMIC) as session:
        session.run(ones(1))
        with monkeypatch.context() as short:
            short.setenv("FAKE_CUDA_FAIL", "cudaMalloc:2")
            with pytest.raises(CudaError, match="cudaMalloc"):
                session.run(ones(8))

        assert session.run(ones(8))["sum"].shape == (8, 3, 4, 5)


@dataclass(frozen=True)
class Contexts:
    """How many contexts a session has where throughput is asked for."""

    id: str
    release: str
    shape: tuple[Any, ...]
    expected: int


@pytest.mark.parametrize(
    "case",
    [
        # NVIDIA's guide of 8.x: contexts that run at once need an optimization profile each; 10
        # lets them share one.
        Contexts("dynamic_8", "8.6.0", DYNAMIC, 1),
        Contexts("static_8", "8.6.0", SHAPE, 2),
        Contexts("dynamic_10", "10.3.0", DYNAMIC, 2),
    ],
    ids=lambda case: case.id,
)
def test_contexts_share_a_profile_only_where_the_release_lets_them(
    monkeypatch: pytest.MonkeyPatch, case: Contexts
) -> None:
    offers = {**OFFERS["8.6.0"], "version": case.release}
    monkeypatch.setattr(SimulatedTensorRtSession, "offers", offers)
    with opened(shape=case.shape, options=SessionOptions(hint="throughput")) as session:
        assert session.parallel_calls == case.expected
        assert session.run(ones())["sum"].mean() == 2


def _lookup(dtype: int) -> bytes:
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    table = onnx.numpy_helper.from_array(np.arange(10, dtype=np.float32), "table")
    graph = onnx.helper.make_graph(
        [make("Gather", ["table", "x"], ["y"], name="gather")],
        "lookup",
        [info("x", dtype, [2])],
        [info("y", onnx.TensorProto.FLOAT, [2])],
        [table],
    )
    imports = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)
    return bytes(model.SerializeToString())


def test_an_int64_that_the_engine_holds_as_int32_is_refused_where_it_does_not_fit() -> None:
    artifact = Artifact(
        "tensorrt",
        "fp32",
        {"model": "x"},
        (TensorSpec("x", DType.INT64, (2,)),),
        (TensorSpec("y", DType.FLOAT32, (2,)),),
        recipe=tensorrt_recipe(),
    )
    # 8.x parses a model's int64 as int32.
    files = BytesFiles({"model": _lookup(onnx.TensorProto.INT32)})
    with SimulatedTensorRtSession.open(artifact, files) as session:
        assert session.run({"x": np.array([3, 7])})["y"].tolist() == [3, 7]
        with pytest.raises(InputError, match=r"'x' holds values that do not fit int32.*4294967299"):
            session.run({"x": np.array([1, (1 << 32) + 3])})


def _places() -> bytes:
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            make("NonZero", ["x"], ["found"], name="found"),
            make("Cast", ["found"], ["y"], name="cast", to=onnx.TensorProto.FLOAT),
        ],
        "places",
        [info("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [info("y", onnx.TensorProto.FLOAT, [2, "count"])],
    )
    imports = [onnx.helper.make_opsetid("", 17)]
    return bytes(
        onnx.helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()
    )


def test_an_output_of_the_datas_size_grows_with_the_inputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def most(self: Context, name: str) -> int:
        return int(np.prod(self._shapes["x"])) * 2 * 4  # NonZero: all elements, two places each

    monkeypatch.setattr(Context, "get_max_output_size", most)
    artifact = Artifact(
        "tensorrt",
        "fp32",
        {"model": "x"},
        (TensorSpec("x", DType.FLOAT32, ("batch", 4)),),
        (TensorSpec("y", DType.FLOAT32, (2, "count")),),
        recipe={**tensorrt_recipe(), "profiles": [{"x": [[1, 4], [2, 4], [64, 4]]}]},
    )
    with SimulatedTensorRtSession.open(artifact, BytesFiles({"model": _places()})) as session:
        for batch in (1, 64, 2):
            found = session.run({"x": np.ones((batch, 4), np.float32)})["y"]

            assert found.tolist() == [list(row) for row in np.nonzero(np.ones((batch, 4)))]


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what makes the engine want a tensor in host memory."""

    def make(name: str) -> None:
        def location(self: Engine, asked: str) -> Any:
            kinds = self._world.enums["TensorLocation"]
            return kinds["HOST" if asked == name else "DEVICE"]

        monkeypatch.setattr(Engine, "get_tensor_location", location)

    return make


@pytest.mark.parametrize("name", ["a", "sum"])
def test_a_tensor_that_the_engine_wants_on_the_host_lies_there(
    on_host: Callable[[str], None], name: str
) -> None:
    on_host(name)
    with opened() as session:
        slot = session._slots.get()
        session._slots.put(slot)
        buffer = slot._buffers[name]
        placed = slot._context._addresses[name]

        assert placed == buffer.host
        assert session.run(ones())["sum"].mean() == 2
        with pytest.raises(InputError, match=f"'{name}' .* host memory; use run"):
            session.run_on_device(on_device(session, 1))
