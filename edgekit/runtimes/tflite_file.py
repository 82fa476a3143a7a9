"""Read what a .tflite file says of itself: tensors, operators, signatures, sizes.

Needs numpy alone, so that a device can look into a file without the converter or
the engine. Weights are not read, only measured.

Source: LiteRT schema 3c (schema.fbs).
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ModelFormatError
from edgekit.quantization import Quantization
from edgekit.runtimes.flatbuffer_table import Buffer, Table
from edgekit.runtimes.tflite_names import BUILTIN_CODES, BUILTIN_NAMES, TENSOR_TYPES
from edgekit.tensor import DType

_IDENTIFIER = b"TFL3"
_DTYPES = {code: dtype for dtype, code in TENSOR_TYPES.items()}


@dataclass(frozen=True)
class TFLiteTensor:
    """One tensor.

    Args:
        name: Its name; need not be unique.
        shape: Sizes as stored.
        dtype: Element type; None where EdgeKit has no name for it (complex, resource).
        quantization: How integers map to real values; None for a plain tensor.
        nbytes: Size of its constant in bytes; None where it is computed.
        is_dynamic: Whether a size may change at run time (a -1 in its shape signature).
        is_variable: Whether it keeps its value between runs.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType | None
    quantization: Quantization | None
    nbytes: int | None
    is_dynamic: bool
    is_variable: bool


@dataclass(frozen=True)
class TFLiteOperator:
    """One operator.

    Args:
        name: Builtin name, or the custom operator's own.
        version: Its version.
        inputs: Tensor numbers within the subgraph; -1 for an absent optional one.
        outputs: Likewise.
        is_custom: Whether it is not a builtin.
    """

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    is_custom: bool


@dataclass(frozen=True)
class TFLiteSubgraph:
    """One graph; ``inputs`` and ``outputs`` are numbers of its ``tensors``."""

    name: str
    tensors: tuple[TFLiteTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[TFLiteOperator, ...]


@dataclass(frozen=True)
class TFLiteSignature:
    """Public names of a subgraph's inputs and outputs, as (name, tensor number)."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class TFLiteFile:
    """A whole file.

    Args:
        description: The file's own line about itself.
        subgraphs: The main one first.
        signatures: Public names; empty in old files.
        metadata: Names of the extra buffers, with their size in bytes.
        weight_nbytes: Size of all buffers, in bytes; shared ones count once.
        nbytes: Size of the file, in bytes.
    """

    description: str
    subgraphs: tuple[TFLiteSubgraph, ...]
    signatures: tuple[TFLiteSignature, ...]
    metadata: tuple[tuple[str, int], ...]
    weight_nbytes: int
    nbytes: int


def read_tflite(source: Path | bytes) -> TFLiteFile:
    """Read a .tflite file, or its bytes.

    Raises:
        ModelFormatError: It is not a .tflite file, or is truncated or corrupt.
    """
    if isinstance(source, bytes):
        return _read(memoryview(source))
    with source.open("rb") as stream:
        if source.stat().st_size == 0:
            raise ModelFormatError(f"{source} is empty; copy or convert it again")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)
            try:
                return _read(view)
            except ModelFormatError as error:
                raise ModelFormatError(f"{source}: {error}") from None
            finally:
                view.release()


def _read(data: memoryview) -> TFLiteFile:
    if bytes(data[4:8]) != _IDENTIFIER:
        raise ModelFormatError(
            f"bytes 4 to 8 are {bytes(data[4:8])!r}; a .tflite file has {_IDENTIFIER!r} there"
        )
    model = Buffer(data).root()
    codes = model.tables(1, _read_code)
    buffers = model.tables(4, _buffer_size)
    subgraphs = model.tables(2, lambda table: _read_subgraph(table, codes, buffers))
    if not subgraphs:
        raise ModelFormatError("the .tflite file has no subgraph")
    return TFLiteFile(
        description=model.string(3),
        subgraphs=subgraphs,
        signatures=model.tables(7, lambda table: _read_signature(table, subgraphs)),
        metadata=model.tables(6, lambda table: _read_metadata(table, buffers)),
        weight_nbytes=sum(size for size in buffers if size is not None),
        nbytes=len(data),
    )


def _read_code(table: Table) -> tuple[str, int, bool]:
    """Return name, version, and whether it is custom."""
    # The old 8-bit field came first; large codes are only in the new one.
    code = max(table.integer(0, "<b"), table.integer(3, "<i"))
    version = table.integer(2, "<i", 1)
    if code == BUILTIN_CODES["CUSTOM"]:
        return table.string(1), version, True
    known = 0 <= code < len(BUILTIN_NAMES)
    return BUILTIN_NAMES[code] if known else f"BUILTIN_{code}", version, False


def _buffer_size(table: Table) -> int | None:
    """Return the bytes of a buffer; None for one that holds nothing."""
    if table.has(0):
        return table.vector(0, 1)[1]
    # Files over 2 GB keep their weights behind the flatbuffer.
    return table.integer(2, "<Q") if table.has(2) else None


def _read_subgraph(
    table: Table, codes: tuple[tuple[str, int, bool], ...], buffers: tuple[int | None, ...]
) -> TFLiteSubgraph:
    tensors = table.tables(0, lambda item: _read_tensor(item, buffers))
    count = len(tensors)
    return TFLiteSubgraph(
        name=table.string(4),
        tensors=tensors,
        inputs=_indices(table.integers(1), count, "a subgraph's input"),
        outputs=_indices(table.integers(2), count, "a subgraph's output"),
        operators=table.tables(3, lambda item: _read_operator(item, codes, count)),
    )


def _read_operator(
    table: Table, codes: tuple[tuple[str, int, bool], ...], tensors: int
) -> TFLiteOperator:
    name, version, is_custom = codes[_index(table.integer(0, "<I"), len(codes), "operator code")]
    return TFLiteOperator(
        name=name,
        version=version,
        inputs=_indices(table.integers(1), tensors, f"an input of {name}", lowest=-1),
        outputs=_indices(table.integers(2), tensors, f"an output of {name}"),
        is_custom=is_custom,
    )


def _read_tensor(table: Table, buffers: tuple[int | None, ...]) -> TFLiteTensor:
    name = table.string(3)
    shape = table.integers(0)
    if any(size < 0 for size in shape):
        raise ModelFormatError(f"tensor {name!r} has shape {shape}; sizes are >= 0")
    buffer = _index(table.integer(2, "<I"), max(len(buffers), 1), f"the buffer of {name!r}")
    quantization = table.table(4)
    return TFLiteTensor(
        name=name,
        shape=shape,
        dtype=_DTYPES.get(table.integer(1, "<b")),
        quantization=None if quantization is None else _read_quantization(quantization, name),
        nbytes=buffers[buffer] if buffer else None,
        is_dynamic=any(size < 0 for size in table.integers(7)),
        is_variable=bool(table.integer(5, "<B")),
    )


def _read_quantization(table: Table, name: str) -> Quantization | None:
    scale = table.floats(2)
    if not scale:
        return None  # Observed ranges only, as some trainers leave them.
    zero_point = table.integers(3, "<i8") or (0,)
    if len(zero_point) == 1:
        zero_point *= len(scale)
    axis = table.integer(6, "<i") if len(scale) > 1 else None
    try:
        return Quantization(scale, zero_point, axis)
    except ValueError as error:
        raise ModelFormatError(f"tensor {name!r}: {error}") from error


def _read_metadata(table: Table, buffers: tuple[int | None, ...]) -> tuple[str, int]:
    name = table.string(0)
    return name, buffers[_index(table.integer(1, "<I"), len(buffers), f"metadata {name!r}")] or 0


def _read_signature(table: Table, subgraphs: tuple[TFLiteSubgraph, ...]) -> TFLiteSignature:
    key = table.string(2)
    subgraph = _index(table.integer(4, "<I"), len(subgraphs), f"signature {key!r}")
    count = len(subgraphs[subgraph].tensors)

    def read_name(item: Table) -> tuple[str, int]:
        name = item.string(0)
        return name, _index(item.integer(1, "<I"), count, f"{name!r} of signature {key!r}")

    return TFLiteSignature(key, subgraph, table.tables(0, read_name), table.tables(1, read_name))


def _indices(
    numbers: tuple[int, ...], count: int, what: str, *, lowest: int = 0
) -> tuple[int, ...]:
    return tuple(_index(number, count, what, lowest=lowest) for number in numbers)


def _index(number: int, count: int, what: str, *, lowest: int = 0) -> int:
    if not lowest <= number < count:
        raise ModelFormatError(f"{what} is number {number}, of {count}; the file is corrupt")
    return number
