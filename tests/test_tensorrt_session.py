"""The session on TensorRT, simulated: real adapter, session and ctypes provider; no GPU.

What is simulated is CUDA's library and TensorRT's module; see ``tensorrt_simulation``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cuda_simulation import SimulatedCuda, simulated_cuda
from networks.builder import NetBuilder
from tensorrt_simulation import TAG, World, simulated_api

from edgekit.artifact import Artifact
from edgekit.errors import EngineMismatchError, InputError, SessionClosedError, TensorRtError
from edgekit.runtimes.cuda.exchange import DeviceTensor
from edgekit.runtimes.engines import DeviceFacts, EngineStore
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.plain import PlainFiles
from edgekit.runtimes.tensorrt import session as session_module
from edgekit.runtimes.tensorrt.api import Api
from edgekit.runtimes.tensorrt.machine import Machine
from edgekit.runtimes.tensorrt.prepare import EngineOptions, want
from edgekit.runtimes.tensorrt.session import TensorRtSession
from edgekit.runtimes.tensorrt.spec import BuildOptions
from edgekit.tensor import DType, TensorSpec

OFFERS = json.loads((Path(__file__).parent / "data" / "tensorrt_api.json").read_text())
RELEASES = sorted(OFFERS)
SHAPE = (1, 3, 4, 4)
X = np.arange(48, dtype=np.float32).reshape(SHAPE)
RECIPE = {
    "builds": [{"tensorrt": ">=8.5", "file": "model", "network_flags": [], "builder_flags": []}],
    "oldest_tensorrt": "8.5",
    "workspace_mib": 64,
}


def _model(shape: tuple[int | str, ...] = SHAPE, *, op: str = "Relu") -> bytes:
    net = NetBuilder("simulated")
    net.input("x", shape)
    make = onnx.helper.make_node
    net.nodes += [
        make("Sub", ["x", net.floats(20.0)], ["centred"], name="sub"),
        make(op, ["centred"], ["y"], name="relu"),
        make("ReduceMean", ["x"], ["mean"], name="mean", axes=[1, 2, 3], keepdims=0),
    ]
    kind = onnx.TensorProto.FLOAT
    dims = list(shape) if op == "Relu" else None
    net.outputs += [
        onnx.helper.make_tensor_value_info("y", kind, dims),
        onnx.helper.make_tensor_value_info("mean", kind, [shape[0]]),
    ]
    return bytes(net.model().SerializeToString())


@dataclass
class Bench:
    """A machine with an engine in its store."""

    machine: Machine
    artifact: Artifact
    files: PlainFiles
    store: EngineStore

    @property
    def cuda(self) -> SimulatedCuda:
        assert isinstance(self.machine.cuda, SimulatedCuda)
        return self.machine.cuda

    @property
    def world(self) -> World:
        world: World = self.machine.api.module.Runtime.world
        return world

    def open(self, **named: Any) -> TensorRtSession:
        options = SessionOptions(
            cache_dir=self.store.root, engine=EngineOptions(may_build=False), **named
        )
        return TensorRtSession.open(self.artifact, self.files, options=options)


def _bench(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    release: str = RELEASES[-1],
    model: bytes | None = None,
    shape: tuple[int | str, ...] = SHAPE,
    is_integrated: bool = False,
    plan: bytes | None = None,
) -> Bench:
    cuda = simulated_cuda()
    cuda.be(is_integrated=is_integrated)
    usual = tuple(2 if isinstance(size, str) else size for size in shape)
    low = tuple(1 if isinstance(size, str) else size for size in shape)
    high = tuple(8 if isinstance(size, str) else size for size in shape)
    api: Api = simulated_api(OFFERS[release], cuda, profiles={"x": (low, usual, high)})
    facts = DeviceFacts("Simulated GPU", "8.7", str(api.release), "12.6")
    machine = Machine(api, cuda, 0, cuda.properties(), facts)
    monkeypatch.setattr(session_module.Machine, "here", lambda edition=None, store=None: machine)
    path = folder / "model.onnx"
    path.write_bytes(model or _model(shape))
    spec = TensorSpec("x", DType.FLOAT32, shape)
    artifact = Artifact(
        "tensorrt",
        "fp32",
        {"model": "model.onnx"},
        (spec,),
        (replace(spec, name="y"), TensorSpec("mean", DType.FLOAT32, shape[:1])),
        recipe={**RECIPE, "profiles": [{"x": [low, usual, high]}]},
    )
    files, store = PlainFiles(path), EngineStore(folder / "engines")
    wanted = want(
        artifact,
        files,
        release=api.release,
        device=facts,
        options=BuildOptions(),
        folder=folder,
    )
    content = TAG + path.read_bytes() if plan is None else plan

    def build(place: Path) -> Mapping[str, Any]:
        place.write_bytes(content)
        return {}

    store.get_or_build(wanted.key, build)
    return Bench(machine, artifact, files, store)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    yield _bench(tmp_path, monkeypatch)


def _expected(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.maximum(x - 20, 0)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("is_integrated", [False, True], ids=["discrete", "integrated"])
def test_numbers_go_through_on_every_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, is_integrated: bool
) -> None:
    bench = _bench(tmp_path, monkeypatch, release=release, is_integrated=is_integrated)

    with bench.open() as session:
        for factor in (1, 2, 3, 4, 5):  # the graph is captured in the third call
            result = session.run({"x": X * factor})
            assert np.array_equal(result["y"], _expected(X * factor))
            assert result["mean"][0] == pytest.approx((X * factor).mean())


def test_a_static_engine_runs_as_a_graph_after_two_calls(bench: Bench) -> None:
    with bench.open() as session:
        for _ in range(6):
            session.run({"x": X})

        assert bench.world.calls.count("execute_async_v3") == 3  # two calls, one capture
        assert bench.cuda.alive()["exec"] == 1


def test_without_graphs_every_call_is_enqueued(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CUDA_FAIL", "cudaStreamBeginCapture:900")
    with bench.open() as session:
        for _ in range(5):
            result = session.run({"x": X})

    assert bench.world.calls.count("execute_async_v3") == 5
    assert np.array_equal(result["y"], _expected(X))


def test_results_belong_to_the_caller(bench: Bench) -> None:
    with bench.open() as session:
        first = session.run({"x": X})["y"]
        session.run({"x": X * 9})

    assert np.array_equal(first, _expected(X))


def test_a_buffer_of_the_caller_is_filled(bench: Bench) -> None:
    buffer = np.empty(SHAPE, np.float32)
    with bench.open() as session:
        result = session.run({"x": X}, outputs={"y": buffer})

    assert result["y"] is buffer
    assert np.array_equal(buffer, _expected(X))


def test_closing_frees_all(bench: Bench) -> None:
    before = bench.cuda.alive()
    with bench.open(hint="throughput") as session:
        for _ in range(4):
            session.run({"x": X})

    assert bench.cuda.alive() == before
    with pytest.raises(SessionClosedError):
        session.run({"x": X})


def test_where_memory_is_shared_nothing_is_allocated_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = _bench(tmp_path, monkeypatch, is_integrated=True)
    before = bench.cuda.alive()["memory"]
    with bench.open() as session:
        session.run({"x": X})

        assert bench.cuda.alive()["memory"] == before
        assert bench.cuda.alive()["host"] > 0


def test_threads_share_the_slots(bench: Bench) -> None:
    def call(factor: int) -> bool:
        return np.array_equal(session.run({"x": X * factor})["y"], _expected(X * factor))

    with bench.open(hint="throughput") as session, ThreadPoolExecutor(4) as threads:
        assert session.parallel_calls == 2
        assert all(threads.map(call, range(1, 60)))


def test_a_dynamic_batch_grows_its_buffers_and_keeps_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = _bench(tmp_path, monkeypatch, shape=("n", 3, 4, 4))
    with bench.open() as session:
        for count in (1, 4, 2, 8, 8):
            batch = np.repeat(X, count, axis=0)
            result = session.run({"x": batch})
            assert np.array_equal(result["y"], _expected(batch))
            assert result["mean"].shape == (count,)

        shapes = bench.world.calls.count("set_input_shape x")
    assert shapes == 4  # not for the same shape again


def test_a_shape_outside_of_the_profile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = _bench(tmp_path, monkeypatch, shape=("n", 3, 4, 4))
    with (
        bench.open() as session,
        pytest.raises(TensorRtError, match="setting input 'x' to 9x3x4x4"),
    ):
        session.run({"x": np.repeat(X, 9, axis=0)})


def test_an_output_whose_size_the_data_decides_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = NetBuilder("nonzero")
    net.input("x", SHAPE)
    make = onnx.helper.make_node
    net.nodes += [
        make("Greater", ["x", net.floats(20.0)], ["mask"], name="greater"),
        make("Compress", ["x", "flat"], ["y"], name="compress"),
        make("ReduceMean", ["x"], ["mean"], name="mean", axes=[1, 2, 3], keepdims=0),
    ]
    net.nodes.insert(1, make("Reshape", ["mask", net.ints(-1)], ["flat"], name="reshape"))
    net.outputs += [
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["found"]),
        onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, [1]),
    ]
    bench = _bench(tmp_path, monkeypatch, model=net.model().SerializeToString())
    outputs = (TensorSpec("y", DType.FLOAT32, ("found",)), bench.artifact.outputs[1])
    bench.artifact = replace(bench.artifact, outputs=outputs)

    with bench.open() as session:
        for shift in (0, 10, 0):
            result = session.run({"x": X - shift})
            assert np.array_equal(result["y"], (X - shift)[X - shift > 20])


def test_tensors_on_the_device_run_without_a_copy(bench: Bench) -> None:
    given = DeviceTensor.allocate(bench.cuda, SHAPE, DType.FLOAT32, device=0)
    bench.cuda.copy(given.address, X.ctypes.data, X.nbytes, 0)
    host = bench.cuda.alive()["host"]
    with bench.open() as session:
        result = session.run_on_device({"x": given})
        again = session.run({"x": X})

        y = np.empty(SHAPE, np.float32)
        bench.cuda.copy(y.ctypes.data, result["y"].address, y.nbytes, 0)
        assert np.array_equal(y, _expected(X))
        assert np.array_equal(again["y"], _expected(X))  # its own buffers are back in place
    del result
    assert bench.cuda.alive()["host"] == host


def test_memory_of_the_caller_takes_the_output(bench: Bench) -> None:
    given = DeviceTensor.allocate(bench.cuda, SHAPE, DType.FLOAT32, device=0)
    place = DeviceTensor.allocate(bench.cuda, SHAPE, DType.FLOAT32, device=0)
    with bench.open() as session:
        result = session.run_on_device({"x": given}, outputs={"y": place})

    assert result["y"] is place


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (X, "use run for host arrays"),
        (None, "is missing"),
    ],
)
def test_what_is_not_on_the_device_is_refused(bench: Bench, value: object, words: str) -> None:
    with bench.open() as session, pytest.raises(InputError, match=words):
        session.run_on_device({} if value is None else {"x": value})


def test_a_device_tensor_of_another_shape_is_refused(bench: Bench) -> None:
    given = DeviceTensor.allocate(bench.cuda, (1, 3, 4, 5), DType.FLOAT32, device=0)

    with bench.open() as session, pytest.raises(InputError, match="the engine takes"):
        session.run_on_device({"x": given})


def test_a_damaged_plan_is_an_error_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = _bench(tmp_path, monkeypatch, plan=b"another release's plan")

    with pytest.raises((EngineMismatchError, TensorRtError), match="loading the engine"):
        bench.open()


def test_an_engine_that_is_not_there_says_what_differs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = replace(bench.machine, facts=replace(bench.machine.facts, gpu="Orin NX"))
    monkeypatch.setattr(session_module.Machine, "here", lambda edition=None, store=None: moved)

    with pytest.raises(EngineMismatchError, match=r"GPU Simulated GPU, not Orin NX.*edgekit build"):
        bench.open()


def test_a_failed_run_is_an_error_with_what_was_tried(bench: Bench) -> None:
    with bench.open() as session:
        bench.world.fail = "execute_async_v3"
        with pytest.raises(TensorRtError, match="running the engine"):
            session.run({"x": X})


def test_a_session_that_cannot_be_made_leaves_nothing(bench: Bench) -> None:
    before = bench.cuda.alive()
    bench.world.fail = "create_execution_context"

    with pytest.raises(TensorRtError, match="execution context"):
        bench.open()
    assert bench.cuda.alive() == before


def test_the_sessions_layers_are_those_of_the_engine(bench: Bench) -> None:
    with bench.open() as session:
        assert session.layers == {"Layers": ["conv + relu"], "Bindings": []}


def test_an_engine_is_never_read_where_its_hash_differs(bench: Bench) -> None:
    stored = bench.store.entries()[0]
    damaged = bytearray(stored.path.read_bytes())
    damaged[-1] ^= 1
    stored.path.write_bytes(damaged)
    assert hashlib.sha256(damaged).hexdigest() != stored.sha256

    with pytest.raises(Exception, match="damaged"):
        bench.open()
