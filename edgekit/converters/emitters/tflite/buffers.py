"""The constants of a file: each stored once, converted to bytes one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.tensor import DType

Bytes = bytes | bytearray | memoryview

MAX_COMPARED_SIZE = 1 << 16
"""Constants up to this many bytes are compared by contents, larger ones by identity."""

_PACKED = (DType.INT4, DType.UINT4)


@dataclass
class Constants:
    """Numbered constants; number 0 is kept for the empty buffer."""

    _contents: list[tuple[int, Callable[[], Bytes]]] = field(default_factory=list)
    _by_array: dict[tuple[int, DType], int] = field(default_factory=dict)
    _by_bytes: dict[bytes, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._contents)

    def add(self, tensor: Tensor) -> int:
        """Return the number of a constant tensor's buffer."""
        data = tensor.data
        if data is None:
            return 0
        key = (id(data), tensor.dtype)
        if key not in self._by_array:
            self._by_array[key] = self._add_array(data, tensor.dtype)
        return self._by_array[key]

    def add_bytes(self, data: bytes) -> int:
        """Return the number of a buffer with these bytes."""
        return self._append(len(data), lambda: data)

    def sizes(self) -> Iterator[int]:
        """Yield the bytes that each constant takes, by number."""
        return (nbytes for nbytes, _ in self._contents)

    def contents(self) -> Iterator[Bytes]:
        """Yield the constants, by number; each is made when asked for."""
        return (make() for _, make in self._contents)

    def _add_array(self, data: NDArray[Any], dtype: DType) -> int:
        nbytes = -(-data.size // 2) if dtype in _PACKED else data.nbytes
        if nbytes > MAX_COMPARED_SIZE:
            return self._append(nbytes, lambda: _to_bytes(data, dtype))
        stored = bytes(_to_bytes(data, dtype))
        if stored not in self._by_bytes:
            self._by_bytes[stored] = self._append(nbytes, lambda: stored)
        return self._by_bytes[stored]

    def _append(self, nbytes: int, make: Callable[[], Bytes]) -> int:
        self._contents.append((nbytes, make))
        return len(self._contents)


def _to_bytes(data: NDArray[Any], dtype: DType) -> memoryview:
    flat = np.ascontiguousarray(data).reshape(-1)
    return (_pack_nibbles(flat) if dtype in _PACKED else flat.view(np.uint8)).data


def _pack_nibbles(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Pack 4-bit values two in a byte, the first in the low half."""
    nibbles = np.zeros(-(-values.size // 2) * 2, np.uint8)
    nibbles[: values.size] = values.astype(np.int8).view(np.uint8) & np.uint8(0xF)
    packed: NDArray[np.uint8] = nibbles[0::2] | np.left_shift(nibbles[1::2], np.uint8(4))
    return packed
