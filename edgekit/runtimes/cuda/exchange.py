"""Tensors in the GPU's memory, given and taken without a copy: DLPack and the CUDA array interface.

Sources: dlpack.h 0.8 (the unversioned ``DLManagedTensor``, which every library takes); the
Python array API's data interchange; numba's CUDA array interface, version 3.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.errors import InputError
from edgekit.tensor import DType

if TYPE_CHECKING:
    from edgekit.runtimes.cuda.base import Cuda

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13
"""``DLDeviceType``; pinned and managed memory have addresses that the GPU takes."""

_ON_DEVICE = (CUDA, CUDA_HOST, CUDA_MANAGED)
_NAME, _USED = b"dltensor", b"used_dltensor"
_CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4, "bool": 6}
_LEGACY_STREAM = 1
"""The default stream in both protocols: what was put there before is done when ours begins."""


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = (
    ("tensor", _Tensor),
    ("context", ctypes.c_void_p),
    ("deleter", _Deleter),
)

_new = ctypes.pythonapi.PyCapsule_New
_new.argtypes, _new.restype = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p), ctypes.py_object
_get = ctypes.pythonapi.PyCapsule_GetPointer
_get.argtypes, _get.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
_get_raw = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_rename = ctypes.pythonapi.PyCapsule_SetName
_rename.argtypes, _rename.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_int

# What a capsule that is out there keeps alive, by the address of its structure.
_given: dict[int, tuple[Any, ...]] = {}


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

    def __dlpack__(self, *, stream: int | None = None, **_newer: Any) -> Any:
        """Return a capsule; what a session made is done, so that no stream has to wait."""
        del stream
        shape = (ctypes.c_int64 * max(len(self.shape), 1))(*self.shape)
        managed = _Managed()
        managed.tensor = _Tensor(
            data=self.address,
            device=_Device(self.kind, self.device),
            ndim=len(self.shape),
            dtype=_data_type(self.dtype),
            shape=shape,
            strides=None,
            byte_offset=0,
        )
        managed.deleter = _DROP
        place = ctypes.addressof(managed)
        _given[place] = (managed, shape, self)
        return _new(place, _NAME, ctypes.cast(_FORGET, ctypes.c_void_p))


def as_device_tensor(value: object) -> DeviceTensor | None:
    """Return what is in the GPU's memory as a tensor, or None of something else.

    Args:
        value: Anything with ``__cuda_array_interface__`` or ``__dlpack__``; it stays the
            owner of its memory.

    Raises:
        InputError: It is not C-contiguous, or has a type that EdgeKit does not know.
    """
    if isinstance(value, DeviceTensor):
        return value
    interface = getattr(value, "__cuda_array_interface__", None)
    if isinstance(interface, dict):
        return _from_interface(interface, value)
    ask = getattr(value, "__dlpack_device__", None)
    if ask is None or int(ask()[0]) not in _ON_DEVICE:
        return None
    return _from_capsule(value.__dlpack__(stream=_LEGACY_STREAM))  # type: ignore[attr-defined]


@dataclass
class _Memory:
    cuda: Cuda
    address: int
    device: int

    def __del__(self) -> None:
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
    managed = ctypes.cast(_get(capsule, _NAME), ctypes.POINTER(_Managed))
    tensor = managed.contents.tensor
    _rename(capsule, _USED)  # ours now: the capsule does not delete it any more
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


def _drop(managed: Any) -> None:
    """The taker is done with a structure that we gave."""
    _given.pop(ctypes.addressof(managed.contents), None)


def _forget(capsule: int) -> None:
    """A capsule dies; where nobody took what is in it, that goes too."""
    if _is_valid(capsule, _NAME):
        _given.pop(_get_raw(capsule, _NAME), None)


# Kept for as long as the module: capsules and other libraries hold their addresses.
_DROP = _Deleter(_drop)
_FORGET = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_forget)


def _data_type(dtype: DType) -> _DataType:
    bits = 8 if dtype is DType.BOOL else 8 * dtype.to_numpy().itemsize
    return _DataType(_CODES[dtype.value.rstrip("0123456789")], bits, 1)


def _type_name(kind: _DataType) -> str:
    names = {code: name for name, code in _CODES.items()}
    name = names.get(kind.code, f"DLPack type {kind.code} of ")
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
