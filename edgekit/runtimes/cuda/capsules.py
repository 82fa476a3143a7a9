"""DLPack's structures in Python capsules: given, taken, and given back once.

Source: dlpack.h 0.8, the unversioned ``DLManagedTensor``, which every library takes.
"""

from __future__ import annotations

import ctypes
from typing import Any

_NAME, _USED = b"dltensor", b"used_dltensor"


class Device(ctypes.Structure):
    """``DLDevice``."""

    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class DataType(ctypes.Structure):
    """``DLDataType``."""

    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class Tensor(ctypes.Structure):
    """``DLTensor``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", Device),
        ("ndim", ctypes.c_int32),
        ("dtype", DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class Managed(ctypes.Structure):
    """``DLManagedTensor``."""


Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(Managed))
Managed._fields_ = (
    ("tensor", Tensor),
    ("context", ctypes.c_void_p),
    ("deleter", Deleter),
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


def give(tensor: Tensor, *, keep: tuple[object, ...]) -> Any:
    """Return a capsule with a tensor in it.

    Args:
        tensor: The structure.
        keep: What has to live for as long as the taker uses it.
    """
    managed = Managed()
    managed.tensor = tensor
    managed.deleter = _DROP
    place = ctypes.addressof(managed)
    _given[place] = (managed, *keep)
    return _new(place, _NAME, ctypes.cast(_FORGET, ctypes.c_void_p))


def take(capsule: Any) -> Any:
    """Return a pointer to what is in a capsule, which is the caller's to give back from now on.

    Raises:
        ValueError: It holds no unversioned tensor, or was taken already.
    """
    managed = ctypes.cast(_get(capsule, _NAME), ctypes.POINTER(Managed))
    _rename(capsule, _USED)  # so that the capsule does not give it back too
    return managed


def _drop(managed: Any) -> None:
    """The taker is done with a structure that we gave."""
    _given.pop(ctypes.addressof(managed.contents), None)


def _forget(capsule: int) -> None:
    """A capsule dies; where nobody took what is in it, that goes too."""
    if _is_valid(capsule, _NAME):
        _given.pop(_get_raw(capsule, _NAME), None)


# Kept for as long as the module: capsules and other libraries hold their addresses.
_DROP = Deleter(_drop)
_FORGET = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_forget)
# Also past the module's end, when capsules may still die: they hold plain pointers to these.
for _held in (_DROP, _FORGET, _NAME, _USED):
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_held))
