"""What a TensorRT session holds of a device, and when it lets go; simulated, no GPU."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from simulated_session import OFFERS, SimulatedTensorRtSession
from tensorrt_simulation import Context, Engine
from tiny_models import SHAPE, BytesFiles, onnx_content, open_tiny, require, tensorrt_recipe

from edgekit.artifact import Artifact
from edgekit.errors import CudaError, EngineError, InputError, SessionClosedError
from edgekit.runtimes.cuda.exchange import DeviceTensor
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.tensorrt.slots import Slot
from edgekit.tensor import DType, TensorSpec

pytestmark = pytest.mark.skipif(
    not isinstance(require("tensorrt"), type)
    or not issubclass(require("tensorrt"), SimulatedTensorRtSession),
    reason="looks into a simulated device; here is a real one",
)
NOTHING = dict.fromkeys(("memory", "host", "stream", "event", "graph", "exec"), 0)
DYNAMIC = ("batch", 3, 4, 5)


def opened(**named: Any) -> SimulatedTensorRtSession:
    session = open_tiny("tensorrt", **named)
    assert isinstance(session, SimulatedTensorRtSession)
    return session


def ones(batch: int = 1) -> dict[str, Any]:
    return {name: np.ones((batch, *SHAPE[1:]), np.float32) for name in ("a", "b")}


def on_device(session: SimulatedTensorRtSession, batch: int) -> dict[str, object]:
    given: dict[str, object] = {}
    for name, array in ones(batch).items():
        tensor = DeviceTensor.allocate(session.cuda, array.shape, DType.FLOAT32, device=0)
        session.cuda.copy(tensor.address, array.ctypes.data, array.nbytes, 0)
        given[name] = tensor
    return given


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


def test_layers_of_a_closed_session_are_an_error() -> None:
    session = opened()
    session.close()

    with pytest.raises(SessionClosedError):
        _ = session.layers


def test_a_dynamic_engine_has_one_context_before_release_10() -> None:
    # NVIDIA's guide of 8.x: contexts that run at once need an optimization profile each.
    with opened(shape=DYNAMIC, options=SessionOptions(hint="throughput")) as session:
        assert session.parallel_calls == 1
    with opened(options=SessionOptions(hint="throughput")) as session:
        assert session.parallel_calls == 2


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
