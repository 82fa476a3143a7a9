"""Read a flatbuffer that may be truncated, corrupt or hostile.

Every position is checked before it is read, and the work is bounded: offsets may
point anywhere, so that a small file could otherwise describe endless tables.

Source: FlatBuffers internals (google.github.io/flatbuffers), binary format.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from edgekit.errors import ModelFormatError

T = TypeVar("T")

MAX_WORK = 8_000_000
"""Vector elements and string bytes read from one file; real models stay under a tenth of it."""
TABLE_WORK = 64
"""What one table counts for."""


class Buffer:
    """The bytes, and how much more work they may cause."""

    def __init__(self, data: memoryview, *, max_work: int = MAX_WORK) -> None:
        self.data = data
        self._work_left = max_work

    def spend(self, work: int) -> None:
        """Count work, and refuse a file that asks for too much."""
        self._work_left -= work
        if self._work_left < 0:
            raise ModelFormatError(
                f"the flatbuffer of {len(self.data)} bytes describes more than any real model; "
                "it is corrupt or hostile"
            )

    def check(self, position: int, size: int) -> None:
        """Refuse a range that is not wholly in the file."""
        if position < 0 or size < 0 or position + size > len(self.data):
            raise ModelFormatError(
                f"the flatbuffer points to {size} bytes at {position}, but has {len(self.data)} "
                "bytes; it is truncated or corrupt: copy or convert it again"
            )

    def number(self, layout: str, position: int) -> int | float:
        """Return the number of a struct format (``"<I"``) at a position."""
        self.check(position, struct.calcsize(layout))
        value: int | float = struct.unpack_from(layout, self.data, position)[0]
        return value

    def integer(self, layout: str, position: int) -> int:
        """Return the integer of a struct format at a position."""
        return int(self.number(layout, position))

    def follow(self, position: int) -> int:
        """Return where the forward offset at a position points."""
        return position + self.integer("<I", position)

    def root(self) -> Table:
        """Return the root table."""
        return Table(self, self.follow(0))


class Table:
    """One table; a field is named by its slot, an absent one gives the default."""

    def __init__(self, buffer: Buffer, position: int) -> None:
        buffer.spend(TABLE_WORK)
        self._buffer = buffer
        self._position = position
        self._vtable = position - buffer.integer("<i", position)
        self._vtable_size = buffer.integer("<H", self._vtable)
        buffer.check(self._vtable, self._vtable_size)

    def integer(self, slot: int, layout: str, default: int = 0) -> int:
        """Return an integer field."""
        position = self._field(slot)
        return default if position is None else self._buffer.integer(layout, position)

    def string(self, slot: int) -> str:
        """Return a string field; bytes that are not UTF-8 are replaced."""
        position, length = self.vector(slot, 1)
        self._buffer.spend(length)
        return bytes(self._buffer.data[position : position + length]).decode("utf-8", "replace")

    def integers(self, slot: int, dtype: str = "<i4") -> tuple[int, ...]:
        """Return a field that is a vector of integers of a numpy dtype."""
        return tuple(map(int, self._numbers(slot, dtype)))

    def floats(self, slot: int) -> tuple[float, ...]:
        """Return a field that is a vector of float32."""
        return tuple(map(float, self._numbers(slot, "<f4")))

    def table(self, slot: int) -> Table | None:
        """Return a field that is a table."""
        position = self._field(slot)
        return None if position is None else Table(self._buffer, self._buffer.follow(position))

    def tables(self, slot: int, read: Callable[[Table], T]) -> tuple[T, ...]:
        """Return what ``read`` makes of each table of a vector."""
        start, length = self.vector(slot, 4)
        positions = range(start, start + 4 * length, 4)
        return tuple(read(Table(self._buffer, self._buffer.follow(at))) for at in positions)

    def vector(self, slot: int, item_size: int) -> tuple[int, int]:
        """Return position and length of a vector field; length 0 where it is absent."""
        position = self._field(slot)
        if position is None:
            return 0, 0
        start = self._buffer.follow(position)
        length = self._buffer.integer("<I", start)
        self._buffer.check(start + 4, length * item_size)
        return start + 4, length

    def has(self, slot: int) -> bool:
        """Whether the field is stored."""
        return self._field(slot) is not None

    def _numbers(self, slot: int, dtype: str) -> list[int] | list[float]:
        item = np.dtype(dtype)
        start, length = self.vector(slot, item.itemsize)
        self._buffer.spend(length)
        if not length:
            return []
        numbers: list[int] | list[float] = np.frombuffer(
            self._buffer.data, item, length, start
        ).tolist()
        return numbers

    def _field(self, slot: int) -> int | None:
        entry = 4 + 2 * slot
        if entry + 2 > self._vtable_size:
            return None
        offset = self._buffer.integer("<H", self._vtable + entry)
        return self._position + offset if offset else None
