"""A session on a TensorRT engine; the engine is found in the store, or built there first."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from edgekit.artifact import Artifact, ArtifactFiles
from edgekit.errors import InputError
from edgekit.runtimes.base import EngineSession
from edgekit.runtimes.cuda.exchange import DeviceTensor, as_device_tensor
from edgekit.runtimes.engines import EngineStore, StoredEngine
from edgekit.runtimes.matching import EngineTensor, EngineTensors, dynamic_name
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.session import Array
from edgekit.runtimes.tensorrt.api import EngineIo
from edgekit.runtimes.tensorrt.machine import Machine
from edgekit.runtimes.tensorrt.prepare import EngineOptions, engine_of
from edgekit.runtimes.tensorrt.slots import Plan, Slot
from edgekit.tensor import DType

_SHARED_PROFILES = ">=10"
"""Releases whose contexts may use one optimization profile at once; before, each needs its own."""

_SLOTS_FOR_THROUGHPUT = 2
"""One computes while the next one's input is copied."""


class TensorRtSession(EngineSession):
    """Runs an engine on an NVIDIA GPU.

    Each of ``parallel_calls`` calls has a context, a stream and buffers of its own. Where CPU
    and GPU share their memory (a Jetson), nothing is copied between them; a static engine that
    runs on the GPU alone is launched as one CUDA graph.

    Attributes:
        captures_graphs: Whether a CUDA graph is made where one can be; for measuring without.
        stored: What runs, with what was measured when it was built; None where the engine came
            with the bundle.
        layers: The engine's layers as TensorRT's inspector tells them, JSON-ready.
    """

    runtime = "tensorrt"
    captures_graphs: ClassVar[bool] = True
    stored: StoredEngine | None
    _honoured = frozenset({"engine"})
    _precisions = ("fp32", "fp16", "auto")

    def _load(
        self, artifact: Artifact, files: ArtifactFiles, options: SessionOptions
    ) -> EngineTensors:
        is_compiled = "engine" in artifact.files  # TensorRT-RTX's, which bundles hold
        store = EngineStore(options.cache_dir)
        machine = Machine.here("rtx" if is_compiled else None, store=store)
        self.stored = None
        if not is_compiled:
            self.stored = engine_of(
                artifact,
                files,
                release=machine.api.release,
                device=machine.facts,
                store=store,
                options=options.engine or EngineOptions(),
            )
        plan = files.read("engine") if self.stored is None else self.stored.read()
        dla_core = None if self.stored is None else self.stored.key.settings.get("dla_core")
        api, cuda = machine.api, machine.cuda
        cuda.use(machine.device)
        runtime = api.runtime()
        engine = api.deserialize(runtime, plan, dla_core=dla_core)
        tensors = api.tensors(engine)
        is_static = all(item.is_static for item in tensors)
        self._plan = Plan(
            api=api,
            cuda=cuda,
            engine=engine,
            inputs=tuple(item for item in tensors if item.is_input),
            outputs=tuple(item for item in tensors if not item.is_input),
            device=machine.device,
            is_mapped=machine.properties.is_integrated and machine.properties.can_map_host,
            uses_graph=(
                self.captures_graphs and is_static and dla_core is None and cuda.has_graphs
            ),
            runtime=runtime,
        )
        self.version = machine.facts.tensorrt
        self.inference_precision = artifact.precision
        may_share = is_static or api.release.in_range(_SHARED_PROFILES)
        is_parallel = options.hint == "throughput" and may_share
        self.parallel_calls = _SLOTS_FOR_THROUGHPUT if is_parallel else 1
        self._slots: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for _ in range(self.parallel_calls):
            self._slots.put(Slot(self._plan))
        specs = (*artifact.inputs, *artifact.outputs)
        wide = {spec.name for spec in specs if spec.dtype is DType.INT64}
        return EngineTensors(
            tuple(_engine_tensor(item, wide) for item in self._plan.inputs),
            tuple(_engine_tensor(item, wide) for item in self._plan.outputs),
        )

    @property
    def layers(self) -> Mapping[str, Any]:
        """The engine's layers; names only where it was built without details."""
        self._lifetime.enter()
        try:
            found: Mapping[str, Any] = json.loads(self._plan.api.inspect(self._plan.engine))
            return found
        finally:
            self._lifetime.leave()

    @property
    def plan(self) -> Plan:
        """The engine and how it is run; do not keep it longer than the session."""
        return self._plan

    def run_on_device(
        self, inputs: Mapping[str, object], *, outputs: Mapping[str, object] | None = None
    ) -> dict[str, DeviceTensor]:
        """Run on tensors that are in the GPU's memory; nothing is copied.

        Args:
            inputs: Every input by name, as the engine takes it: anything with ``__dlpack__``
                or ``__cuda_array_interface__``, C-contiguous. By DLPack its owner makes our
                stream wait for what still fills it; by the other it must be complete.
            outputs: Memory to write to, likewise, for some or all outputs.

        Returns:
            Every output by name; it frees its own memory, or is the caller's.

        Raises:
            InputError: A tensor is missing, not on the device, or has another shape or dtype.
        """
        self._lifetime.enter()
        try:
            with self._slot() as slot:
                self._refuse_host_tensors()
                taken = [_device_tensor(inputs, item, slot) for item in self._plan.inputs]
                shapes = slot.shape_inputs([item.shape for item in taken])
                given = outputs or {}
                made = [
                    self._output_on_device(item, shape, given, slot)
                    for item, shape in zip(self._plan.outputs, shapes, strict=True)
                ]
                slot.run_on_device(
                    [item.address for item in taken], [item.address for item in made]
                )
            names = [item.name for item in self._plan.outputs]
            return dict(zip(names, made, strict=True))
        finally:
            self._lifetime.leave()

    def _bind(self) -> None:
        self._output_dtypes = [spec.dtype.to_numpy() for spec in self.artifact.outputs]

    def _run(self, feed: list[Array], into: list[Array | None] | None) -> list[Array]:
        places = [None] * len(self._output_places) if into is None else into
        ours: list[Array] = [feed[0]] * len(feed) if feed else []
        for array, place in zip(feed, self._input_places, strict=True):
            ours[place] = array
        wanted: list[Array | None] = [None] * len(places)
        for buffer, place in zip(places, self._output_places, strict=True):
            wanted[place] = buffer
        with self._slot() as slot:
            results = slot.run(ours, wanted)
        return [
            _as_dtype(results[place], dtype)
            for place, dtype in zip(self._output_places, self._output_dtypes, strict=True)
        ]

    def _release(self) -> None:
        with ExitStack() as stack:  # all of them, whatever CUDA refuses of one
            stack.callback(self._drop_engine)
            for _ in range(self.parallel_calls):
                stack.callback(self._slots.get().free)

    def _drop_engine(self) -> None:
        # The engine before its runtime: TensorRT logs an error, or crashes, the other way round.
        self._plan = replace(self._plan, engine=None)
        self._plan = replace(self._plan, runtime=None)

    def _refuse_host_tensors(self) -> None:
        for item in (*self._plan.inputs, *self._plan.outputs):
            if item.is_on_host:
                raise InputError(
                    f"{item.name!r} holds a shape, which TensorRT wants in host memory; use run"
                )

    @contextmanager
    def _slot(self) -> Iterator[Slot]:
        slot = self._slots.get()
        try:
            yield slot
        finally:
            self._slots.put(slot)

    def _output_on_device(
        self, item: EngineIo, shape: tuple[int, ...], given: Mapping[str, object], slot: Slot
    ) -> DeviceTensor:
        if item.name not in given:
            return DeviceTensor.allocate(
                self._plan.cuda, shape, item.dtype, device=self._plan.device
            )
        tensor = _device_tensor(given, item, slot)
        if tensor.shape != shape:
            raise InputError(f"output {item.name!r} has shape {shape}, its memory {tensor.shape}")
        return tensor


def _device_tensor(tensors: Mapping[str, object], item: EngineIo, slot: Slot) -> DeviceTensor:
    if item.name not in tensors:
        raise InputError(f"{item.name!r} is missing; it takes {item.dtype.value} {item.shape}")
    tensor = as_device_tensor(tensors[item.name], stream=slot.stream)
    if tensor is None:
        kind = type(tensors[item.name]).__name__
        raise InputError(
            f"{item.name!r} is a {kind}, which is not in the GPU's memory; use run for host arrays"
        )
    fits = len(tensor.shape) == len(item.shape) and all(
        want in (-1, have) for want, have in zip(item.shape, tensor.shape, strict=True)
    )
    if tensor.dtype is not item.dtype or not fits:
        raise InputError(
            f"{item.name!r} is {tensor.dtype.value} {tensor.shape}; the engine takes "
            f"{item.dtype.value} {item.shape}"
        )
    return tensor


def _engine_tensor(item: EngineIo, wide: set[str]) -> EngineTensor:
    """Return the tensor as the artifact knows it: before TensorRT 10 its int64 is int32 here."""
    dtype = DType.INT64 if item.dtype is DType.INT32 and item.name in wide else item.dtype
    shape = tuple(
        dynamic_name(item.name, axis) if size == -1 else size
        for axis, size in enumerate(item.shape)
    )
    return EngineTensor((item.name,), dtype, shape)


def _as_dtype(array: Array, dtype: np.dtype[Any]) -> Array:
    return array if array.dtype == dtype else array.astype(dtype)
