"""Tensors in the GPU's memory, given and taken without a copy: DLPack and the CUDA array interface.

Sources: the Python array API's data interchange; numba's CUDA array interface, version 3.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.errors import CudaError, InputError
from edgekit.runtimes.cuda import capsules
from edgekit.tensor import DType

if TYPE_CHECKING:
    from edgekit.runtimes.cuda.base import Cuda

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13
"""``DLDeviceType``; pinned and managed memory have addresses that the GPU takes."""

_ON_DEVICE = (CUDA, CUDA_HOST, CUDA_MANAGED)
_CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4, "bool": 6}


@dataclass(frozen=True)
class DeviceTensor:
    """A C-contiguous tensor in the GPU's memory.

    Anything that reads DLPack or the CUDA array interface takes it without a copy:
    ``torch.from_dlpack(tensor)``, ``cupy.asarray(tensor)``.

    Args:
        address: Of its first element.
        shape: Sizes.
        dtype: Element type.
        device: Number of the GPU.
        owner: Keeps the memory.
        kind: ``DLDeviceType`` of the memory.
    """

    address: int
    shape: tuple[int, ...]
    dtype: DType
    device: int = 0
    owner: object = field(default=None, repr=False, compare=False)
    kind: int = CUDA

    @classmethod
    def allocate(
        cls, cuda: Cuda, shape: tuple[int, ...], dtype: DType, *, device: int
    ) -> DeviceTensor:
        """Return a new tensor; its memory goes with the last thing that refers to it."""
        size = _count(shape) * dtype.to_numpy().itemsize
        memory = _Memory(cuda, cuda.malloc(max(size, 1)), device)
        return cls(memory.address, shape, dtype, device, memory)

    @property
    def nbytes(self) -> int:
        """Size of its elements together."""
        return _count(self.shape) * self.dtype.to_numpy().itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.dtype is DType.BFLOAT16:
            raise AttributeError("the CUDA array interface has no bfloat16; use DLPack")
        return {
            "shape": self.shape,
            "typestr": self.dtype.to_numpy().str,
            "data": (self.address, False),
            "version": 3,
            "strides": None,
            "stream": None,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a capsule; what a session made is done, so that no stream has to wait.

        Raises:
            BufferError: A copy or another device is asked for, or DLPack has no such type.
        """
        del stream, max_version  # every version reads the first one
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("EdgeKit gives its tensors as they are, without a copy")
        shape = (ctypes.c_int64 * max(len(self.shape), 1))(*self.shape)
        # DLPack 1.2 takes no null for them any more.
        strides = (ctypes.c_int64 * max(len(self.shape), 1))(*_strides(self.shape, 1))
        tensor = capsules.Tensor(
            data=self.address,
            device=capsules.Device(self.kind, self.device),
            ndim=len(self.shape),
            dtype=_data_type(self.dtype),
            shape=shape,
            strides=strides,
            byte_offset=0,
        )
        return capsules.give(tensor, keep=(shape, strides, self))


def as_device_tensor(value: object, *, stream: int | None = None) -> DeviceTensor | None:
    """Return what is in the GPU's memory as a tensor, or None of something else.

    Args:
        value: Anything with ``__dlpack__`` or ``__cuda_array_interface__``; it stays the
            owner of its memory.
        stream: Handle of the stream that will use it: by DLPack, its owner makes that stream
            wait for what fills the tensor. None where that is done already; of the CUDA
            array interface it has to be.

    Raises:
        InputError: It is not C-contiguous, or has a type that EdgeKit does not know.
    """
    if isinstance(value, DeviceTensor):
        return value
    # DLPack first: it tells the device, and lets streams wait.
    ask = getattr(value, "__dlpack_device__", None)
    if ask is not None:
        if int(ask()[0]) not in _ON_DEVICE:
            return None
        return _from_capsule(value.__dlpack__(stream=stream))  # type: ignore[attr-defined]
    interface = getattr(value, "__cuda_array_interface__", None)
    return _from_interface(interface, value) if isinstance(interface, dict) else None


@dataclass
class _Memory:
    cuda: Cuda
    address: int
    device: int

    def __del__(self) -> None:
        with contextlib.suppress(CudaError):  # at the end CUDA may have ended first
            self.cuda.use(self.device)
            self.cuda.free(self.address)


@dataclass
class _Borrowed:
    """Another library's structure, which it wants back."""

    managed: Any
    give_back: Callable[[Any], None]

    def __del__(self) -> None:
        self.give_back(self.managed)


def _from_interface(interface: dict[str, Any], owner: object) -> DeviceTensor:
    import numpy as np

    shape = tuple(int(size) for size in interface["shape"])
    kind = np.dtype(interface["typestr"])
    strides = interface.get("strides")
    if strides is not None and tuple(strides) != _strides(shape, kind.itemsize):
        raise _not_contiguous(shape, strides)
    return DeviceTensor(int(interface["data"][0] or 0), shape, _known(kind.name), 0, owner)


def _from_capsule(capsule: Any) -> DeviceTensor:
    try:
        managed = capsules.take(capsule)
    except ValueError as error:
        raise InputError(
            "a DLPack capsule without an unversioned tensor in it, or one that was taken "
            f"already: {error}"
        ) from error
    tensor = managed.contents.tensor
    owner = _Borrowed(managed, lambda it: it.contents.deleter(it) if it.contents.deleter else None)
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    if tensor.strides:
        strides = tuple(tensor.strides[axis] for axis in range(tensor.ndim))
        if 0 not in shape and not _is_dense(shape, strides):
            raise _not_contiguous(shape, strides)
    return DeviceTensor(
        int(tensor.data or 0) + int(tensor.byte_offset),
        shape,
        _known(_type_name(tensor.dtype)),
        int(tensor.device.index),
        owner,
        int(tensor.device.kind),
    )


def _data_type(dtype: DType) -> capsules.DataType:
    if dtype in (DType.STRING, DType.INT4, DType.UINT4):
        raise BufferError(f"EdgeKit gives no {dtype.value} by DLPack")
    bits = 8 if dtype is DType.BOOL else 8 * dtype.to_numpy().itemsize
    return capsules.DataType(_CODES[dtype.value.rstrip("0123456789")], bits, 1)


def _type_name(kind: capsules.DataType) -> str:
    names = {code: name for name, code in _CODES.items()}
    name = names.get(kind.code, f"DLPack type {kind.code} of ")
    if kind.lanes != 1:
        return f"{name}{kind.bits}x{kind.lanes}"
    return name if name == "bool" else f"{name}{kind.bits}"


def _known(name: str) -> DType:
    try:
        return DType(name)
    except ValueError as error:
        raise InputError(f"a tensor of type {name}; EdgeKit knows no such type") from error


def _strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    steps = []
    for size in reversed(shape):
        steps.append(itemsize)
        itemsize *= size
    return tuple(reversed(steps))


def _is_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the elements lie in C order; the stride of a size of 1 says nothing."""
    expected = _strides(shape, 1)
    return all(
        size == 1 or have == want for size, have, want in zip(shape, strides, expected, strict=True)
    )


def _not_contiguous(shape: tuple[int, ...], strides: object) -> InputError:
    return InputError(
        f"a tensor of shape {shape} with strides {strides} is not C-contiguous; "
        "copy it first, such as with .contiguous()"
    )


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
