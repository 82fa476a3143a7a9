"""A simulated ``pycuda.driver``: what its source has, and no more, over the simulated CUDA.

Names, parameters and the rules about contexts are those of PyCUDA 2026.1's source
(src/wrapper/wrap_cudadrv.cpp, src/cpp/cuda.hpp), read, not run: no driver, no GPU is involved.
"""

from __future__ import annotations

import ctypes
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
from cuda_simulation import SimulatedCuda


class Error(Exception):
    """``pycuda._driver.Error``."""


def simulated_driver(cuda: SimulatedCuda) -> ModuleType:
    """Return the module; ``stack`` is the calling thread's stack of contexts."""
    module = ModuleType("pycuda.driver")
    # By the thread's number: PyCUDA's own stack outlives what Python keeps for a thread.
    stacks: dict[int, list[object]] = {}

    def stack() -> list[object]:
        return stacks.setdefault(threading.get_ident(), [])

    def need_context() -> None:
        if not stack():
            raise Error("explicit_context_dependent failed: invalid device context")

    class Context:
        def push(self) -> None:
            stack().append(self)

        @staticmethod
        def pop() -> None:
            if not stack():
                raise Error("context::pop failed: cannot pop non-current context")
            stack().pop()

        @staticmethod
        def synchronize() -> None:
            need_context()

    class Device:
        def __init__(self, number: int) -> None:
            if number >= cuda.device_count():
                raise Error("cuDeviceGet failed: invalid device ordinal")

        @staticmethod
        def count() -> int:
            return cuda.device_count()

        def name(self) -> str:
            return cuda.properties().name

        def compute_capability(self) -> tuple[int, int]:
            return cuda.properties().compute

        def total_memory(self) -> int:
            return cuda.memory()[1]

        def get_attribute(self, attribute: str) -> int:
            return int(getattr(cuda.properties(), attribute))

        def retain_primary_context(self) -> Context:
            return Context()

    class DeviceAllocation:
        def __init__(self, nbytes: int) -> None:
            self._address = 0
            need_context()
            self._address = cuda.malloc(nbytes)

        def __int__(self) -> int:
            return self._address

        def free(self) -> None:
            cuda.free(self._address)
            self._address = 0

        def __del__(self) -> None:
            self.free()

    class PagelockedHostAllocation:
        def __init__(self, nbytes: int) -> None:
            self._address = 0
            need_context()
            self._address = cuda.host_alloc(nbytes)
            self.__array_interface__ = {
                "shape": (nbytes,),
                "typestr": "|u1",
                "data": (self._address, False),
                "version": 3,
            }

        def get_device_pointer(self) -> int:
            return cuda.device_pointer(self._address)

        def free(self) -> None:
            cuda.host_free(self._address)
            self._address = 0

        def __del__(self) -> None:
            self.free()

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            need_context()
            self._stream = cuda.stream_create()

        @property
        def handle(self) -> int:
            return self._stream

        def synchronize(self) -> None:
            cuda.stream_synchronize(self._stream)

        def __del__(self) -> None:
            cuda.stream_destroy(self._stream)

    class Event:
        def __init__(self) -> None:
            need_context()
            self._event = cuda.event_create()

        def record(self, stream: Stream | None = None) -> Event:
            cuda.event_record(self._event, stream.handle if stream else 0)
            return self

        def synchronize(self) -> Event:
            cuda.event_synchronize(self._event)
            return self

        def time_till(self, other: Event) -> float:
            return cuda.event_elapsed_ms(self._event, other._event)

        def __del__(self) -> None:
            cuda.event_destroy(self._event)

    def mem_alloc(nbytes: int) -> DeviceAllocation:
        try:
            return DeviceAllocation(nbytes)
        except Error:
            raise
        except Exception as error:
            raise Error(f"cuMemAlloc failed: {error}") from error

    def pagelocked_empty(
        shape: int, dtype: str, order: str = "C", mem_flags: int = 0
    ) -> np.ndarray:  # type: ignore[type-arg]
        assert (dtype, order) == ("uint8", "C") and mem_flags in (1, 2)
        return np.asarray(PagelockedHostAllocation(shape))

    def memcpy_htod_async(dest: int, src: ctypes.Array[ctypes.c_char], stream: Stream) -> None:
        view = memoryview(src)
        cuda.copy(dest, ctypes.addressof(src), view.nbytes, stream.handle)

    def memcpy_dtoh_async(dest: ctypes.Array[ctypes.c_char], src: int, stream: Stream) -> None:
        view = memoryview(dest)
        cuda.copy(ctypes.addressof(dest), src, view.nbytes, stream.handle)

    def memcpy_dtod_async(dest: int, src: int, size: int, stream: Stream) -> None:
        cuda.copy(dest, src, size, stream.handle)

    names = SimpleNamespace(
        Error=Error,
        init=lambda flags=0: None,
        get_version=lambda: (12, 6, 0),
        get_driver_version=lambda: 12060,
        Device=Device,
        Context=Context,
        Stream=Stream,
        Event=Event,
        device_attribute=SimpleNamespace(
            INTEGRATED="is_integrated",
            CAN_MAP_HOST_MEMORY="can_map_host",
            MULTIPROCESSOR_COUNT="sm_count",
        ),
        host_alloc_flags=SimpleNamespace(PORTABLE=1, DEVICEMAP=2),
        mem_get_info=cuda.memory,
        mem_alloc=mem_alloc,
        pagelocked_empty=pagelocked_empty,
        memcpy_htod_async=memcpy_htod_async,
        memcpy_dtoh_async=memcpy_dtoh_async,
        memcpy_dtod_async=memcpy_dtod_async,
        stack=stack,
    )
    module.__dict__.update(vars(names))
    return module
