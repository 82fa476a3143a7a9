"""CUDA through PyCUDA, in the device's primary context, never by its ``autoinit``.

``autoinit`` makes a context of its own, which torch, ONNX Runtime and other threads do not
share. PyCUDA has no graphs; a session then enqueues call by call. Names and behaviour are those
of the source of PyCUDA 2026.1; see docs/cuda.md for what was run.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import threading
from typing import Any

from pycuda import driver

from edgekit.errors import RuntimeUnavailableError
from edgekit.runtimes.cuda.base import Cuda, CudaError, DeviceProperties


class PyCuda(Cuda):
    """PyCUDA; its objects are kept, and known outside by their addresses.

    Raises:
        RuntimeUnavailableError: There is no driver.
    """

    name = "pycuda"
    has_graphs = False

    def __init__(self) -> None:
        try:
            driver.init()
        except driver.Error as error:
            raise RuntimeUnavailableError(f"pycuda: {error}") from error
        self._contexts: dict[int, Any] = {}
        self._here = threading.local()
        self._memory: dict[int, Any] = {}
        self._host: dict[int, Any] = {}
        self._streams: dict[int, Any] = {0: None}
        self._events: dict[int, Any] = {}
        atexit.register(self._close)

    def runtime_version(self) -> tuple[int, int]:
        major, minor, *_ = driver.get_version()
        return int(major), int(minor)

    def driver_version(self) -> tuple[int, int]:
        number = int(driver.get_driver_version())
        return number // 1000, number % 1000 // 10

    def device_count(self) -> int:
        try:
            return int(driver.Device.count())
        except driver.Error:
            return 0

    def properties(self, device: int = 0) -> DeviceProperties:
        self.use(device)
        gpu = _done(driver.Device, device)
        known = driver.device_attribute
        major, minor = gpu.compute_capability()
        return DeviceProperties(
            name=str(gpu.name()),
            compute=(int(major), int(minor)),
            total_bytes=int(gpu.total_memory()),
            is_integrated=bool(gpu.get_attribute(known.INTEGRATED)),
            can_map_host=bool(gpu.get_attribute(known.CAN_MAP_HOST_MEMORY)),
            sm_count=int(gpu.get_attribute(known.MULTIPROCESSOR_COUNT)),
        )

    def use(self, device: int) -> None:
        if getattr(self._here, "device", None) == device:
            return
        if device not in self._contexts:
            gpu = _done(driver.Device, device)
            self._contexts[device] = _done(gpu.retain_primary_context)
        self._here.pushed = None  # pops the one before
        self._here.device = None
        self._here.pushed = _Pushed(self._contexts[device])
        self._here.device = device

    def memory(self) -> tuple[int, int]:
        free, total = _done(driver.mem_get_info)
        return int(free), int(total)

    def malloc(self, nbytes: int) -> int:
        made = _done(driver.mem_alloc, nbytes)
        self._memory[int(made)] = made
        return int(made)

    def free(self, address: int) -> None:
        _done(_known(self._memory, address, "device memory").free)
        del self._memory[address]

    def host_alloc(self, nbytes: int, *, mapped: bool = False) -> int:
        known = driver.host_alloc_flags
        flags = known.DEVICEMAP if mapped else known.PORTABLE
        array = _done(driver.pagelocked_empty, nbytes, "uint8", mem_flags=flags)
        address = int(array.ctypes.data)
        self._host[address] = array
        return address

    def host_free(self, address: int) -> None:
        _done(_known(self._host, address, "pinned memory").base.free)
        del self._host[address]

    def device_pointer(self, host_address: int) -> int:
        array = _known(self._host, host_address, "pinned memory")
        return int(_done(array.base.get_device_pointer))

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        on = _known(self._streams, stream, "stream")
        if self._is_host(source):
            _done(driver.memcpy_htod_async, target, _view(source, nbytes), on)
        elif self._is_host(target):
            _done(driver.memcpy_dtoh_async, _view(target, nbytes), source, on)
        else:
            _done(driver.memcpy_dtod_async, target, source, nbytes, on)

    def stream_create(self) -> int:
        made = _done(driver.Stream, _NON_BLOCKING)
        self._streams[int(made.handle)] = made
        return int(made.handle)

    def stream_synchronize(self, stream: int) -> None:
        on = _known(self._streams, stream, "stream")
        _done(driver.Context.synchronize if on is None else on.synchronize)

    def stream_destroy(self, stream: int) -> None:
        _known(self._streams, stream, "stream")
        del self._streams[stream]  # PyCUDA ends it with its object

    def event_create(self) -> int:
        made = _done(driver.Event)
        self._events[id(made)] = made  # PyCUDA does not tell an event's handle
        return id(made)

    def event_record(self, event: int, stream: int) -> None:
        on = _known(self._streams, stream, "stream")
        _done(_known(self._events, event, "event").record, on)

    def event_synchronize(self, event: int) -> None:
        _done(_known(self._events, event, "event").synchronize)

    def event_elapsed_ms(self, start: int, stop: int) -> float:
        first, last = (_known(self._events, event, "event") for event in (start, stop))
        return float(_done(first.time_till, last))

    def event_destroy(self, event: int) -> None:
        _known(self._events, event, "event")
        del self._events[event]

    def _is_host(self, address: int) -> bool:
        """Whether an address is within pinned memory; mapped memory is, by its host address."""
        return any(start <= address < start + array.nbytes for start, array in self._host.items())

    def _close(self) -> None:
        """Free all while the context is there; PyCUDA ends the process where one is left pushed."""
        for kept in (self._events, self._streams, self._host, self._memory):
            kept.clear()
        self._here.__dict__.clear()


class _Pushed:
    """A context on the calling thread's stack, for as long as that thread refers to it.

    PyCUDA calls ``abort`` where a thread ends with a context on its stack; what a
    ``threading.local`` holds goes before that.
    """

    def __init__(self, context: Any) -> None:
        _done(context.push)
        self._pop = context.pop

    def __del__(self) -> None:
        # AttributeError: push failed.
        with contextlib.suppress(driver.Error, AttributeError):
            self._pop()


_NON_BLOCKING = 1


def _view(address: int, nbytes: int) -> Any:
    """Return host memory as PyCUDA takes it."""
    return (ctypes.c_char * nbytes).from_address(address)


def _known(kept: dict[int, Any], handle: int, kind: str) -> Any:
    try:
        return kept[handle]
    except KeyError as error:
        raise CudaError(
            f"pycuda was given {kind} {handle:#x}, which it has not made; "
            "EDGEKIT_CUDA=cudart takes those of others"
        ) from error


def _done(function: Any, *arguments: Any, **named: Any) -> Any:
    try:
        return function(*arguments, **named)
    except driver.Error as error:
        name = getattr(function, "__name__", str(function))
        raise CudaError(f"PyCUDA's {name} failed: {error}") from error
