"""OpenVINO on the CPU."""

from __future__ import annotations

import os
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from edgekit.artifact import Artifact, ArtifactFiles
from edgekit.runtimes.base import EngineSession
from edgekit.runtimes.layer_times import StepTime, middle_mean
from edgekit.runtimes.matching import EngineTensor, EngineTensors, dynamic_name
from edgekit.runtimes.options import SessionOptions
from edgekit.tensor import Dim, DType

Array = NDArray[Any]

_PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_ELEMENT_TYPES = {
    "f32": DType.FLOAT32,
    "f16": DType.FLOAT16,
    "f64": DType.FLOAT64,
    "bf16": DType.BFLOAT16,
    "i8": DType.INT8,
    "u8": DType.UINT8,
    "i16": DType.INT16,
    "u16": DType.UINT16,
    "i32": DType.INT32,
    "u32": DType.UINT32,
    "i64": DType.INT64,
    "u64": DType.UINT64,
    "i4": DType.INT4,
    "u4": DType.UINT4,
    "boolean": DType.BOOL,
    "string": DType.STRING,
}
_MOST_PROFILES = 1024  # Calls; each keeps an object a step.


class OpenVinoSession(EngineSession):
    """Runs OpenVINO IR and ONNX.

    It keeps as many infer requests as the CPU takes calls at once; a call takes one and
    gives it back. (``AsyncInferQueue`` is not used: when an inference fails it never calls
    back, openvino 2026.4, so that the caller's future would wait for ever.)
    """

    runtime = "openvino"
    version = ov.get_version().split("-")[0]
    _engine_errors = (RuntimeError,)
    _honoured = frozenset({"profile"})
    _precisions = ("fp32", "bf16", "fp16", "auto")
    _writes_strided = True

    def _load(
        self, artifact: Artifact, files: ArtifactFiles, options: SessionOptions
    ) -> EngineTensors:
        core = ov.Core()
        model = _read(core, artifact, files)
        engine = core.compile_model(model, "CPU", _config(options))
        self.inference_precision = _precision(engine)
        self.parallel_calls = max(1, engine.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self._profiles: list[list[ov.ProfilingInfo]] | None = None
        if options.profile:
            self._profiles = []
            self._steps = _steps(engine.get_runtime_model())
        for _ in range(self.parallel_calls):
            self._requests.put(engine.create_infer_request())
        # The read model knows the names and the dynamic sizes; compiling may lose both.
        return EngineTensors(
            tuple(map(_input_tensor, model.inputs)), tuple(map(_output_tensor, model.outputs))
        )

    def _run(self, feed: list[Array], into: list[Array | None] | None) -> list[Array]:
        request = self._requests.get()
        try:
            for place, array in zip(self._input_places, feed, strict=True):
                _set_input(request, place, array)
            request.infer(share_outputs=True)
            if self._profiles is not None and len(self._profiles) < _MOST_PROFILES:
                self._profiles.append(request.profiling_info)
            results = [request.get_output_tensor(place).data for place in self._output_places]
            if into is None:
                return [result.copy() for result in results]
            return [_taken(*pair) for pair in zip(results, into, strict=True)]
        finally:
            self._requests.put(request)

    def _step_times(self, calls: int) -> tuple[StepTime, ...]:
        times: dict[str, list[float]] = {}
        for number, call in enumerate(self._profiles or (), 1):
            for step in call:
                if step.status == ov.ProfilingInfo.Status.EXECUTED:
                    # It is the mean of all calls so far, which one slow call spoils for good.
                    # Source: openvino 2026.4, intel_cpu/src/perf_count.h, PerfCount::avg.
                    total = number * step.real_time.total_seconds() * 1e6
                    times.setdefault(step.node_name, [0.0]).append(total)
        return tuple(
            replace(step, microseconds=middle_mean(np.diff(times.get(step.name, ()))[-calls:]))
            for step in self._steps
        )

    def _release(self) -> None:
        del self._requests


def _read(core: ov.Core, artifact: Artifact, files: ArtifactFiles) -> ov.Model:
    path = files.path("model")
    if path is not None and "weights" in artifact.files:
        return core.read_model(os.fspath(path), os.fspath(files.path("weights") or ""))
    if path is not None:
        return core.read_model(os.fspath(path))
    data = files.read("model")
    if "weights" not in artifact.files:  # ONNX holds its own
        return core.read_model(data)
    # The tensor would only borrow the bytes, and the model outlives this function.
    weights = np.frombuffer(files.read("weights"), np.uint8).copy()
    return core.read_model(data, ov.Tensor(weights))


def _config(options: SessionOptions) -> dict[str, Any]:
    config: dict[str, Any] = {"PERFORMANCE_HINT": options.hint.upper()}
    if options.threads is not None:
        config["INFERENCE_NUM_THREADS"] = options.threads
    if options.cache_dir is not None:
        config["CACHE_DIR"] = os.fspath(options.cache_dir)
    if options.profile:
        config["PERF_COUNT"] = True
    if options.inference_precision != "auto":
        config["INFERENCE_PRECISION_HINT"] = _PRECISIONS[options.inference_precision]
    return config


def _precision(engine: ov.CompiledModel) -> str:
    name = engine.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return next((ours for ours, theirs in _PRECISIONS.items() if theirs == name), str(name))


def _steps(model: ov.Model) -> tuple[StepTime, ...]:
    """Return what a compiled model runs, constants left out; nothing is timed yet."""
    found = []
    for node in model.get_ordered_ops():
        facts = node.get_rt_info()
        kind, origins = (str(facts[key].value) for key in ("layerType", "originalLayersNames"))
        if kind == "Const":
            continue
        readers = [
            target.get_node().get_friendly_name()
            for output in node.outputs()
            for target in output.get_target_inputs()
        ]
        names = tuple(name for name in origins.split(",") if name)
        found.append(StepTime(node.get_friendly_name(), kind, names, tuple(readers), 0.0))
    return tuple(found)


def _set_input(request: ov.InferRequest, place: int, array: Array) -> None:
    if array.flags.writeable and array.ndim:
        request.set_input_tensor(place, ov.Tensor(array, shared_memory=True))
        return
    # ov.Tensor refuses to share what is read-only, and cannot be made from a scalar.
    tensor = ov.Tensor(ov.Type(array.dtype), ov.Shape(array.shape))
    tensor.data[...] = array
    request.set_input_tensor(place, tensor)


def _taken(result: Array, buffer: Array | None) -> Array:
    if buffer is None:
        return np.array(result)
    np.copyto(buffer, result)
    return buffer


def _input_tensor(port: Any) -> EngineTensor:
    return _tensor(port, port.get_node().get_friendly_name())


def _output_tensor(port: Any) -> EngineTensor:
    return _tensor(port, port.get_node().input_value(0).get_node().get_friendly_name())


def _tensor(port: Any, friendly_name: str) -> EngineTensor:
    names = sorted(port.get_names()) or [friendly_name]
    if friendly_name in names:
        names.remove(friendly_name)
        names.insert(0, friendly_name)
    shape: tuple[Dim, ...] | None = None
    if port.get_partial_shape().rank.is_static:
        shape = tuple(
            dim.get_length() if dim.is_static else dynamic_name(names[0], axis)
            for axis, dim in enumerate(port.get_partial_shape())
        )
    return EngineTensor(
        tuple(names), _ELEMENT_TYPES[port.get_element_type().get_type_name()], shape
    )
