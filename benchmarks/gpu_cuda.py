"""The CUDA section of ``gpu_check.py``: every part of the interface, by each way to CUDA."""

from __future__ import annotations

import ctypes
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.gpu_results import NotRunError, Result, expect, run
from edgekit.errors import CudaError, EdgeKitError
from edgekit.registry import is_installed
from edgekit.runtimes.cuda import PROVIDERS, open_cuda
from edgekit.runtimes.cuda.base import Cuda
from edgekit.runtimes.cuda.exchange import DeviceTensor, as_device_tensor
from edgekit.tensor import DType

BYTES = 64 << 20
ROUNDS = 20


def check_cuda() -> list[Result]:
    """Check the three ways to CUDA, each with every part of the interface."""
    results = []
    for name in PROVIDERS:
        section = f"CUDA by {name}"
        try:
            cuda = open_cuda(name)
            cuda.use(0)
        except EdgeKitError as error:
            results.append(Result(section, "open", "not run", str(error)))
            continue
        results += check_provider(cuda, section=section)
    return results


def check_provider(cuda: Cuda, *, section: str) -> list[Result]:
    """Check one way to CUDA, whose device is in use."""
    checks = (device, copies, mapped, graphs, failures, to_torch, from_torch)
    return [run(check, cuda, section=section) for check in checks]


def device(cuda: Cuda) -> str:
    found = cuda.properties()
    free, total = cuda.memory()
    expect(0 < free <= total, f"{free} of {total} bytes free")
    return (
        f"{found.name}, compute {found.compute[0]}.{found.compute[1]}, {found.sm_count} SM, "
        f"{found.total_bytes / 2**30:.1f} GiB, integrated: {found.is_integrated}, "
        f"maps host memory: {found.can_map_host}; runtime {cuda.runtime_version()}, "
        f"driver {cuda.driver_version()}"
    )


def copies(cuda: Cuda) -> str:
    """Go to the device, across it and back; timed by events."""
    values = np.random.default_rng(0).integers(0, 256, BYTES, np.uint8)
    source, target = cuda.host_alloc(BYTES), cuda.host_alloc(BYTES)
    first, second = cuda.malloc(BYTES), cuda.malloc(BYTES)
    stream, start, stop = cuda.stream_create(), cuda.event_create(), cuda.event_create()
    ctypes.memmove(source, values.ctypes.data, BYTES)
    figures = []
    for there, here in ((first, source), (second, first), (target, second)):
        times = []
        for _ in range(ROUNDS):
            cuda.event_record(start, stream)
            cuda.copy(there, here, BYTES, stream)
            cuda.event_record(stop, stream)
            cuda.event_synchronize(stop)
            times.append(cuda.event_elapsed_ms(start, stop))
        figures.append(BYTES / statistics.median(times) / 1e6)
    cuda.stream_synchronize(stream)
    expect(ctypes.string_at(target, BYTES) == values.tobytes(), "other bytes came back")
    for event in (start, stop):
        cuda.event_destroy(event)
    release(cuda, stream, memory=(first, second), host=(source, target))
    return "to the device {:.1f}, on it {:.1f}, back {:.1f} GB/s".format(*figures)


def mapped(cuda: Cuda) -> str:
    """Let the device read and write host memory at its own address of it."""
    host, middle, stream = cuda.host_alloc(8, mapped=True), cuda.malloc(4), cuda.stream_create()
    ctypes.memmove(host, b"abcd....", 8)
    seen = cuda.device_pointer(host)
    cuda.copy(middle, seen, 4, stream)
    cuda.copy(seen + 4, middle, 4, stream)
    cuda.stream_synchronize(stream)
    got = ctypes.string_at(host, 8)
    release(cuda, stream, memory=(middle,), host=(host,))
    expect(got == b"abcdabcd", f"the host sees {got!r}")
    return f"device address {'is' if seen == host else 'is not'} the host's"


def graphs(cuda: Cuda) -> str:
    """Replay a captured copy on values that were not there at capture."""
    if not cuda.has_graphs:
        raise NotRunError(f"{cuda.name} has no graphs")
    source, target = cuda.host_alloc(4), cuda.host_alloc(4)
    middle, stream = cuda.malloc(4), cuda.stream_create()
    cuda.graph_begin(stream)
    cuda.copy(middle, source, 4, stream)
    cuda.copy(target, middle, 4, stream)
    graph = cuda.graph_end(stream)
    times = []
    for value in range(ROUNDS):
        ctypes.memmove(source, value.to_bytes(4, "little"), 4)
        begin = time.perf_counter()
        cuda.graph_launch(graph, stream)
        cuda.stream_synchronize(stream)
        times.append(time.perf_counter() - begin)
        got = int.from_bytes(ctypes.string_at(target, 4), "little")
        expect(got == value, f"replay gave {got}, not {value}")
    cuda.graph_destroy(graph)
    release(cuda, stream, memory=(middle,), host=(source, target))
    return f"launch and wait {statistics.median(times) * 1e6:.0f} microseconds"


def failures(cuda: Cuda) -> str:
    """Ask for too much memory: a clear error, and CUDA works on."""
    try:
        cuda.malloc(1 << 50)
    except CudaError as error:
        cuda.free(cuda.malloc(64))
        return str(error)
    raise AssertionError("2^50 bytes were given")


def to_torch(cuda: Cuda) -> str:
    torch = torch_on_gpu()
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    made = DeviceTensor.allocate(cuda, values.shape, DType.FLOAT32, device=0)
    stream, host = cuda.stream_create(), cuda.host_alloc(values.nbytes)
    ctypes.memmove(host, values.ctypes.data, values.nbytes)
    cuda.copy(made.address, host, values.nbytes, stream)
    cuda.stream_synchronize(stream)
    by_dlpack, by_interface = torch.from_dlpack(made), torch.as_tensor(made, device="cuda")
    expect(by_dlpack.data_ptr() == by_interface.data_ptr() == made.address, "copied")
    del made
    for taken in (by_dlpack, by_interface):
        expect(np.array_equal(taken.cpu().numpy(), values), "torch reads other values")
    release(cuda, stream, host=(host,))
    return f"DLPack and array interface, torch {torch.__version__}"


def from_torch(cuda: Cuda) -> str:
    torch = torch_on_gpu()
    stream = cuda.stream_create()
    busy = torch.ones((4096, 4096), device="cuda")
    for _ in range(50):
        busy = busy @ busy * (1 / 4096)  # stays 1; keeps torch's stream busy
    given = torch.arange(24, dtype=torch.float32, device="cuda") + busy[0, 0]
    taken = as_device_tensor(given, stream=stream)
    expect(taken is not None and taken.address == given.data_ptr(), "not taken, or copied")
    assert taken is not None
    host = cuda.host_alloc(taken.nbytes)
    cuda.copy(host, taken.address, taken.nbytes, stream)
    cuda.stream_synchronize(stream)
    got = np.frombuffer(ctypes.string_at(host, taken.nbytes), np.float32)
    release(cuda, stream, host=(host,))
    expect(np.array_equal(got, np.arange(24) + 1.0), f"read before torch was done: {got[:3]}")
    return "our stream waited for torch's"


def torch_on_gpu() -> Any:
    if not is_installed("torch"):
        raise NotRunError("torch is not installed")
    import torch

    if not torch.cuda.is_available():
        raise NotRunError("this torch has no CUDA")
    return torch


def release(
    cuda: Cuda, stream: int, *, memory: tuple[int, ...] = (), host: tuple[int, ...] = ()
) -> None:
    for address in memory:
        cuda.free(address)
    for address in host:
        cuda.host_free(address)
    cuda.stream_destroy(stream)
