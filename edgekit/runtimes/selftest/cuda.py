"""The CUDA layer on a real GPU: every part of its interface, by every provider that is here."""

from __future__ import annotations

import ctypes
import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np

from edgekit.errors import CudaError, RuntimeUnavailableError
from edgekit.registry import is_installed
from edgekit.runtimes.cuda import PROVIDERS, open_cuda
from edgekit.runtimes.cuda.base import Cuda
from edgekit.runtimes.cuda.exchange import DeviceTensor, as_device_tensor
from edgekit.runtimes.selftest import Check, Skip, expect, run_checks
from edgekit.tensor import DType

BYTES = 32 << 20
"""Of a timed copy: large enough for the bus's full speed, small beside a board's memory."""

ROUNDS = 20


def check_cuda(tell: Callable[[str], None] = lambda stage: None) -> tuple[Check, ...]:
    """Return what came of each provider."""
    done: list[Check] = []
    for name in PROVIDERS:
        opened: list[Cuda] = []
        first = run_checks("cuda", {f"open, {name}": partial(_open, name, opened)}, tell=tell)
        done += first
        for cuda in opened:
            done += check_provider(name, cuda, tell=tell)
    return tuple(done)


def check_provider(
    name: str, cuda: Cuda, *, tell: Callable[[str], None] = lambda stage: None
) -> tuple[Check, ...]:
    """Return what came of one way to CUDA, whose device is in use by this thread."""
    checks = {f"{what}, {name}": partial(check, cuda) for what, check in _CHECKS.items()}
    return run_checks("cuda", checks, tell=tell)


def _open(name: str, opened: list[Cuda]) -> str:
    missing = PROVIDERS[name].missing()
    if missing:
        raise Skip(f"{', '.join(missing)} is not installed")
    try:
        cuda = open_cuda(name)
    except (RuntimeUnavailableError, ImportError) as error:
        raise Skip(str(error)) from error
    count = cuda.device_count()
    if not count:
        raise Skip("there is no GPU")
    cuda.use(0)
    opened.append(cuda)
    return f"{count} GPU, CUDA {_dots(cuda.runtime_version())}"


def _device(cuda: Cuda) -> str:
    found = cuda.properties()
    free, total = cuda.memory()
    expect(0 < free <= total, f"{free} of {total} bytes are free")
    shared = "shares the CPU's memory" if found.is_integrated else "has memory of its own"
    maps = "maps the host's" if found.can_map_host else "does not map the host's"
    return (
        f"{found.name}, SM {_dots(found.compute)}, {found.sm_count} multiprocessors, "
        f"{found.total_bytes >> 20} MiB, {shared}, {maps}; CUDA {_dots(cuda.runtime_version())}, "
        f"driver for {_dots(cuda.driver_version())}"
    )


def _copies(cuda: Cuda) -> str:
    """Go to the device, across it and back; each timed by events."""
    values = np.random.default_rng(0).integers(0, 256, BYTES, np.uint8)
    figures = []
    with _taking(cuda) as take:
        stream, start, stop = take.stream(), take.event(), take.event()
        source, target = take.host(BYTES), take.host(BYTES)
        first, second = take.memory(BYTES), take.memory(BYTES)
        ctypes.memmove(source, values.ctypes.data, BYTES)
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
        came_back = ctypes.string_at(target, BYTES) == values.tobytes()
    expect(came_back, "what came back is not what was sent")
    return "to the device {:.1f}, on it {:.1f}, back {:.1f} GB/s".format(*figures)


def _mapped(cuda: Cuda) -> str:
    """Let the device read and write host memory at its own address of it."""
    if not cuda.properties().can_map_host:
        raise Skip("the GPU cannot map the host's memory")
    with _taking(cuda) as take:
        stream, host, middle = take.stream(), take.host(8, mapped=True), take.memory(4)
        ctypes.memmove(host, b"abcd....", 8)
        seen = cuda.device_pointer(host)
        cuda.copy(middle, seen, 4, stream)
        cuda.copy(seen + 4, middle, 4, stream)
        cuda.stream_synchronize(stream)
        got = ctypes.string_at(host, 8)
    expect(got == b"abcdabcd", f"the host sees {got!r}")
    return f"the device's address {'is' if seen == host else 'is not'} the host's"


def _graph(cuda: Cuda) -> str:
    """Replay a captured copy on values that were not there when it was captured."""
    if not cuda.has_graphs:
        raise Skip(f"{cuda.name} has no graphs")
    times = []
    with _taking(cuda) as take:
        stream, middle = take.stream(), take.memory(4)
        source, target = take.host(4), take.host(4)
        cuda.graph_begin(stream)
        cuda.copy(middle, source, 4, stream)
        cuda.copy(target, middle, 4, stream)
        graph = take.graph(stream)
        for value in range(ROUNDS):
            ctypes.memmove(source, value.to_bytes(4, "little"), 4)
            begin = time.perf_counter()
            cuda.graph_launch(graph, stream)
            cuda.stream_synchronize(stream)
            times.append(time.perf_counter() - begin)
            got = int.from_bytes(ctypes.string_at(target, 4), "little")
            expect(got == value, f"replay gave {got}, not {value}")
    median_us = statistics.median(times) * 1e6
    return f"captured once, launched {ROUNDS} times; launch and wait {median_us:.0f} us"


def _errors(cuda: Cuda) -> str:
    """Ask for too much memory: an error of ours with CUDA's words, and CUDA works on."""
    try:
        cuda.free(cuda.malloc(1 << 50))
    except CudaError as error:
        cuda.free(cuda.malloc(256))
        return str(error)
    raise AssertionError("2^50 bytes were given")


def _to_torch(cuda: Cuda) -> str:
    torch = _torch_on_gpu()
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    made = DeviceTensor.allocate(cuda, values.shape, DType.FLOAT32, device=0)
    with _taking(cuda) as take:
        stream, host = take.stream(), take.host(values.nbytes)
        ctypes.memmove(host, values.ctypes.data, values.nbytes)
        cuda.copy(made.address, host, values.nbytes, stream)
        cuda.stream_synchronize(stream)
    by_dlpack, by_interface = torch.from_dlpack(made), torch.as_tensor(made, device="cuda")
    is_shared = by_dlpack.data_ptr() == by_interface.data_ptr() == made.address
    expect(is_shared, "torch copied it")
    del made  # torch holds it now
    for taken in (by_dlpack, by_interface):
        expect(np.array_equal(taken.cpu().numpy(), values), "torch reads other values")
    return f"by DLPack and array interface, torch {torch.__version__}, nothing copied"


def _from_torch(cuda: Cuda) -> str:
    torch = _torch_on_gpu()
    busy = torch.ones((4096, 4096), device="cuda")
    with _taking(cuda) as take:
        stream = take.stream()
        for _ in range(50):
            busy = busy @ busy * (1 / 4096)  # stays 1; keeps torch's stream busy
        given = torch.arange(24, dtype=torch.float32, device="cuda") + busy[0, 0]
        taken = as_device_tensor(given, stream=stream)
        if taken is None or taken.address != given.data_ptr():
            raise AssertionError("it was not taken, or copied")
        host = take.host(taken.nbytes)
        cuda.copy(host, taken.address, taken.nbytes, stream)
        cuda.stream_synchronize(stream)
        got = np.frombuffer(ctypes.string_at(host, taken.nbytes), np.float32)
    expect(np.array_equal(got, np.arange(24) + 1.0), f"read before torch was done: {got[:3]}")
    return "our stream waited for torch's, nothing copied"


_CHECKS: dict[str, Callable[[Cuda], str]] = {
    "the device": _device,
    "copies and events": _copies,
    "mapped memory": _mapped,
    "graph": _graph,
    "errors": _errors,
    "a tensor to torch": _to_torch,
    "a tensor from torch": _from_torch,
}


class _Taken:
    """Takes from CUDA; the stack gives all of it back, the last one first."""

    def __init__(self, cuda: Cuda, stack: ExitStack) -> None:
        self._cuda = cuda
        self._stack = stack

    def memory(self, nbytes: int) -> int:
        return self._noted(self._cuda.malloc(nbytes), self._cuda.free)

    def host(self, nbytes: int, *, mapped: bool = False) -> int:
        return self._noted(self._cuda.host_alloc(nbytes, mapped=mapped), self._cuda.host_free)

    def stream(self) -> int:
        return self._noted(self._cuda.stream_create(), self._cuda.stream_destroy)

    def event(self) -> int:
        return self._noted(self._cuda.event_create(), self._cuda.event_destroy)

    def graph(self, stream: int) -> int:
        return self._noted(self._cuda.graph_end(stream), self._cuda.graph_destroy)

    def _noted(self, handle: int, give_back: Callable[[int], None]) -> int:
        def leave(kind: type[BaseException] | None, *_: object) -> None:
            try:
                give_back(handle)
            except CudaError:
                # After a failed kernel CUDA refuses everything: the first failure is to be told.
                if kind is None:
                    raise

        self._stack.push(leave)
        return handle


@contextmanager
def _taking(cuda: Cuda) -> Iterator[_Taken]:
    with ExitStack() as stack:
        yield _Taken(cuda, stack)


def _torch_on_gpu() -> Any:
    if not is_installed("torch"):
        raise Skip("torch is not installed")
    # By name: EdgeKit does not depend on it, and a board may well not have it.
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        raise Skip("this torch has no CUDA")
    return torch


def _dots(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
