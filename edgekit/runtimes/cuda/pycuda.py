"""CUDA through PyCUDA, in the device's primary context, never by its ``autoinit``.

``autoinit`` makes a context of its own, which torch, ONNX Runtime and other threads do not
share. PyCUDA has no graphs; a session then enqueues call by call.
"""

from __future__ import annotations

import threading
from typing import Any

from pycuda import driver

from edgekit.errors import RuntimeUnavailableError
from edgekit.runtimes.cuda.base import Cuda, CudaError, DeviceProperties


class PyCuda(Cuda):
    """PyCUDA; its objects are kept, and known outside by their handles.

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
        self._kept: dict[int, Any] = {}

    def runtime_version(self) -> tuple[int, int]:
        major, minor, *_ = driver.get_version()
        return int(major), int(minor)

    def driver_version(self) -> tuple[int, int]:
        number = int(driver.get_driver_version())
        return number // 1000, number % 1000 // 10

    def device_count(self) -> int:
        return int(driver.Device.count())

    def properties(self, device: int = 0) -> DeviceProperties:
        gpu = driver.Device(device)
        known = driver.device_attribute
        return DeviceProperties(
            name=str(gpu.name()),
            compute=tuple(gpu.compute_capability()),
            total_bytes=int(gpu.total_memory()),
            is_integrated=bool(gpu.get_attribute(known.INTEGRATED)),
            can_map_host=bool(gpu.get_attribute(known.CAN_MAP_HOST_MEMORY)),
            sm_count=int(gpu.get_attribute(known.MULTIPROCESSOR_COUNT)),
        )

    def use(self, device: int) -> None:
        if getattr(self._here, "device", None) == device:
            return
        if device not in self._contexts:
            self._contexts[device] = _done(driver.Device(device).retain_primary_context)
        _done(self._contexts[device].push)
        self._here.device = device

    def memory(self) -> tuple[int, int]:
        free, total = _done(driver.mem_get_info)
        return int(free), int(total)

    def malloc(self, nbytes: int) -> int:
        return self._keep(_done(driver.mem_alloc, nbytes))

    def free(self, address: int) -> None:
        _done(self._kept.pop(address).free)

    def host_alloc(self, nbytes: int, *, mapped: bool = False) -> int:
        known = driver.host_alloc_flags
        flags = known.DEVICEMAP if mapped else known.PORTABLE
        array = _done(driver.pagelocked_empty, nbytes, "uint8", mem_flags=flags)
        address = int(array.ctypes.data)
        self._kept[address] = array
        return address

    def host_free(self, address: int) -> None:
        array = self._kept.pop(address)
        _done(array.base.free)

    def device_pointer(self, host_address: int) -> int:
        return int(_done(self._kept[host_address].base.get_device_pointer))

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        # One address space for both (UVA): the device copy knows which way from the addresses.
        _done(driver.memcpy_dtod_async, target, source, nbytes, self._kept[stream])

    def stream_create(self) -> int:
        return self._keep(_done(driver.Stream, _NON_BLOCKING))

    def stream_synchronize(self, stream: int) -> None:
        _done(self._kept[stream].synchronize)

    def stream_destroy(self, stream: int) -> None:
        del self._kept[stream]

    def event_create(self) -> int:
        return self._keep(_done(driver.Event))

    def event_record(self, event: int, stream: int) -> None:
        _done(self._kept[event].record, self._kept[stream])

    def event_synchronize(self, event: int) -> None:
        _done(self._kept[event].synchronize)

    def event_elapsed_ms(self, start: int, stop: int) -> float:
        return float(_done(self._kept[start].time_till, self._kept[stop]))

    def event_destroy(self, event: int) -> None:
        del self._kept[event]

    def _keep(self, made: Any) -> int:
        handle = int(made.handle) if hasattr(made, "handle") else int(made)
        self._kept[handle] = made
        return handle


_NON_BLOCKING = 1


def _done(function: Any, *arguments: Any, **named: Any) -> Any:
    try:
        return function(*arguments, **named)
    except driver.Error as error:
        name = getattr(function, "__name__", str(function))
        raise CudaError(f"PyCUDA's {name} failed: {error}") from error
