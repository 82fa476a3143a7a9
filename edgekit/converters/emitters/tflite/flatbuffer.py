"""Flatbuffer tables from plain values: the one file that imports flatbuffers.

A field is ``(slot, kind, value, default)``; a value equal to its default is not
stored, as the format wants. Tables and vectors are named by the offset that
their function returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import flatbuffers
import numpy as np

Kind = Literal["int8", "uint8", "int32", "uint32", "float32", "bool", "offset", "patched"]
Field = tuple[int, Kind, int | float | bool | None, int | float | None]

_PREPEND = {
    "int8": "PrependInt8Slot",
    "uint8": "PrependUint8Slot",
    "int32": "PrependInt32Slot",
    "uint32": "PrependUint32Slot",
    "float32": "PrependFloat32Slot",
    "bool": "PrependBoolSlot",
    "offset": "PrependUOffsetTRelativeSlot",
}

_PLACEHOLDER = 0xFFFFFFFF


class TableBuilder:
    """Builds one flatbuffer, innermost tables first."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1 << 12)
        self._patched: list[int] = []

    def string(self, text: str) -> int:
        """Store a string."""
        return int(self._builder.CreateString(text))

    def numbers(self, values: Iterable[int | float], dtype: str) -> int:
        """Store a vector of numbers of a numpy dtype."""
        return int(self._builder.CreateNumpyVector(np.asarray(list(values), dtype)))

    def offsets(self, tables: Sequence[int]) -> int:
        """Store a vector of tables or strings."""
        self._builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self._builder.PrependUOffsetTRelative(table)
        return int(self._builder.EndVector())

    def table(self, fields: Iterable[Field] = ()) -> int:
        """Store a table.

        A field of kind ``patched`` points past the end of this flatbuffer; the caller
        fills it in at the position that ``finish`` returns.
        """
        stored = [field for field in fields if field[2] is not None]
        self._builder.StartObject(max((slot for slot, *_ in stored), default=-1) + 1)
        for slot, kind, value, default in stored:
            if kind == "patched":
                self._builder.PrependUint32Slot(slot, _PLACEHOLDER, 0)
                self._patched.append(int(self._builder.Offset()))
            else:
                getattr(self._builder, _PREPEND[kind])(slot, value, default or 0)
        return int(self._builder.EndObject())

    def finish(self, root: int, identifier: bytes) -> tuple[bytearray, list[int]]:
        """Return the flatbuffer, and the positions of its patched fields in order."""
        self._builder.Finish(root, file_identifier=identifier)
        buffer = bytearray(self._builder.Output())
        return buffer, [len(buffer) - offset for offset in self._patched]
