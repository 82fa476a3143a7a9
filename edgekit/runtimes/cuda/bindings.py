"""CUDA through NVIDIA's own Python package, ``cuda.bindings`` (``cuda.cudart`` before 12.6)."""

from __future__ import annotations

from typing import Any

try:
    from cuda.bindings import runtime as cudart
except ImportError:  # cuda-python 11.8 and 12.0 to 12.5, as JetPack 5 has them
    from cuda import cudart

from edgekit.errors import RuntimeUnavailableError
from edgekit.runtimes.cuda.base import Cuda, DeviceProperties, failure

_NO_DEVICE = (
    "cudaErrorInitializationError",
    "cudaErrorStubLibrary",
    "cudaErrorInsufficientDriver",
    "cudaErrorDevicesUnavailable",
    "cudaErrorNoDevice",
    "cudaErrorInvalidDevice",
    "cudaErrorSystemDriverMismatch",
    "cudaErrorCompatNotSupportedOnDevice",
)


class BindingsCuda(Cuda):
    """NVIDIA's package; its handles are turned into integers and taken as such.

    Raises:
        RuntimeUnavailableError: The package finds no CUDA library.
    """

    name = "cuda.bindings"

    def __init__(self) -> None:
        self._attribute = cudart.cudaDeviceAttr
        try:
            self.driver_version()
        except RuntimeError as error:  # its loader's own error: no libcudart or libcuda
            raise RuntimeUnavailableError(f"cuda.bindings: {error}") from error

    def runtime_version(self) -> tuple[int, int]:
        return _version(_one(cudart.cudaRuntimeGetVersion))

    def driver_version(self) -> tuple[int, int]:
        return _version(_one(cudart.cudaDriverGetVersion))

    def device_count(self) -> int:
        status, count = cudart.cudaGetDeviceCount()
        if status.name in _NO_DEVICE:
            cudart.cudaGetLastError()
            return 0
        _check("cudaGetDeviceCount", status)
        return int(count)

    def properties(self, device: int = 0) -> DeviceProperties:
        self.use(device)
        kind = self._attribute
        return DeviceProperties(
            name=_text(_one(cudart.cudaGetDeviceProperties, device).name),
            compute=(
                self._get(kind.cudaDevAttrComputeCapabilityMajor, device),
                self._get(kind.cudaDevAttrComputeCapabilityMinor, device),
            ),
            total_bytes=self.memory()[1],
            is_integrated=bool(self._get(kind.cudaDevAttrIntegrated, device)),
            can_map_host=bool(self._get(kind.cudaDevAttrCanMapHostMemory, device)),
            sm_count=self._get(kind.cudaDevAttrMultiProcessorCount, device),
        )

    def use(self, device: int) -> None:
        _call(cudart.cudaSetDevice, device)

    def memory(self) -> tuple[int, int]:
        free, total = _call(cudart.cudaMemGetInfo)
        return int(free), int(total)

    def malloc(self, nbytes: int) -> int:
        return int(_one(cudart.cudaMalloc, nbytes))

    def free(self, address: int) -> None:
        _call(cudart.cudaFree, address)

    def host_alloc(self, nbytes: int, *, mapped: bool = False) -> int:
        flags = cudart.cudaHostAllocMapped if mapped else cudart.cudaHostAllocPortable
        return int(_one(cudart.cudaHostAlloc, nbytes, flags))

    def host_free(self, address: int) -> None:
        _call(cudart.cudaFreeHost, address)

    def device_pointer(self, host_address: int) -> int:
        return int(_one(cudart.cudaHostGetDevicePointer, host_address, 0))

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        kind = cudart.cudaMemcpyKind.cudaMemcpyDefault
        _call(cudart.cudaMemcpyAsync, target, source, nbytes, kind, stream)

    def stream_create(self) -> int:
        return int(_one(cudart.cudaStreamCreateWithFlags, cudart.cudaStreamNonBlocking))

    def stream_synchronize(self, stream: int) -> None:
        _call(cudart.cudaStreamSynchronize, stream)

    def stream_destroy(self, stream: int) -> None:
        _call(cudart.cudaStreamDestroy, stream)

    def event_create(self) -> int:
        return int(_one(cudart.cudaEventCreate))

    def event_record(self, event: int, stream: int) -> None:
        _call(cudart.cudaEventRecord, event, stream)

    def event_synchronize(self, event: int) -> None:
        _call(cudart.cudaEventSynchronize, event)

    def event_elapsed_ms(self, start: int, stop: int) -> float:
        return float(_one(cudart.cudaEventElapsedTime, start, stop))

    def event_destroy(self, event: int) -> None:
        _call(cudart.cudaEventDestroy, event)

    def graph_begin(self, stream: int) -> None:
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _call(cudart.cudaStreamBeginCapture, stream, mode)

    def graph_end(self, stream: int) -> int:
        graph = _one(cudart.cudaStreamEndCapture, stream)
        try:
            return int(_one(cudart.cudaGraphInstantiateWithFlags, graph, 0))
        finally:
            _call(cudart.cudaGraphDestroy, graph)

    def graph_launch(self, graph: int, stream: int) -> None:
        _call(cudart.cudaGraphLaunch, graph, stream)

    def graph_destroy(self, graph: int) -> None:
        _call(cudart.cudaGraphExecDestroy, graph)

    def _get(self, attribute: Any, device: int) -> int:
        return int(_one(cudart.cudaDeviceGetAttribute, attribute, device))


def _call(function: Any, *arguments: Any) -> tuple[Any, ...]:
    status, *results = function(*arguments)
    _check(function.__name__, status)
    return tuple(results)


def _one(function: Any, *arguments: Any) -> Any:
    return _call(function, *arguments)[0]


def _check(function: str, status: Any) -> None:
    if int(status):
        # CUDA keeps the last error until it is asked for; torch would raise it as its own.
        cudart.cudaGetLastError()
        words = _text(cudart.cudaGetErrorString(status)[1])
        raise failure(function, name=status.name, words=words, number=int(status))


def _text(words: bytes | str) -> str:
    text = words.decode(errors="replace") if isinstance(words, bytes) else words
    return text.split("\0", 1)[0]


def _version(number: Any) -> tuple[int, int]:
    return int(number) // 1000, int(number) % 1000 // 10
