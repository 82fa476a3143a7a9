"""TensorRT on a real GPU: build, prove, run, swap, on a small model that comes along."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from time import perf_counter

import numpy as np

from edgekit.bundle import Bundle
from edgekit.errors import EngineMismatchError, InputError, RuntimeUnavailableError
from edgekit.runtimes.cuda.exchange import DeviceTensor
from edgekit.runtimes.engines import EngineStore
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.parity import PASSED, replay_on
from edgekit.runtimes.select import load
from edgekit.runtimes.selftest import Check, Skip, run_checks
from edgekit.runtimes.session import Array
from edgekit.runtimes.tensorrt.contest import contenders, hold_contest
from edgekit.runtimes.tensorrt.machine import Machine
from edgekit.runtimes.tensorrt.prepare import EngineOptions, want
from edgekit.runtimes.tensorrt.session import TensorRtSession
from edgekit.runtimes.tensorrt.spec import BuildOptions
from edgekit.runtimes.warm import SWAPPED, WarmSession

MODEL = "model.edgekit"
_THREADS, _CALLS = 4, 200
_SWAP_S = 600.0


def check_engines(
    folder: Path, bundle_path: Path | None = None, tell: Callable[[str], None] = lambda stage: None
) -> tuple[Check, ...]:
    """Return what came of each check.

    Args:
        folder: Empty; engines are built there and not taken from the user's store.
        bundle_path: A bundle of the user's own; None takes the one that comes along.
        tell: Told the name of each check as it starts.
    """
    with _model(bundle_path) as path:
        bench = _Bench(path, folder)
        return run_checks("tensorrt", bench.checks(), tell=tell)


@dataclass
class _Bench:
    path: Path
    folder: Path

    def checks(self) -> dict[str, Callable[[], str]]:
        return {
            "starts": self.starts,
            "build, prove and time": self.builds,
            "an engine is found again": self.finds,
            "host arrays": self.runs,
            "threads": self.threads,
            "tensors on the device": self.on_device,
            "errors": self.errors,
            "another device's engine": self.mismatch,
            "serve now, swap later": self.swaps,
        }

    @property
    def bundle(self) -> Bundle:
        return Bundle.open(self.path)

    @property
    def store(self) -> EngineStore:
        return EngineStore(self.folder / "engines")

    def starts(self) -> str:
        try:
            machine = Machine.here(store=self.store)
        except RuntimeUnavailableError as error:
            raise Skip(str(error)) from error
        facts = machine.facts
        mode = f", power mode {facts.power_mode}" if facts.power_mode else ""
        return f"TensorRT {facts.tensorrt} on {facts.gpu}, SM {facts.sm}, CUDA {facts.cuda}{mode}"

    def builds(self) -> str:
        self._need_gpu()
        bundle = self.bundle
        contest = hold_contest(
            bundle, contenders(bundle), store=self.store, options=EngineOptions()
        )
        built = "; ".join(
            f"{item.artifact} in {item.facts.get('wall_s', 0):.1f} s"
            + (f" ({item.layers.in_words()})" if item.layers else "")
            for item in contest.entrants
        )
        out = [item for item in contest.entrants if item.why_out]
        if out:
            raise AssertionError(f"{out[0].artifact}: {out[0].why_out}")
        return f"{contest.reason}; {built}"

    def finds(self) -> str:
        self._need_gpu()
        start = perf_counter()
        with self._open():
            return f"loaded in {perf_counter() - start:.2f} s, not built again"

    def runs(self) -> str:
        self._need_gpu()
        bundle = self.bundle
        with self._open() as session:
            replay = replay_on(session, list(bundle.goldens()), manifest=bundle.manifest)
            if replay.status != PASSED:
                raise AssertionError(replay.reason)
            feed = self._feed()
            first = session.run(feed)
            again = [session.run(feed) for _ in range(8)]  # the graph is captured on the way
            for name, value in first.items():
                if not all(np.array_equal(value, other[name]) for other in again):
                    raise AssertionError(f"output {name!r} differs from call to call")
        return "; ".join(f"{item.name}: cosine {item.cosine:.6f}" for item in replay.outputs)

    def threads(self) -> str:
        self._need_gpu()
        feed = self._feed()
        with self._open(hint="throughput") as session:
            expected = session.run(feed)
            start = perf_counter()
            with ThreadPoolExecutor(_THREADS) as pool:
                results = list(pool.map(lambda _: session.run(feed), range(_CALLS)))
            seconds = perf_counter() - start
        for result in results:
            if not all(np.array_equal(result[name], expected[name]) for name in expected):
                raise AssertionError("a thread got the answer to another's question")
        return f"{_CALLS} calls from {_THREADS} threads, {_CALLS / seconds:.0f} per second"

    def on_device(self) -> str:
        self._need_gpu()
        machine, feed = Machine.here(store=self.store), self._feed()
        with self._open() as session:
            expected = session.run(feed)
            given = {}
            for spec in session.inputs:
                array = np.ascontiguousarray(feed[spec.name])
                tensor = DeviceTensor.allocate(machine.cuda, array.shape, spec.dtype, device=0)
                _copy(machine, tensor.address, array.ctypes.data, array.nbytes)
                given[spec.name] = tensor
            made = session.run_on_device(given)
            for name, tensor in made.items():
                back = np.empty(tensor.shape, tensor.dtype.to_numpy())
                _copy(machine, back.ctypes.data, tensor.address, back.nbytes)
                if not np.array_equal(back, expected[name]):
                    raise AssertionError(f"output {name!r} differs from that of host arrays")
        return "the same numbers, nothing copied by the session"

    def errors(self) -> str:
        self._need_gpu()
        with self._open() as session:
            spec = session.inputs[0]
            wrong = np.zeros((*spec.static_shape[:-1], spec.static_shape[-1] + 1), np.float32)
            try:
                session.run({spec.name: wrong})
            except InputError as error:
                return str(error)
        raise AssertionError("an input of another shape was taken")

    def mismatch(self) -> str:
        self._need_gpu()
        machine, bundle = Machine.here(store=self.store), self.bundle
        artifact = contenders(bundle)[0]
        moved = replace(machine.facts, gpu="another GPU")
        wanted = want(
            artifact,
            bundle.files(artifact),
            release=machine.api.release,
            device=moved,
            options=BuildOptions(),
            folder=self.folder,
        )
        from edgekit.runtimes.tensorrt.prepare import get_engine

        try:
            get_engine(wanted, self.store, may_build=False)
        except EngineMismatchError as error:
            return str(error)
        raise AssertionError("an engine of another GPU was taken")

    def swaps(self) -> str:
        self._need_gpu()
        feed = self._feed()
        start = perf_counter()
        empty = self.folder / "empty"
        try:
            opened = load(self.path, device="tensorrt", warm="background", cache_dir=empty)
        except RuntimeUnavailableError as error:
            raise Skip(str(error)) from error
        with opened as session:
            if not isinstance(session, WarmSession):
                raise AssertionError("an engine was there before it was built")
            session.run(feed)
            first_s = perf_counter() - start
            before, calls = session.runtime, 0
            while session.state.stage == "warming" and perf_counter() - start < _SWAP_S:
                session.run(feed)
                calls += 1
            state = session.wait(_SWAP_S)
            if state.stage != SWAPPED:
                raise AssertionError(str(state))
            session.run(feed)
            return (
                f"first answer after {first_s:.2f} s from {before}, {calls} calls while it built, "
                f"{session.runtime} after {perf_counter() - start:.1f} s"
            )

    def _need_gpu(self) -> None:
        try:
            Machine.here(store=self.store)
        except RuntimeUnavailableError as error:
            raise Skip(str(error)) from error

    def _open(self, *, hint: str = "latency") -> TensorRtSession:
        options = SessionOptions(hint=hint, cache_dir=self.store.root)
        session = load(self.path, device="tensorrt", warm="never", options=options)
        assert isinstance(session, TensorRtSession)  # the device that was named
        return session

    def _feed(self) -> dict[str, Array]:
        golden = self.bundle.goldens()[0]
        return dict(golden.inputs)


def _copy(machine: Machine, target: int, source: int, nbytes: int) -> None:
    stream = machine.cuda.stream_create()
    machine.cuda.copy(target, source, nbytes, stream)
    machine.cuda.stream_synchronize(stream)
    machine.cuda.stream_destroy(stream)


@contextmanager
def _model(path: Path | None) -> Iterator[Path]:
    if path is not None:
        yield path
        return
    with resources.as_file(resources.files("edgekit.runtimes.selftest") / MODEL) as own:
        yield own
