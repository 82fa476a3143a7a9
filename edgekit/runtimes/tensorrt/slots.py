"""One place in which a call runs: context, stream, buffers, and the CUDA graph of it all."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import CudaError, InputError, TensorRtError
from edgekit.runtimes.session import Array
from edgekit.runtimes.tensorrt.buffers import Buffer, Held

if TYPE_CHECKING:
    from edgekit.runtimes.cuda.base import Cuda
    from edgekit.runtimes.tensorrt.api import Api, EngineIo
    from edgekit.runtimes.tensorrt.engine import ShapeWatch

logger = logging.getLogger(__name__)

_CALLS_BEFORE_CAPTURE = 2
"""TensorRT sets itself up in its first calls; a graph may only be captured after them."""


@dataclass(frozen=True)
class Plan:
    """An engine that is loaded, and how it is to be run.

    Args:
        api: TensorRT.
        cuda: CUDA.
        engine: The vendor's.
        inputs, outputs: Its tensors in its order.
        device: Number of the GPU.
        is_mapped: Whether CPU and GPU share their memory.
        uses_graph: Whether calls are captured into a CUDA graph.
        runtime: The vendor's, which the engine must not outlive.
    """

    api: Api
    cuda: Cuda
    engine: Any
    inputs: tuple[EngineIo, ...]
    outputs: tuple[EngineIo, ...]
    device: int
    is_mapped: bool
    uses_graph: bool
    runtime: Any = None


class Slot:
    """Runs one call at a time; several slots run several.

    Everything is allocated once, or where a dynamic shape is larger than any before. It is given
    back by ``free``, or when nobody holds the slot any more.

    Args:
        plan: What to run.

    Attributes:
        stream: Of its calls.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._dtypes = {item.name: item.dtype.to_numpy() for item in (*plan.inputs, *plan.outputs)}
        self._on_host = {item.name for item in (*plan.inputs, *plan.outputs) if item.is_on_host}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._watches: dict[str, ShapeWatch] = {}
        self._has_dynamic_outputs = any(not item.is_static for item in plan.outputs)
        self._calls = 0
        self._wants_graph = plan.uses_graph
        plan.cuda.use(plan.device)
        self.stream = plan.cuda.stream_create()
        self._held = Held(plan.cuda, plan.device, self.stream)
        self._buffers = self._held.buffers
        self._free = weakref.finalize(self, self._held.forget)
        self._free.atexit = False  # CUDA may be gone by then, and the process frees all
        try:
            self._context = plan.api.create_context(plan.engine)
            self._held.objects += [self._context, plan.engine, plan.runtime]
            for item in (*plan.inputs, *plan.outputs):
                if item.is_static:
                    self._place(item.name, item.shape)
        except BaseException:
            self.free()
            raise

    def run(self, feed: Sequence[Array], into: Sequence[Array | None]) -> list[Array]:
        """Run the engine once.

        Args:
            feed: Inputs in the engine's order, C-contiguous.
            into: Per output the array to fill, C-contiguous, or None.

        Returns:
            Outputs in the engine's order, in memory of their own or in ``into``.
        """
        plan = self._plan
        plan.cuda.use(plan.device)
        for item, array in zip(plan.inputs, feed, strict=True):
            self._take(item, array)
        if self._has_dynamic_outputs:
            self._size_outputs()
        self._launch()
        results = []
        for item, buffer in zip(plan.outputs, into, strict=True):
            view = self._result(item)
            if buffer is None:
                results.append(view.copy())
            else:
                np.copyto(buffer, view)
                results.append(buffer)
        return results

    def run_on_device(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Run on memory of the caller's that is on the device already; returns when it is done.

        Args:
            inputs: Addresses in the engine's order, of tensors in the engine's shapes.
            outputs: Likewise; both stay the caller's.
        """
        plan = self._plan
        plan.cuda.use(plan.device)
        names = [item.name for item in (*plan.inputs, *plan.outputs)]
        try:
            for name, address in zip(names, (*inputs, *outputs), strict=True):
                plan.api.set_address(self._context, name, address)
            plan.api.execute(self._context, self.stream)
            plan.cuda.stream_synchronize(self.stream)
        finally:
            for name in names:
                if name in self._buffers:
                    plan.api.set_address(self._context, name, self._buffers[name].device)

    def shape_inputs(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Set the inputs' shapes; return those of the outputs.

        Raises:
            InputError: An output's shape depends on the data.
        """
        plan = self._plan
        plan.cuda.use(plan.device)
        for item, shape in zip(plan.inputs, shapes, strict=True):
            if not item.is_static:
                self._shape(item, shape)
        found = [plan.api.output_shape(self._context, item.name) for item in plan.outputs]
        for item, shape in zip(plan.outputs, found, strict=True):
            if -1 in shape:
                raise InputError(
                    f"the size of output {item.name!r} depends on the data; run it on host arrays"
                )
        return found

    def free(self) -> None:
        """Give everything back; no call runs any more."""
        if self._free.detach() is not None:
            self._context = None
            self._held.free()

    def _take(self, item: EngineIo, array: Array) -> None:
        if not item.is_static:
            self._shape(item, array.shape)
            self._place(item.name, array.shape)
        view = self._buffers[item.name].view(array.shape, self._dtypes[item.name])
        np.copyto(view, array, casting="same_kind")
        # Before TensorRT 10 an int64 of the model is int32 in the engine.
        is_narrower = view.dtype.kind == "i" and view.itemsize < array.itemsize
        if is_narrower and not np.array_equal(view, array):
            raise InputError(
                f"input {item.name!r} holds values that do not fit {view.dtype.name}, in which "
                f"this engine takes it: {array.min()} to {array.max()}"
            )

    def _shape(self, item: EngineIo, shape: tuple[int, ...]) -> None:
        if self._shapes.get(item.name) != shape:
            self._plan.api.set_shape(self._context, item.name, shape)
            self._shapes[item.name] = shape

    def _size_outputs(self) -> None:
        for item in self._plan.outputs:
            if item.is_static:
                continue
            shape = self._plan.api.output_shape(self._context, item.name)
            if -1 not in shape:
                self._place(item.name, shape)
            else:
                self._watch(item.name)

    def _place(self, name: str, shape: tuple[int, ...]) -> None:
        """Let a tensor of this shape lie in a buffer that is large enough."""
        self._shapes[name] = shape
        self._hold(name, self._nbytes(name, shape))

    def _hold(self, name: str, nbytes: int) -> None:
        old = self._buffers.get(name)
        if old is not None and old.capacity >= nbytes:
            return
        plan = self._plan
        # TensorRT keeps the address until it is told another: the new one first.
        is_on_host = name in self._on_host
        new = Buffer(plan.cuda, nbytes, is_mapped=plan.is_mapped, is_on_host=is_on_host)
        try:
            plan.api.set_address(self._context, name, new.device)
        except BaseException:
            new.free()
            raise
        self._buffers[name] = new
        if old is not None:
            old.free()

    def _watch(self, name: str) -> None:
        """Learn the shape of an output that the data decides; the largest must fit."""
        most = self._plan.api.max_output_bytes(self._context, name)
        self._hold(name, most)
        capacity = self._buffers[name].capacity
        if name in self._watches:
            self._watches[name].capacity = capacity
        else:
            watch = self._plan.api.watch_shape(self._context, name, capacity=capacity)
            self._watches[name] = watch

    def _launch(self) -> None:
        cuda = self._plan.cuda
        if self._held.graph is not None:
            cuda.graph_launch(self._held.graph, self.stream)
        elif self._wants_graph and self._calls >= _CALLS_BEFORE_CAPTURE:
            self._capture()
        else:
            self._enqueue()
        cuda.stream_synchronize(self.stream)
        self._calls += 1

    def _enqueue(self) -> None:
        plan = self._plan
        for item in plan.inputs:
            self._buffers[item.name].to_device(self._size(item.name), self.stream)
        plan.api.execute(self._context, self.stream)
        for item in plan.outputs:
            self._buffers[item.name].to_host(self._size(item.name), self.stream)

    def _capture(self) -> None:
        """Record the call as a graph and launch it; without one where that does not work."""
        cuda = self._plan.cuda
        graph = 0
        try:
            cuda.graph_begin(self.stream)
            try:
                self._enqueue()
            finally:
                graph = cuda.graph_end(self.stream)
        except (CudaError, TensorRtError) as error:
            logger.warning("no CUDA graph, calls are enqueued one by one: %s", error)
            self._wants_graph = False
            self._enqueue()
            return
        self._held.graph = graph
        cuda.graph_launch(graph, self.stream)

    def _result(self, item: EngineIo) -> Array:
        watch = self._watches.get(item.name)
        shape = self._shapes.get(item.name, item.shape) if watch is None else watch.shape
        if shape is None or (watch is not None and watch.needed > watch.capacity):
            raise TensorRtError(f"output {item.name!r} did not fit; nothing of it was kept")
        return self._buffers[item.name].view(shape, self._dtypes[item.name])

    def _size(self, name: str) -> int:
        if name in self._watches:
            return self._buffers[name].capacity
        return self._nbytes(name, self._shapes[name])

    def _nbytes(self, name: str, shape: tuple[int, ...]) -> int:
        return math.prod(shape) * self._dtypes[name].itemsize
