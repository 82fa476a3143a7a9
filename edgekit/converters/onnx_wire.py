"""The protobuf wire format of an ONNX file, as far as its weights go.

Weights are nearly all of a model file. Reading them through the protobuf library
copies them twice, so they are cut out before it sees the file: what remains is a
skeleton of some kilobytes, and each weight is a view of the (mapped) file. Writing
goes the other way: the skeleton is serialized, and the weights are spliced in.

Source: protobuf encoding specification; field numbers from onnx.proto3 (IR 10).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MODEL_GRAPH = 7
GRAPH_INITIALIZER = 5
TENSOR_RAW_DATA = 9
INLINE_BYTES = 4096
"""Weights up to this size stay in the skeleton: shape inference reads their values."""
MAX_MODEL_FIELDS = 1 << 16
"""Real models have some tens: operator sets, metadata, functions."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are not a complete protobuf message."""


@dataclass(frozen=True)
class Skeleton:
    """A model without its large weights.

    Args:
        model: Serialized ModelProto; the cut weights have neither data nor location.
        weights: Raw little-endian bytes of each cut weight, by its position among the
            graph's initializers; views of the buffer that was read.
    """

    model: bytes
    weights: dict[int, memoryview]


def cut_weights(buffer: memoryview) -> Skeleton:
    """Split a serialized ModelProto into its skeleton and its large weights.

    Raises:
        WireError: The bytes are not a complete message.
    """
    weights: dict[int, memoryview] = {}
    model: list[bytes] = []
    count = 0
    for number, start, value, end in _fields(buffer, 0, len(buffer)):
        if len(model) > MAX_MODEL_FIELDS:
            raise WireError(f"it has over {MAX_MODEL_FIELDS} parts beside its graph")
        if number != MODEL_GRAPH:
            model.append(bytes(buffer[start:end]))
            continue
        graph: list[bytes] = []
        for inner, inner_start, inner_value, inner_end in _fields(buffer, value, end):
            if inner != GRAPH_INITIALIZER:
                graph.append(bytes(buffer[inner_start:inner_end]))
                continue
            tensor, raw = _split_tensor(buffer, inner_value, inner_end)
            graph.append(_block(GRAPH_INITIALIZER, len(tensor)) + tensor)
            if raw is not None:
                weights[count] = raw
            count += 1
        # Several graph fields are one graph by the specification; the library merges them.
        body = b"".join(graph)
        model.append(_block(MODEL_GRAPH, len(body)) + body)
    return Skeleton(b"".join(model), weights)


def _split_tensor(buffer: memoryview, start: int, end: int) -> tuple[bytes, memoryview | None]:
    kept: list[bytes] = []
    raw: memoryview | None = None
    for number, field_start, value, field_end in _fields(buffer, start, end):
        if number == TENSOR_RAW_DATA and field_end - value > INLINE_BYTES:
            raw = buffer[value:field_end]
        else:
            kept.append(bytes(buffer[field_start:field_end]))
    return b"".join(kept), raw


def splice_weights(
    model: bytes, graph: bytes, weights: list[tuple[bytes, memoryview]]
) -> Iterator[bytes | memoryview]:
    """Yield the pieces of a ModelProto whose weights are never copied.

    Args:
        model: Serialized ModelProto without its graph.
        graph: Serialized GraphProto without these weights.
        weights: For each weight a serialized TensorProto without data, and the data.
    """
    heads = []
    size = len(graph)
    for tensor, data in weights:
        tail = _block(TENSOR_RAW_DATA, data.nbytes)
        head = _block(GRAPH_INITIALIZER, len(tensor) + len(tail) + data.nbytes) + tensor + tail
        heads.append(head)
        size += len(head) + data.nbytes
    yield model + _block(MODEL_GRAPH, size) + graph
    for head, (_, data) in zip(heads, weights, strict=True):
        yield head
        yield data


def _fields(buffer: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, start of its tag, start of its value, end) of each field."""
    position = start
    while position < end:
        key, value = _read_varint(buffer, position, end)
        number, kind = key >> 3, key & 7
        if kind == _LENGTH:
            size, value = _read_varint(buffer, value, end)
            stop = value + size
        elif kind == _VARINT:
            _, stop = _read_varint(buffer, value, end)
        elif kind in (_FIXED32, _FIXED64):
            stop = value + (4 if kind == _FIXED32 else 8)
        else:
            raise WireError(f"byte {position} starts a field of unknown kind {kind}")
        if number == 0 or stop > end:
            raise WireError(f"the field at byte {position} ends at {stop}, after {end}")
        yield number, position, value, stop
        position = stop


def _read_varint(buffer: memoryview, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise WireError(f"the number at byte {position} is cut off")
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise WireError(f"the number at byte {position} is too long")


def _block(number: int, size: int) -> bytes:
    """Return tag and length of a length-delimited field."""
    return _varint(number << 3 | _LENGTH) + _varint(size)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
