"""Memory of one tensor of an engine: on the device, and pinned on the host."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.runtimes.session import Array

if TYPE_CHECKING:
    from edgekit.runtimes.cuda.base import Cuda

_ALIGNMENT = 256
"""TensorRT wants device addresses so; CUDA's allocators give it."""


class Buffer:
    """Memory that one tensor is in, before and after a call.

    Where CPU and GPU share their memory, both addresses are the same memory and nothing is
    copied; else the host's is pinned, so that the copy runs beside other work.

    Args:
        cuda: Allocates.
        nbytes: Of the tensor.
        is_mapped: Whether the device reads and writes the host's memory itself.

    Attributes:
        device: Address for the engine.
        host: Address of the host's memory.
        capacity: Bytes.
    """

    def __init__(self, cuda: Cuda, nbytes: int, *, is_mapped: bool) -> None:
        self._cuda = cuda
        self._is_mapped = is_mapped
        self.capacity = -(-max(nbytes, 1) // _ALIGNMENT) * _ALIGNMENT
        self.host = cuda.host_alloc(self.capacity, mapped=is_mapped)
        try:
            self.device = (
                cuda.device_pointer(self.host) if is_mapped else cuda.malloc(self.capacity)
            )
        except BaseException:
            cuda.host_free(self.host)
            raise
        memory = (ctypes.c_uint8 * self.capacity).from_address(self.host)
        self._bytes: Array = np.ctypeslib.as_array(memory)

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return the host's memory as an array; valid until the buffer is freed."""
        count = int(np.prod(shape, dtype=np.int64))
        return self._bytes[: count * dtype.itemsize].view(dtype).reshape(shape)

    def to_device(self, nbytes: int, stream: int) -> None:
        """Put the copy to the device on the stream; nothing where the memory is shared."""
        if not self._is_mapped:
            self._cuda.copy(self.device, self.host, nbytes, stream)

    def to_host(self, nbytes: int, stream: int) -> None:
        """Put the copy from the device on the stream; nothing where the memory is shared."""
        if not self._is_mapped:
            self._cuda.copy(self.host, self.device, nbytes, stream)

    def free(self) -> None:
        """Give the memory back; no call uses it any more."""
        self._bytes = np.empty(0, np.uint8)
        if not self._is_mapped:
            self._cuda.free(self.device)
        self._cuda.host_free(self.host)
