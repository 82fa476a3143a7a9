"""The TensorRT section of ``gpu_check.py``: the selftest on a real network, and the session's cost.

What the session adds is its call against the engine's own, of the same engine, in turns: memory
that is allocated, pinned and filled beforehand, and nothing in Python but NVIDIA's calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle
from edgekit.errors import RuntimeUnavailableError
from edgekit.runtimes.engines import EngineStore
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.selftest import SKIPPED, Check, Skip, expect, run_checks
from edgekit.runtimes.selftest.engines import check_engines
from edgekit.runtimes.session import Array
from edgekit.runtimes.tensorrt.buffers import Buffer, Held
from edgekit.runtimes.tensorrt.contest import contenders
from edgekit.runtimes.tensorrt.machine import Machine
from edgekit.runtimes.tensorrt.prepare import EngineOptions
from edgekit.runtimes.tensorrt.session import TensorRtSession
from edgekit.runtimes.tensorrt.slots import Plan
from edgekit.runtimes.timing import Latency, time_in_turns

ROUNDS, LIMIT_S = 500, 20.0


def check_tensorrt(
    bundle_path: Path, folder: Path, tell: Callable[[str], None] = lambda stage: None
) -> tuple[Check, ...]:
    """Return what came of the selftest's checks on a bundle, and what the session adds.

    Args:
        bundle_path: With artifacts for TensorRT and goldens.
        folder: Empty; engines are built there.
        tell: Told the name of each check as it starts.
    """
    checks = check_engines(folder, bundle_path, tell)
    if checks and checks[0].status == SKIPPED:  # it does not start: one line says why
        return checks[:1]
    # The store of the selftest's own checks: nothing is built twice.
    store = EngineStore(folder / "engines")
    bundle = Bundle.open(bundle_path)
    costs = {
        f"what the session adds, {item.name}": partial(_cost, bundle, item, store)
        for item in contenders(bundle)
    }
    return (*checks, *run_checks("tensorrt", costs, tell=tell))


class WithoutGraph(TensorRtSession):
    """A session that enqueues every call."""

    captures_graphs = False


class Bare:
    """The engine's own call, as a program without EdgeKit's session makes it.

    Args:
        plan: Whose engine.
        feed: Inputs by name, in the engine's types.
    """

    def __init__(self, plan: Plan, feed: Mapping[str, Array]) -> None:
        self._plan = plan
        self._stream = plan.cuda.stream_create()
        self._held = Held(plan.cuda, plan.device, self._stream)
        try:
            self._context = plan.api.create_context(plan.engine)
            self._held.objects.append(self._context)
            self._place(feed)
        except BaseException:
            self._held.free()
            raise

    def outputs(self) -> dict[str, Array]:
        """Run once and return the outputs by name."""
        self.with_copies()
        return {
            item.name: self._held.buffers[item.name].view(item.shape, item.dtype.to_numpy()).copy()
            for item in self._plan.outputs
        }

    def alone(self) -> None:
        """Enqueue the engine on memory of the device, and wait."""
        self._plan.api.execute(self._context, self._stream)
        self._plan.cuda.stream_synchronize(self._stream)

    def with_copies(self) -> None:
        """Copy to the device, enqueue the engine, copy back, and wait."""
        self._enqueue()
        self._plan.cuda.stream_synchronize(self._stream)

    def as_graph(self) -> None:
        """Do the same as one CUDA graph, captured at the first call."""
        cuda = self._plan.cuda
        if self._held.graph is None:
            cuda.graph_begin(self._stream)
            self._enqueue()
            self._held.graph = cuda.graph_end(self._stream)
        cuda.graph_launch(self._held.graph, self._stream)
        cuda.stream_synchronize(self._stream)

    def free(self) -> None:
        """Give everything back."""
        self._context = None
        self._held.free()

    def _place(self, feed: Mapping[str, Array]) -> None:
        plan = self._plan
        for item in (*plan.inputs, *plan.outputs):
            nbytes = int(np.prod(item.shape)) * item.dtype.to_numpy().itemsize
            buffer = Buffer(plan.cuda, nbytes, is_mapped=plan.is_mapped)
            self._held.buffers[item.name] = buffer
            plan.api.set_address(self._context, item.name, buffer.device)
            if item.is_input:
                buffer.view(item.shape, item.dtype.to_numpy())[...] = feed[item.name]

    def _enqueue(self) -> None:
        for item in self._plan.inputs:
            buffer = self._held.buffers[item.name]
            buffer.to_device(buffer.capacity, self._stream)
        self._plan.api.execute(self._context, self._stream)
        for item in self._plan.outputs:
            buffer = self._held.buffers[item.name]
            buffer.to_host(buffer.capacity, self._stream)


def _cost(bundle: Bundle, artifact: Artifact, store: EngineStore) -> str:
    try:
        Machine.here(store=store)
    except RuntimeUnavailableError as error:
        raise Skip(str(error)) from error
    feed = dict(bundle.goldens()[0].inputs)
    options = SessionOptions(cache_dir=store.root, engine=EngineOptions(may_build=False))
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(kind.open(artifact, bundle.files(artifact), options=options))
            for kind in (TensorRtSession, WithoutGraph)
        ]
        plan = sessions[0].plan
        if not all(item.is_static for item in (*plan.inputs, *plan.outputs)):
            raise Skip("the network has dynamic shapes; it takes a static one")
        plan.cuda.use(plan.device)
        bare = Bare(plan, feed)
        stack.callback(bare.free)
        theirs, ours = bare.outputs(), sessions[0].run(feed)
        for name, value in ours.items():
            same = np.array_equal(value, theirs[name].astype(value.dtype))
            expect(same, f"output {name!r} differs from that of the engine's own call")
        calls: dict[str, Callable[[], object]] = {
            "alone": bare.alone,
            "copies": bare.with_copies,
            "session, no graph": partial(sessions[1].run, feed),
            "session": partial(sessions[0].run, feed),
        }
        if plan.uses_graph:
            calls["graph"] = bare.as_graph
        times = time_in_turns(calls, rounds=ROUNDS, limit_s=LIMIT_S)
    return _in_words(times)


def _in_words(times: Mapping[str, Latency]) -> str:
    median = {name: found.median_ms for name, found in times.items()}
    words = (
        f"the engine alone {median['alone']:.3f} ms, with its copies {median['copies']:.3f}; "
        f"session without graph {median['session, no graph']:.3f} ms, adds "
        f"{median['session, no graph'] - median['copies']:+.3f}"
    )
    if "graph" not in median:
        return f"{words}; no CUDA graph here"
    return (
        f"{words}; as one graph {median['graph']:.3f}, session {median['session']:.3f} ms, adds "
        f"{median['session'] - median['graph']:+.3f}; medians of {times['session'].calls} in turns"
    )
