"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as native

from edgekit.artifact import Artifact, ArtifactFiles
from edgekit.errors import EngineError
from edgekit.runtimes.base import EngineSession
from edgekit.runtimes.layer_times import StepTime
from edgekit.runtimes.matching import EngineTensor, EngineTensors, dynamic_name
from edgekit.runtimes.onnxruntime_profile import OnnxRuntimeProfile
from edgekit.runtimes.options import SessionOptions
from edgekit.tensor import Dim, DType

Array = NDArray[Any]

_LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_DTYPES = {"float": "float32", "double": "float64"}
# From this size on the engine is made to write into the caller's buffer itself: making the
# binding costs 15 us, copying 3 MB 75 us (ONNX Runtime 1.32, benchmarks/session_overhead.py).
_BOUND_BYTES = 1 << 18
_WARNINGS = 3  # Severities are 0 verbose to 4 fatal; 3 leaves errors, which are raised anyway.


class OnnxRuntimeSession(EngineSession):
    """Runs ONNX; re-entrant, so that calls from several threads overlap."""

    runtime = "onnxruntime"
    version = ort.__version__
    _honoured = frozenset({"graph_optimization", "profile"})
    # They derive from Exception only, each by itself.
    _engine_errors = (
        native.EPFail,
        native.EngineError,
        native.Fail,
        native.InvalidArgument,
        native.InvalidGraph,
        native.InvalidProtobuf,
        native.NoModel,
        native.NoSuchFile,
        native.NotImplemented,
        native.RuntimeException,
        RuntimeError,
    )

    def _load(
        self, artifact: Artifact, files: ArtifactFiles, options: SessionOptions
    ) -> EngineTensors:
        path = files.path("model")
        # By its path wherever there is one: weights in a file beside it are found by it.
        self._source = path if path is not None else files.read("model")
        engine_options = _engine_options(self, options)
        self._profile = OnnxRuntimeProfile() if options.profile else None
        self._profiled: Path | None = None
        if self._profile is not None:
            engine_options.enable_profiling = True
            engine_options.profile_file_prefix = os.fspath(self._profile.prefix)
            engine_options.optimized_model_filepath = os.fspath(self._profile.optimized)
        self._engine = ort.InferenceSession(
            os.fspath(path) if path is not None else self._source,
            engine_options,
            providers=["CPUExecutionProvider"],
        )
        return EngineTensors(
            _tensors(self._engine.get_inputs()), _tensors(self._engine.get_outputs())
        )

    def _bind(self) -> None:
        self._names_in = [spec.name for spec in self.artifact.inputs]
        self._names_out = [spec.name for spec in self.artifact.outputs]

    def _run(self, feed: list[Array], into: list[Array | None] | None) -> list[Array]:
        if into is not None and any(map(_is_worth_binding, into)):
            return self._run_bound(feed, into)
        named = dict(zip(self._names_in, feed, strict=True))
        results: list[Array] = self._engine.run(self._names_out, named)
        if into is None:
            return results
        return [_copied(*pair) for pair in zip(results, into, strict=True)]

    def _run_bound(self, feed: list[Array], into: Sequence[Array | None]) -> list[Array]:
        binding = self._engine.io_binding()
        for name, array in zip(self._names_in, feed, strict=True):
            binding.bind_cpu_input(name, array)
        for name, buffer in zip(self._names_out, into, strict=True):
            if buffer is None:
                binding.bind_output(name, "cpu")
            else:
                binding.bind_output(name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)
        self._engine.run_with_iobinding(binding)
        return [
            value.numpy() if buffer is None else buffer
            for value, buffer in zip(binding.get_outputs(), into, strict=True)
        ]

    def _step_times(self, calls: int) -> tuple[StepTime, ...]:
        if self._profile is None:
            return ()
        if self._profiled is None:  # The engine writes it once.
            self._profiled = Path(self._engine.end_profiling())
        return self._profile.steps(self._profiled, self._source, calls=calls)

    def _release(self) -> None:
        del self._engine
        if self._profile is not None:  # after the engine, which writes into it as it goes
            self._profile.close()


def _engine_options(session: EngineSession, options: SessionOptions) -> ort.SessionOptions:
    engine = ort.SessionOptions()
    engine.log_severity_level = _WARNINGS
    threads = options.threads or 0
    if options.hint == "throughput":
        # Many calls of one thread each finish more per second than one call on many.
        session.parallel_calls = max(1, (os.cpu_count() or 1) // max(threads, 1))
        threads = max(threads, 1)
    engine.intra_op_num_threads = threads
    engine.inter_op_num_threads = 1
    if options.graph_optimization is not None:
        engine.graph_optimization_level = _LEVELS[options.graph_optimization]
    return engine


def _is_worth_binding(buffer: Array | None) -> bool:
    return buffer is not None and buffer.nbytes >= _BOUND_BYTES


def _copied(result: Array, buffer: Array | None) -> Array:
    if buffer is None:
        return result
    np.copyto(buffer, result)
    return buffer


def _tensors(tensors: Sequence[Any]) -> tuple[EngineTensor, ...]:
    return tuple(
        EngineTensor((tensor.name,), _dtype(tensor.type), _shape(tensor.name, tensor.shape))
        for tensor in tensors
    )


def _dtype(text: str) -> DType:
    name = text.removeprefix("tensor(").removesuffix(")")
    try:
        return DType(_DTYPES.get(name, name))
    except ValueError as error:
        raise EngineError(f"onnxruntime gives a value of type {text}; only tensors run") from error


def _shape(name: str, shape: Sequence[int | str | None]) -> tuple[Dim, ...]:
    return tuple(
        dynamic_name(name, axis) if dim is None or dim == "" else dim
        for axis, dim in enumerate(shape)
    )
