"""Tensors given and taken by DLPack and the CUDA array interface, on a simulated CUDA."""

from __future__ import annotations

import ctypes
import gc
import weakref

import numpy as np
import pytest
from cuda_simulation import simulated_cuda

from edgekit.errors import InputError
from edgekit.runtimes.cuda import capsules
from edgekit.runtimes.cuda.exchange import CPU, CUDA, DeviceTensor, as_device_tensor
from edgekit.tensor import DType


def _write(address: int, array: np.ndarray) -> None:  # type: ignore[type-arg]
    ctypes.memmove(address, array.ctypes.data, array.nbytes)


def _tensor(values: np.ndarray) -> DeviceTensor:  # type: ignore[type-arg]
    cuda = simulated_cuda()
    made = DeviceTensor.allocate(cuda, values.shape, DType.from_numpy(values.dtype), device=0)
    _write(made.address, values)
    return made


class _Torchlike:
    """Another library's tensor: the CUDA array interface alone."""

    def __init__(self, tensor: DeviceTensor, strides: tuple[int, ...] | None = None) -> None:
        self.__cuda_array_interface__ = {**tensor.__cuda_array_interface__, "strides": strides}


class _Dlpacklike:
    """DLPack alone; on the CPU for numpy, which reads no other."""

    def __init__(self, tensor: DeviceTensor) -> None:
        self._tensor = tensor

    def __dlpack__(self, **named: object) -> object:
        return self._tensor.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._tensor.__dlpack_device__()


VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_memory_of_a_tensor_goes_with_it() -> None:
    cuda = simulated_cuda()
    before = cuda.alive()["memory"]
    tensor = DeviceTensor.allocate(cuda, (2, 3), DType.FLOAT16, device=0)

    assert cuda.alive()["memory"] == before + 1
    assert tensor.nbytes == 12
    del tensor
    gc.collect()
    assert cuda.alive()["memory"] == before


def test_the_array_interface_is_read_and_written() -> None:
    tensor = _tensor(VALUES)

    taken = as_device_tensor(_Torchlike(tensor))

    assert taken is not None
    assert (taken.address, taken.shape, taken.dtype) == (tensor.address, (2, 3, 4), DType.FLOAT32)


def test_dlpack_goes_both_ways_and_is_given_back_once() -> None:
    cuda = simulated_cuda()
    before = cuda.alive()["memory"]
    tensor = DeviceTensor.allocate(cuda, (2, 3, 4), DType.FLOAT32, device=0)
    taken = as_device_tensor(_Dlpacklike(tensor))

    assert taken is not None
    assert (taken.address, taken.shape, taken.dtype) == (tensor.address, (2, 3, 4), DType.FLOAT32)
    del tensor
    gc.collect()
    assert cuda.alive()["memory"] == before + 1  # the capsule's taker still holds it
    del taken
    gc.collect()
    assert cuda.alive()["memory"] == before


def test_a_capsule_that_nobody_takes_frees_what_is_in_it() -> None:
    cuda = simulated_cuda()
    before = cuda.alive()["memory"]
    capsule = DeviceTensor.allocate(cuda, (4,), DType.INT8, device=0).__dlpack__()

    assert cuda.alive()["memory"] == before + 1
    del capsule
    gc.collect()
    assert cuda.alive()["memory"] == before


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int64", "bool"])
def test_numpy_reads_our_capsules(dtype: str) -> None:
    """The oracle of the structure's layout; numpy reads memory of the CPU only."""
    values = (VALUES % 2).astype(dtype)
    tensor = DeviceTensor(values.ctypes.data, values.shape, DType(dtype), owner=values, kind=CPU)

    assert np.array_equal(np.from_dlpack(_Dlpacklike(tensor)), values)


def test_numpys_capsules_are_in_host_memory_and_not_taken() -> None:
    assert as_device_tensor(VALUES) is None
    assert as_device_tensor("text") is None


def test_a_strided_tensor_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"not C-contiguous.*copy it first"):
        as_device_tensor(_Torchlike(_tensor(VALUES), strides=(4, 8, 24)))


class _Owner:
    """What owns memory; it can be watched."""

    def __init__(self, values: np.ndarray) -> None:  # type: ignore[type-arg]
        self.values = values


def test_numpy_holds_the_owner_until_its_array_is_gone() -> None:
    owner = _Owner(VALUES.copy())
    watch = weakref.ref(owner)
    tensor = DeviceTensor(
        owner.values.ctypes.data, VALUES.shape, DType.FLOAT32, owner=owner, kind=CPU
    )
    array = np.from_dlpack(_Dlpacklike(tensor))
    del tensor, owner
    gc.collect()

    assert np.array_equal(array, VALUES)
    assert array.strides == VALUES.strides
    assert watch() is not None
    del array
    gc.collect()
    assert watch() is None
    assert capsules._given == {}


class _Counting:
    """A capsule of numpy's, said to be on the GPU; its deleter's calls are counted."""

    def __init__(self, values: np.ndarray) -> None:  # type: ignore[type-arg]
        self.calls: list[int] = []
        self.streams: list[int | None] = []
        self._capsule = values.__dlpack__()
        self._managed = ctypes.cast(
            capsules._get(self._capsule, b"dltensor"), ctypes.POINTER(capsules.Managed)
        )
        theirs = ctypes.cast(self._managed.contents.deleter, ctypes.c_void_p).value
        self._theirs = capsules.Deleter(theirs)
        self._ours = capsules.Deleter(self._delete)
        self._managed.contents.deleter = self._ours

    def _delete(self, managed: object) -> None:
        self.calls.append(1)
        self._theirs(managed)

    def __dlpack__(self, *, stream: int | None = None) -> object:
        self.streams.append(stream)
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, 0


def test_the_structure_that_numpy_fills_is_read_and_given_back_once() -> None:
    """The oracle of reading: numpy wrote shape, strides, type and deleter."""
    values = np.arange(6, dtype=np.int16).reshape(2, 3)
    given = _Counting(values)
    taken = as_device_tensor(given, stream=0x1234)

    assert taken is not None
    assert (taken.address, taken.shape, taken.dtype) == (values.ctypes.data, (2, 3), DType.INT16)
    assert given.streams == [0x1234]
    assert given.calls == []
    del taken
    gc.collect()
    assert given.calls == [1]


def test_a_capsule_is_taken_only_once() -> None:
    given = _Counting(VALUES.copy())
    taken = as_device_tensor(given)

    assert taken is not None
    with pytest.raises(InputError, match="taken already"):
        as_device_tensor(given)


def test_a_strided_capsule_is_refused_and_given_back() -> None:
    given = _Counting(VALUES.copy().transpose(0, 2, 1))

    with pytest.raises(InputError, match="not C-contiguous"):
        as_device_tensor(given)
    gc.collect()
    assert given.calls == [1]


def test_a_type_that_edgekit_has_not_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="DLPack type 5 of 64"):
        as_device_tensor(_Counting(np.zeros(2, np.complex64)))


@pytest.mark.parametrize("wish", [{"copy": True}, {"dl_device": (CPU, 0)}])
def test_a_wish_that_needs_a_copy_is_refused(wish: dict[str, object]) -> None:
    with pytest.raises(BufferError, match="without a copy"):
        _tensor(VALUES).__dlpack__(**wish)


def test_torch_reads_our_capsules() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    values = VALUES.copy()
    tensor = DeviceTensor(values.ctypes.data, VALUES.shape, DType.FLOAT32, owner=values, kind=CPU)

    assert np.array_equal(torch.from_dlpack(_Dlpacklike(tensor)).numpy(), VALUES)
