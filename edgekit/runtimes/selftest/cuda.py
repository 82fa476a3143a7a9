"""The CUDA layer on a real GPU, by every provider that is here."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from functools import partial

import numpy as np

from edgekit.errors import CudaError, RuntimeUnavailableError
from edgekit.registry import is_installed
from edgekit.runtimes.cuda import PROVIDERS, open_cuda
from edgekit.runtimes.cuda.base import Cuda
from edgekit.runtimes.cuda.exchange import DeviceTensor, as_device_tensor
from edgekit.runtimes.selftest import Check, Skip, run_checks
from edgekit.runtimes.session import Array
from edgekit.tensor import DType

_BYTES = 1 << 22
_ROUNDS = 50


def check_cuda(tell: Callable[[str], None] = lambda stage: None) -> tuple[Check, ...]:
    """Return what came of each provider."""
    checks: dict[str, Callable[[], str]] = {}
    for name in PROVIDERS:
        for what, check in _CHECKS.items():
            checks[f"{what}, {name}"] = partial(_with, name, check)
    return run_checks("cuda", checks, tell=tell)


def _with(name: str, check: Callable[[Cuda], str]) -> str:
    missing = PROVIDERS[name].missing()
    if missing:
        raise Skip(f"{', '.join(missing)} is not installed")
    try:
        cuda = open_cuda(name)
    except (RuntimeUnavailableError, ImportError) as error:
        raise Skip(str(error)) from error
    if not cuda.device_count():
        raise Skip("there is no GPU")
    cuda.use(0)
    return check(cuda)


def _describe(cuda: Cuda) -> str:
    found = cuda.properties()
    shared = "shares the CPU's memory" if found.is_integrated else "has memory of its own"
    return (
        f"{found.name}, SM {_dots(found.compute)}, {found.sm_count} multiprocessors, "
        f"{found.total_bytes >> 20} MiB, {shared}; CUDA {_dots(cuda.runtime_version())}, "
        f"driver for {_dots(cuda.driver_version())}"
    )


def _copy(cuda: Cuda) -> str:
    """Pinned memory to the device and back, timed by events."""
    values = np.random.default_rng(0).integers(0, 256, _BYTES, np.uint8)
    there, back, device = cuda.host_alloc(_BYTES), cuda.host_alloc(_BYTES), cuda.malloc(_BYTES)
    stream, start, stop = cuda.stream_create(), cuda.event_create(), cuda.event_create()
    try:
        _bytes(there)[:] = values
        cuda.event_record(start, stream)
        for _ in range(_ROUNDS):
            cuda.copy(device, there, _BYTES, stream)
        cuda.event_record(stop, stream)
        cuda.copy(back, device, _BYTES, stream)
        cuda.stream_synchronize(stream)
        cuda.event_synchronize(stop)
        time_ms = cuda.event_elapsed_ms(start, stop)
        _hold(np.array_equal(_bytes(back), values), "what came back is not what was sent")
    finally:
        for address in (there, back):
            cuda.host_free(address)
        cuda.free(device)
        for event in (start, stop):
            cuda.event_destroy(event)
        cuda.stream_destroy(stream)
    return f"{_ROUNDS * _BYTES / time_ms / 1e6:.1f} GB/s to the device"


def _mapped(cuda: Cuda) -> str:
    """The GPU reads and writes the host's memory itself."""
    if not cuda.properties().can_map_host:
        raise Skip("the GPU cannot map the host's memory")
    host, device = cuda.host_alloc(_BYTES, mapped=True), cuda.malloc(_BYTES)
    stream = cuda.stream_create()
    try:
        _bytes(host)[:] = 7
        place = cuda.device_pointer(host)
        cuda.copy(device, place, _BYTES, stream)
        cuda.stream_synchronize(stream)
        _bytes(host)[:] = 0
        cuda.copy(place, device, _BYTES, stream)
        cuda.stream_synchronize(stream)
        _hold(bool((_bytes(host) == 7).all()), "the GPU's writes did not arrive")
    finally:
        cuda.host_free(host)
        cuda.free(device)
        cuda.stream_destroy(stream)
    return "read and written without an address of its own" if place == host else "by its address"


def _graph(cuda: Cuda) -> str:
    """A captured copy, launched again with other data."""
    if not cuda.has_graphs:
        raise Skip(f"{cuda.name} has no graphs")
    host, device, back = cuda.host_alloc(64), cuda.malloc(64), cuda.host_alloc(64)
    stream = cuda.stream_create()
    try:
        cuda.graph_begin(stream)
        cuda.copy(device, host, 64, stream)
        cuda.copy(back, device, 64, stream)
        graph = cuda.graph_end(stream)
        for value in (3, 200):
            _bytes(host, 64)[:] = value
            cuda.graph_launch(graph, stream)
            cuda.stream_synchronize(stream)
            _hold(bool((_bytes(back, 64) == value).all()), "the graph's copy did not arrive")
        cuda.graph_destroy(graph)
    finally:
        for address in (host, back):
            cuda.host_free(address)
        cuda.free(device)
        cuda.stream_destroy(stream)
    return "captured once, launched twice"


def _errors(cuda: Cuda) -> str:
    """A failure is an error of ours, with CUDA's words, and what follows works."""
    try:
        cuda.malloc(1 << 60)
    except CudaError as error:
        words = str(error)
    else:
        raise AssertionError("an exabyte was allocated")
    cuda.free(cuda.malloc(256))
    return words


def _torch(cuda: Cuda) -> str:
    """DLPack both ways, against PyTorch."""
    if not is_installed("torch"):
        raise Skip("torch is not installed")
    # By name: EdgeKit does not depend on it, and a board may well not have it.
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        raise Skip("this torch has no CUDA")
    theirs = torch.arange(24, dtype=torch.float32, device="cuda").reshape(2, 3, 4)
    torch.cuda.synchronize()
    ours = as_device_tensor(theirs)
    _hold(ours is not None and ours.address == theirs.data_ptr(), "it was copied, not shared")
    made = DeviceTensor.allocate(cuda, (2, 3, 4), DType.FLOAT32, device=0)
    stream = cuda.stream_create()
    cuda.copy(made.address, theirs.data_ptr(), made.nbytes, stream)
    cuda.stream_synchronize(stream)
    cuda.stream_destroy(stream)
    back = torch.from_dlpack(made)
    _hold(back.data_ptr() == made.address, "torch copied it")
    _hold(bool((back == theirs).all()), "torch reads other values")
    return f"torch {torch.__version__}, nothing copied"


_CHECKS: dict[str, Callable[[Cuda], str]] = {
    "the device": _describe,
    "copy and events": _copy,
    "mapped memory": _mapped,
    "graph": _graph,
    "errors": _errors,
    "DLPack with torch": _torch,
}


def _bytes(address: int, count: int = _BYTES) -> Array:
    return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address))


def _hold(is_true: bool, words: str) -> None:
    if not is_true:
        raise AssertionError(words)


def _dots(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
