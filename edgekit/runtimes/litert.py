"""LiteRT (TensorFlow Lite) on the CPU."""

from __future__ import annotations

import importlib.metadata
import os
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact, ArtifactFiles
from edgekit.errors import EngineError
from edgekit.quantization import Quantization
from edgekit.runtimes.base import EngineSession
from edgekit.runtimes.matching import EngineTensor, EngineTensors, dynamic_name
from edgekit.runtimes.native_output import without_native_lines
from edgekit.runtimes.options import SessionOptions
from edgekit.tensor import Dim, DType

try:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    _DISTRIBUTION = "ai-edge-litert"
except ModuleNotFoundError:
    # Where only the older package has a wheel: 32-bit arm.
    from tflite_runtime.interpreter import Interpreter, OpResolverType

    _DISTRIBUTION = "tflite-runtime"

Array = NDArray[Any]

# Up to here a picture whose channels come first is copied plane by plane: numpy's own copy
# of (1, 3, 640, 640) into (1, 640, 640, 3) takes 1.6 ms, three planes 0.36 ms (numpy 2.4).
_FEW_CHANNELS = 16

# Written once per process by ai-edge-litert 2.3.0, which has no switch for it.
_NOTICE = "INFO: Created TensorFlow Lite XNNPACK delegate"


class LiteRtSession(EngineSession):
    """Runs TFLite flatbuffers.

    An interpreter runs one call at a time; with the throughput hint there are as many as
    the CPU takes. Variable tensors (the state that a fused LSTM keeps from call to call)
    are reset before every call: the same input gives the same output.
    """

    runtime = "litert"
    version = importlib.metadata.version(_DISTRIBUTION)
    _engine_errors = (RuntimeError, ValueError)
    _honoured = frozenset({"xnnpack"})
    _reads_strided = True
    _writes_strided = True

    def _load(
        self, artifact: Artifact, files: ArtifactFiles, options: SessionOptions
    ) -> EngineTensors:
        threads = options.threads
        if options.hint == "throughput":
            threads = threads or 1
            self.parallel_calls = max(1, (os.cpu_count() or 1) // threads)
        path = files.path("model")
        data = files.read("model") if path is None else None
        self._interpreters: SimpleQueue[Interpreter] = SimpleQueue()
        for _ in range(self.parallel_calls):
            with without_native_lines(_NOTICE):
                interpreter = Interpreter(
                    model_path=None if path is None else os.fspath(path),
                    model_content=data,
                    num_threads=threads,
                    experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                    if options.xnnpack is False
                    else OpResolverType.AUTO,
                )
                interpreter.allocate_tensors()
            self._interpreters.put(interpreter)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._indices = (
            [int(tensor["index"]) for tensor in inputs],
            [int(tensor["index"]) for tensor in outputs],
        )
        aliases = _signature_names(interpreter)
        return EngineTensors(
            tuple(_tensor(tensor, aliases[0]) for tensor in inputs),
            tuple(_tensor(tensor, aliases[1]) for tensor in outputs),
        )

    def _bind(self) -> None:
        self._inputs = [self._indices[0][place] for place in self._input_places]
        self._outputs = [self._indices[1][place] for place in self._output_places]
        self._is_dynamic = not all(spec.is_static for spec in self.artifact.inputs)

    def _run(self, feed: list[Array], into: list[Array | None] | None) -> list[Array]:
        interpreter = self._interpreters.get()
        try:
            if self._is_dynamic:
                _resize(interpreter, self._inputs, feed)
            for index, array in zip(self._inputs, feed, strict=True):
                # Straight into the engine's buffer, one copy even from a strided array. The
                # view must be gone before invoke(), which refuses to run while one lives.
                _copy(array, interpreter.tensor(index)())
            interpreter.reset_all_variables()
            interpreter.invoke()
            if into is None:
                return [interpreter.get_tensor(index) for index in self._outputs]
            return [
                _taken(interpreter, index, buffer)
                for index, buffer in zip(self._outputs, into, strict=True)
            ]
        finally:
            self._interpreters.put(interpreter)

    def _release(self) -> None:
        del self._interpreters


def _resize(interpreter: Interpreter, indices: list[int], feed: list[Array]) -> None:
    shapes = {int(item["index"]): tuple(item["shape"]) for item in interpreter.get_input_details()}
    changed = [pair for pair in zip(indices, feed, strict=True) if pair[1].shape != shapes[pair[0]]]
    for index, array in changed:
        interpreter.resize_tensor_input(index, array.shape, strict=True)
    if changed:
        interpreter.allocate_tensors()


def _copy(array: Array, target: Array) -> None:
    channels = array.shape[-1] if array.ndim > 2 else 0
    if not 1 < channels <= _FEW_CHANNELS or array.flags.c_contiguous:
        target[...] = array
        return
    for channel in range(channels):
        target[..., channel] = array[..., channel]


def _taken(interpreter: Interpreter, index: int, buffer: Array | None) -> Array:
    if buffer is None:
        return interpreter.get_tensor(index)  # type: ignore[no-any-return]
    np.copyto(buffer, interpreter.tensor(index)())
    return buffer


def _signature_names(interpreter: Interpreter) -> tuple[dict[int, str], dict[int, str]]:
    """Return the names that the file's only signature gives to tensor indices."""
    keys = list(interpreter.get_signature_list())
    if len(keys) != 1:
        return {}, {}
    runner = interpreter.get_signature_runner(keys[0])
    return (
        {int(item["index"]): name for name, item in runner.get_input_details().items()},
        {int(item["index"]): name for name, item in runner.get_output_details().items()},
    )


def _tensor(details: dict[str, Any], aliases: dict[int, str]) -> EngineTensor:
    name = str(details["name"])
    alias = aliases.get(int(details["index"]), name)
    try:
        dtype = DType.from_numpy(np.dtype(details["dtype"]))
    except ValueError as error:
        raise EngineError(f"litert gives tensor {name!r} of type {details['dtype']}") from error
    # Without unknown sizes the signature equals the shape, or is empty in old files.
    signature = details["shape_signature"]
    sizes = signature if len(signature) else details["shape"]
    shape: tuple[Dim, ...] = tuple(
        int(size) if size >= 0 else dynamic_name(alias, axis) for axis, size in enumerate(sizes)
    )
    return EngineTensor(tuple(dict.fromkeys((alias, name))), dtype, shape, _quantization(details))


def _quantization(details: dict[str, Any]) -> Quantization | None:
    parameters = details["quantization_parameters"]
    scales = tuple(float(scale) for scale in parameters["scales"])
    if not scales or not all(scale > 0 for scale in scales):
        return None
    points = tuple(int(point) for point in parameters["zero_points"])
    axis = int(parameters["quantized_dimension"]) if len(scales) > 1 else None
    return Quantization(scales, points, axis)
