"""CUDA through ctypes on its runtime library: works wherever CUDA is, needs no package."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import site
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import RuntimeUnavailableError
from edgekit.runtimes.cuda.base import Cuda, DeviceProperties, failure, is_newer

_SONAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
_WHEEL_FOLDERS = ("nvidia/cu13/lib", "nvidia/cuda_runtime/lib")
_TOOLKITS = Path("/usr/local")
_TOOLKIT_FOLDERS = ("lib64", "targets/aarch64-linux/lib", "targets/x86_64-linux/lib", "lib")

# Numbers of driver_types.h; they have not changed from CUDA 11 to 13.
_NO_DEVICE = frozenset({3, 34, 35, 46, 100, 101, 803, 804})
"""Initialisation failed, stub library, driver too old, device in use or not there."""
_MAPPED, _PORTABLE = 2, 1
_COPY_DEFAULT = 4
_STREAM_NON_BLOCKING = 1
_CAPTURE_THREAD_LOCAL = 1
_ATTRIBUTES = {"sm_count": 16, "integrated": 18, "can_map_host": 19, "major": 75, "minor": 76}

_OutInt = ctypes.POINTER(ctypes.c_int)
_OutSize = ctypes.POINTER(ctypes.c_size_t)
_OutPointer = ctypes.POINTER(ctypes.c_void_p)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaRuntimeGetVersion": (_OutInt,),
    "cudaDriverGetVersion": (_OutInt,),
    "cudaGetDeviceCount": (_OutInt,),
    "cudaDeviceGetAttribute": (_OutInt, ctypes.c_int, ctypes.c_int),
    "cudaGetDeviceProperties": (ctypes.c_void_p, ctypes.c_int),
    "cudaSetDevice": (ctypes.c_int,),
    "cudaMemGetInfo": (_OutSize, _OutSize),
    "cudaMalloc": (_OutPointer, ctypes.c_size_t),
    "cudaFree": (ctypes.c_void_p,),
    "cudaHostAlloc": (_OutPointer, ctypes.c_size_t, ctypes.c_uint),
    "cudaFreeHost": (ctypes.c_void_p,),
    "cudaHostGetDevicePointer": (_OutPointer, ctypes.c_void_p, ctypes.c_uint),
    "cudaMemcpyAsync": (
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_void_p,
    ),
    "cudaStreamCreateWithFlags": (_OutPointer, ctypes.c_uint),
    "cudaStreamSynchronize": (ctypes.c_void_p,),
    "cudaStreamDestroy": (ctypes.c_void_p,),
    "cudaEventCreate": (_OutPointer,),
    "cudaEventRecord": (ctypes.c_void_p, ctypes.c_void_p),
    "cudaEventSynchronize": (ctypes.c_void_p,),
    "cudaEventElapsedTime": (
        ctypes.POINTER(ctypes.c_float),
        ctypes.c_void_p,
        ctypes.c_void_p,
    ),
    "cudaEventDestroy": (ctypes.c_void_p,),
    "cudaStreamBeginCapture": (ctypes.c_void_p, ctypes.c_int),
    "cudaStreamEndCapture": (ctypes.c_void_p, _OutPointer),
    "cudaGraphInstantiateWithFlags": (_OutPointer, ctypes.c_void_p, ctypes.c_ulonglong),
    "cudaGraphLaunch": (ctypes.c_void_p, ctypes.c_void_p),
    "cudaGraphExecDestroy": (ctypes.c_void_p,),
    "cudaGraphDestroy": (ctypes.c_void_p,),
    "cudaGetLastError": (),
}
_NAME_BYTES = 256
_PROPERTIES_BYTES = 8192
"""``cudaDeviceProp`` begins with the name; it has about 1000 bytes, and grows."""


class CudartCuda(Cuda):
    """The runtime library by ctypes.

    Args:
        path: The library; None looks for one that is not newer than the driver.

    Raises:
        RuntimeUnavailableError: It is not here, or is no CUDA runtime.
    """

    name = "cudart"

    def __init__(self, path: Path | None = None) -> None:
        self.path, self._library = _open([os.fspath(path)] if path is not None else _candidates())
        try:
            for function, arguments in _SIGNATURES.items():
                entry = getattr(self._library, function)
                entry.argtypes, entry.restype = arguments, ctypes.c_int
            self._words, self._name = (
                getattr(self._library, function)
                for function in ("cudaGetErrorString", "cudaGetErrorName")
            )
        except AttributeError as error:
            raise RuntimeUnavailableError(
                f"{self.path} lacks a function of CUDA 11.4 or later: {error}"
            ) from error
        for text in (self._words, self._name):
            text.argtypes, text.restype = (ctypes.c_int,), ctypes.c_char_p

    def runtime_version(self) -> tuple[int, int]:
        return _version(self._int("cudaRuntimeGetVersion"))

    def driver_version(self) -> tuple[int, int]:
        return _version(self._int("cudaDriverGetVersion"))

    def device_count(self) -> int:
        count = ctypes.c_int()
        status = self._library.cudaGetDeviceCount(ctypes.byref(count))
        if status in _NO_DEVICE:
            self._library.cudaGetLastError()
            return 0
        self._check("cudaGetDeviceCount", status)
        return count.value

    def properties(self, device: int = 0) -> DeviceProperties:
        found = {
            name: self._int("cudaDeviceGetAttribute", number, device)
            for name, number in _ATTRIBUTES.items()
        }
        self.use(device)
        return DeviceProperties(
            name=self._device_name(device),
            compute=(found["major"], found["minor"]),
            total_bytes=self.memory()[1],
            is_integrated=bool(found["integrated"]),
            can_map_host=bool(found["can_map_host"]),
            sm_count=found["sm_count"],
        )

    def use(self, device: int) -> None:
        self._call("cudaSetDevice", device)

    def memory(self) -> tuple[int, int]:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def malloc(self, nbytes: int) -> int:
        return self._pointer("cudaMalloc", nbytes)

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def host_alloc(self, nbytes: int, *, mapped: bool = False) -> int:
        return self._pointer("cudaHostAlloc", nbytes, _MAPPED if mapped else _PORTABLE)

    def host_free(self, address: int) -> None:
        self._call("cudaFreeHost", address)

    def device_pointer(self, host_address: int) -> int:
        return self._pointer("cudaHostGetDevicePointer", host_address, 0)

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        self._call("cudaMemcpyAsync", target, source, nbytes, _COPY_DEFAULT, stream)

    def stream_create(self) -> int:
        return self._pointer("cudaStreamCreateWithFlags", _STREAM_NON_BLOCKING)

    def stream_synchronize(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", stream)

    def stream_destroy(self, stream: int) -> None:
        self._call("cudaStreamDestroy", stream)

    def event_create(self) -> int:
        return self._pointer("cudaEventCreate")

    def event_record(self, event: int, stream: int) -> None:
        self._call("cudaEventRecord", event, stream)

    def event_synchronize(self, event: int) -> None:
        self._call("cudaEventSynchronize", event)

    def event_elapsed_ms(self, start: int, stop: int) -> float:
        time_ms = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(time_ms), start, stop)
        return time_ms.value

    def event_destroy(self, event: int) -> None:
        self._call("cudaEventDestroy", event)

    def graph_begin(self, stream: int) -> None:
        self._call("cudaStreamBeginCapture", stream, _CAPTURE_THREAD_LOCAL)

    def graph_end(self, stream: int) -> int:
        graph = self._after("cudaStreamEndCapture", stream)
        try:
            return self._pointer("cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def graph_launch(self, graph: int, stream: int) -> None:
        self._call("cudaGraphLaunch", graph, stream)

    def graph_destroy(self, graph: int) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def _call(self, function: str, *arguments: Any) -> None:
        self._check(function, getattr(self._library, function)(*arguments))

    def _check(self, function: str, status: int) -> None:
        if status:
            # CUDA keeps the last error until it is asked for; torch would raise it as its own.
            self._library.cudaGetLastError()
            name, words = (
                text(status).decode(errors="replace") for text in (self._name, self._words)
            )
            raise failure(function, name=name, words=words, number=status)

    def _int(self, function: str, *arguments: Any) -> int:
        value = ctypes.c_int()
        self._call(function, ctypes.byref(value), *arguments)
        return value.value

    def _pointer(self, function: str, *arguments: Any) -> int:
        value = ctypes.c_void_p()
        self._call(function, ctypes.byref(value), *arguments)
        return value.value or 0

    def _after(self, function: str, *arguments: Any) -> int:
        """Call a function whose result is its last argument."""
        value = ctypes.c_void_p()
        self._call(function, *arguments, ctypes.byref(value))
        return value.value or 0

    def _device_name(self, device: int) -> str:
        memory = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", memory, device)
        return memory.raw[:_NAME_BYTES].split(b"\0", 1)[0].decode(errors="replace")


def _open(candidates: Iterable[str]) -> tuple[str, ctypes.CDLL]:
    """Return the first library that the driver is new enough for, else the first that loads."""
    reasons, newer = [], []
    for candidate in candidates:
        try:
            library = ctypes.CDLL(candidate)
        except OSError as error:
            reasons.append(str(error))
            continue
        if not _is_newer_than_driver(library):
            return candidate, library
        newer.append((candidate, library))
    if newer:
        return newer[0]
    reason = reasons[0] if reasons else "there is none"
    raise RuntimeUnavailableError(
        f"CUDA's runtime library does not load ({reason}); on a Jetson it comes with JetPack, "
        "elsewhere with the CUDA toolkit or: pip install 'edgekit[cuda]'"
    )


def _is_newer_than_driver(library: ctypes.CDLL) -> bool:
    """Whether it is of a later major version than the driver; asks without starting CUDA."""
    versions = []
    for function in ("cudaRuntimeGetVersion", "cudaDriverGetVersion"):
        number = ctypes.c_int()
        if not hasattr(library, function) or getattr(library, function)(ctypes.byref(number)):
            return False
        versions.append(_version(number.value))
    runtime, driver = versions
    return is_newer(runtime, than_driver=driver)


def _candidates() -> Iterator[str]:
    """Yield names and paths to try: the linker's, those of wheels, those of toolkits."""
    yield from _SONAMES
    roots = [*site.getsitepackages(), site.getusersitepackages(), *sys.path]
    for root in dict.fromkeys(roots):
        for folder in _WHEEL_FOLDERS:
            yield from map(str, sorted(Path(root, folder).glob("libcudart.so*")))
    for toolkit in sorted(_TOOLKITS.glob("cuda*")):
        for folder in _TOOLKIT_FOLDERS:
            yield from map(str, sorted((toolkit / folder).glob("libcudart.so*")))
    found = ctypes.util.find_library("cudart")
    if found:
        yield found


def _version(number: int) -> tuple[int, int]:
    return number // 1000, number % 1000 // 10
