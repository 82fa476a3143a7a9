"""The nodes of an ONNX file, read from its bytes: a device carries no onnx package.

Source: protobuf encoding specification; field numbers from onnx.proto3 (IR 10).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgekit.errors import ModelFormatError

_MODEL_GRAPH, _GRAPH_NODE = 7, 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP_TYPE = 1, 2, 3, 4
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MOST_SHIFTS = 63  # A varint has at most 10 bytes of 7 bits.


@dataclass(frozen=True)
class OnnxNode:
    """One operator of the main graph: names only."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_onnx_nodes(data: memoryview) -> tuple[OnnxNode, ...]:
    """Return the nodes of the main graph, in the file's order.

    Args:
        data: A serialized ModelProto; weights are skipped, so that a mapped file is not read.

    Raises:
        ModelFormatError: The bytes are not a complete message.
    """
    return tuple(
        _node(data, *where)
        for graph, *span in _blocks(data, 0, len(data))
        if graph == _MODEL_GRAPH
        for number, *where in _blocks(data, *span)
        if number == _GRAPH_NODE
    )


def _node(data: memoryview, start: int, end: int) -> OnnxNode:
    texts: dict[int, list[str]] = {_NODE_INPUT: [], _NODE_OUTPUT: []}
    for number, first, last in _blocks(data, start, end):
        if number in (_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP_TYPE):
            texts.setdefault(number, []).append(str(data[first:last], "utf-8", "replace"))
    return OnnxNode(
        "".join(texts.get(_NODE_NAME, ())[-1:]),
        "".join(texts.get(_NODE_OP_TYPE, ())[-1:]),
        tuple(texts[_NODE_INPUT]),
        tuple(texts[_NODE_OUTPUT]),
    )


def _blocks(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field that holds bytes."""
    place = start
    while place < end:
        key, place = _varint(data, place, end)
        number, kind = key >> 3, key & 7
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        if kind == _VARINT:
            _, place = _varint(data, place, end)
        elif kind == _LENGTH:
            size, place = _varint(data, place, end)
        elif not size:
            raise ModelFormatError(f"it is no ONNX file: a field of type {kind} at byte {place}")
        if size > end - place:
            raise ModelFormatError(
                f"the ONNX file is cut short: {size} bytes at byte {place}, {end - place} are left"
            )
        if kind == _LENGTH:
            yield number, place, place + size
        place += size


def _varint(data: memoryview, place: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, _MOST_SHIFTS + 1, 7):
        if place >= end:
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ModelFormatError(f"the ONNX file has no complete number at byte {place}")
