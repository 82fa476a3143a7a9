"""What a call holds of the device: memory of each tensor, a stream, a context, a graph."""

from __future__ import annotations

import ctypes
import logging
import math
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import CudaError
from edgekit.runtimes.session import Array

if TYPE_CHECKING:
    from edgekit.runtimes.cuda.base import Cuda

logger = logging.getLogger(__name__)

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
        is_on_host: Whether TensorRT wants it in the host's memory: it holds a shape.

    Attributes:
        device: Address for the engine.
        host: Address of the host's memory.
        capacity: Bytes.
    """

    def __init__(
        self, cuda: Cuda, nbytes: int, *, is_mapped: bool, is_on_host: bool = False
    ) -> None:
        self._cuda = cuda
        self._is_one = is_mapped or is_on_host
        self.capacity = -(-max(nbytes, 1) // _ALIGNMENT) * _ALIGNMENT
        self.host = cuda.host_alloc(self.capacity, mapped=is_mapped)
        try:
            self.device = self.host
            if not is_on_host:
                self.device = (
                    cuda.device_pointer(self.host) if is_mapped else cuda.malloc(self.capacity)
                )
        except BaseException:
            cuda.host_free(self.host)
            raise
        memory = (ctypes.c_uint8 * self.capacity).from_address(self.host)
        self._bytes: Array = np.ctypeslib.as_array(memory)
        self._view = self._bytes

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return the host's memory as an array; valid until the buffer is freed."""
        if self._view.shape != shape or self._view.dtype != dtype:  # the same at every call
            nbytes = math.prod(shape) * dtype.itemsize
            self._view = self._bytes[:nbytes].view(dtype).reshape(shape)
        return self._view

    def to_device(self, nbytes: int, stream: int) -> None:
        """Put the copy to the device on the stream; nothing where it is one memory."""
        if not self._is_one:
            self._cuda.copy(self.device, self.host, nbytes, stream)

    def to_host(self, nbytes: int, stream: int) -> None:
        """Put the copy from the device on the stream; nothing where it is one memory."""
        if not self._is_one:
            self._cuda.copy(self.host, self.device, nbytes, stream)

    def free(self) -> None:
        """Give the memory back; no call uses it any more."""
        self._bytes = self._view = np.empty(0, np.uint8)
        try:
            if not self._is_one:
                self._cuda.free(self.device)
        finally:
            self._cuda.host_free(self.host)


@dataclass
class Held:
    """What is to be given back, once: when it is closed, or when nobody knows it any more.

    Args:
        cuda: Where it was taken.
        device: Number of the GPU.
        stream: Of the calls.
        objects: TensorRT's, each before what it must not outlive: context, engine, runtime.
        buffers: By tensor.
        graph: Of a whole call, once it is captured.
    """

    cuda: Cuda
    device: int
    stream: int
    objects: list[Any] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    graph: int | None = None

    def free(self) -> None:
        """Give everything back, each whatever another did; no call runs any more.

        Raises:
            CudaError: Something could not be given back.
        """
        self.cuda.use(self.device)
        with ExitStack() as stack:  # the last that is added goes first
            stack.callback(self.cuda.stream_destroy, self.stream)
            for buffer in self.buffers.values():
                stack.callback(buffer.free)
            self.buffers.clear()
            stack.callback(self._drop_objects)
            if self.graph is not None:
                stack.callback(self.cuda.graph_destroy, self.graph)
                self.graph = None

    def forget(self) -> None:
        """Likewise, where nobody is there any more to be told of a failure."""
        try:
            self.free()
        except CudaError as error:
            logger.warning("a session that was not closed was not freed: %s", error)

    def _drop_objects(self) -> None:
        while self.objects:
            self.objects.pop(0)
