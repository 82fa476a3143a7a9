"""Reads the tensors of a PyTorch state_dict file without PyTorch, and without running it.

A pickle may call anything. This one may call four things, none of which is the file's:
the unpickler refuses every other name.

Source: torch/serialization.py (``_legacy_load``, ``_load``) and torch/_utils.py
(``_rebuild_tensor``) of PyTorch 1.0 to 2.x, for the formats.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ByteStorage": "u1",
}


@dataclass
class Storage:
    """Flat memory that tensors are views of; its values may come later in the file."""

    key: str
    dtype: str
    size: int
    values: Array | None = None


@dataclass
class Tensor:
    """A view of a storage, resolved once the storage is read."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> Array:
        """Return the tensor's own copy of its values."""
        values = self.storage.values
        assert values is not None, f"the file lacks storage {self.storage.key}"
        last = self.offset + sum(
            (size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)
        )
        assert 0 <= self.offset <= last < len(values) or 0 in self.shape
        return np.lib.stride_tricks.as_strided(
            values[self.offset :], self.shape, [step * values.itemsize for step in self.strides]
        ).copy()


@dataclass
class _Reader:
    storages: dict[str, Storage] = field(default_factory=dict)

    def unpickle(self, file: BinaryIO) -> Any:
        return _Unpickler(file, self._storage).load()

    def _storage(self, saved: tuple[Any, ...]) -> Storage:
        kind, dtype, key, _, size = saved[:5]
        assert kind == "storage", f"a reference to {kind!r}"
        return self.storages.setdefault(key, Storage(key, dtype, size))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, storage: Callable[[tuple[Any, ...]], Storage]) -> None:
        super().__init__(file)
        self._storage = storage

    def persistent_load(self, saved: tuple[Any, ...]) -> Storage:
        return self._storage(saved)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda tensor, *_: tensor
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of tensors")


def _tensor(
    storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> Tensor:
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def read_state_dict(path: Path) -> dict[str, Array]:
    """Return every tensor of a ``torch.save(model.state_dict())`` file by its name.

    Raises:
        pickle.UnpicklingError: The file asks for something that a state_dict does not need.
    """
    reader = _Reader()
    read = _read_zip if zipfile.is_zipfile(path) else _read_legacy
    state = read(path, reader)
    return {name: value.array() for name, value in state.items() if isinstance(value, Tensor)}


def _read_zip(path: Path, reader: _Reader) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        state: dict[str, Any] = reader.unpickle(io.BytesIO(archive.read(member)))
        folder = member[: -len("data.pkl")]
        for storage in reader.storages.values():
            data = archive.read(f"{folder}data/{storage.key}")
            storage.values = np.frombuffer(data, storage.dtype)[: storage.size]
    return state


def _read_legacy(path: Path, reader: _Reader) -> dict[str, Any]:
    with path.open("rb") as file:
        magic, _, system = (reader.unpickle(file) for _ in range(3))
        assert magic == MAGIC, f"{path} is not a PyTorch file"
        assert system["little_endian"], f"{path} was written on a big-endian machine"
        state: dict[str, Any] = reader.unpickle(file)
        for key in reader.unpickle(file):
            storage = reader.storages[key]
            size = int.from_bytes(file.read(8), "little")
            assert size == storage.size, f"storage {key} holds {size} values, not {storage.size}"
            data = file.read(size * np.dtype(storage.dtype).itemsize)
            storage.values = np.frombuffer(data, storage.dtype)
    return state
