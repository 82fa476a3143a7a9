"""Write a TFLite model to a file, the weights straight from their arrays.

The tables are one small flatbuffer. The weights follow it in the file, each
16-byte aligned; only then are the tables' offsets to them filled in. So a file
of 500 MB costs no 500 MB copy.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgekit.converters.emitters.tflite.buffers import Bytes, Constants
from edgekit.converters.emitters.tflite.flatbuffer import Field, TableBuilder
from edgekit.converters.emitters.tflite.model import Model, Operator, Option, Subgraph, Tensor
from edgekit.converters.emitters.tflite.schema import OPERATORS, TENSOR_TYPES
from edgekit.converters.emitters.tflite.validate import check_model
from edgekit.converters.emitters.tflite.versions import min_runtime_version, operator_version
from edgekit.errors import ModelFormatError

SIGNATURE_KEY = "serving_default"
ALIGNMENT = 16
"""Alignment of a constant in the file, in bytes; delegates read vectors of it in place."""
MAX_FILE_SIZE = 2**31 - 1
"""Largest file in bytes; flatbuffer offsets are checked as signed 32-bit numbers."""

_SCHEMA_VERSION = 3
# The old 8-bit field of an operator's code; larger codes put this and use the new field.
_DEPRECATED_CODE_LIMIT = 127
_MIN_RUNTIME_KEY = "min_runtime_version"
_MIN_RUNTIME_SIZE = 16
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def write_model(model: Model, path: Path, *, files: Mapping[str, bytes] | None = None) -> None:
    """Write a model; ``path`` appears only when it is complete.

    Args:
        model: What to write.
        path: The .tflite file.
        files: Files by name (label lists) to zip, uncompressed, onto the end.

    Raises:
        ModelError: The model is inconsistent; the message names the place.
        ModelFormatError: The file would exceed 2 GiB.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as stream:
            _write(model, stream, files or {})
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def model_to_bytes(model: Model, *, files: Mapping[str, bytes] | None = None) -> bytes:
    """Return what ``write_model`` would write."""
    stream = io.BytesIO()
    _write(model, stream, files or {})
    return stream.getvalue()


def _write(model: Model, stream: BinaryIO, files: Mapping[str, bytes]) -> None:
    check_model(model)
    constants = Constants()
    tables, positions = _build_tables(model, constants)
    place = _Placement(tables, positions, constants)
    if place.size > MAX_FILE_SIZE:
        raise ModelFormatError(
            f"the .tflite file would have {place.size} bytes; the format allows {MAX_FILE_SIZE}; "
            "quantize the weights (int8 is a quarter of float32) or split the model"
        )
    for chunk in place.chunks():
        stream.write(chunk)
    if files:
        # "w" writes at the stream's position; "a" would search the weights for a zip directory.
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in files.items():
                archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), data)


class _Placement:
    """Where each constant lies behind the tables."""

    def __init__(self, tables: bytearray, positions: list[int], constants: Constants) -> None:
        self._tables = tables
        self._constants = constants
        self._starts: list[int] = []
        end = len(tables)
        for position, nbytes in zip(positions, constants.sizes(), strict=True):
            start = -(-(end + 4) // ALIGNMENT) * ALIGNMENT
            end = start + nbytes
            self._starts.append(start)
            if end <= MAX_FILE_SIZE:
                # A vector starts at its length, which lies just before its first element.
                struct.pack_into("<I", tables, position, start - 4 - position)
        self.size = end

    def chunks(self) -> Iterator[Bytes]:
        """Yield the file from its first byte to its last."""
        yield self._tables
        end = len(self._tables)
        for start, data in zip(self._starts, self._constants.contents(), strict=True):
            yield bytes(start - 4 - end) + struct.pack("<I", len(data))
            yield data
            end = start + len(data)


@dataclass
class _OperatorCodes:
    """Index of each operator and version that the file uses."""

    indices: dict[tuple[str, int], int]

    def index(self, operator: Operator) -> int:
        key = (operator.op, operator_version(operator))
        return self.indices.setdefault(key, len(self.indices))

    def build(self, builder: TableBuilder) -> int:
        return builder.offsets([self._code(builder, *key) for key in self.indices])

    @staticmethod
    def _code(builder: TableBuilder, op: str, version: int) -> int:
        code = OPERATORS[op].code
        return builder.table(
            [
                (0, "int8", min(code, _DEPRECATED_CODE_LIMIT), 0),
                (2, "int32", version, 1),
                (3, "int32", code, 0),
            ]
        )


def _build_tables(model: Model, constants: Constants) -> tuple[bytearray, list[int]]:
    builder = TableBuilder()
    codes = _OperatorCodes({})
    subgraphs = [_subgraph(builder, graph, codes, constants) for graph in model.subgraphs]
    metadata = _metadata(builder, _with_min_runtime(model), constants)
    fields: list[Field] = [
        (0, "uint32", _SCHEMA_VERSION, 0),
        (1, "offset", codes.build(builder), 0),
        (2, "offset", builder.offsets(subgraphs), 0),
        (3, "offset", builder.string(model.description), 0),
        (4, "offset", _buffers(builder, len(constants)), 0),
        (6, "offset", metadata, 0),
        (7, "offset", builder.offsets([_signature(builder, model)]), 0),
    ]
    return builder.finish(builder.table(fields), b"TFL3")


def _with_min_runtime(model: Model) -> dict[str, bytes]:
    version = min_runtime_version(
        operator for graph in model.subgraphs for operator in graph.operators
    )
    stored = version.encode().ljust(_MIN_RUNTIME_SIZE, b"\0")
    return {_MIN_RUNTIME_KEY: stored, **model.metadata}


def _buffers(builder: TableBuilder, constants: int) -> int:
    # Number 0 is the empty buffer of every computed tensor.
    empty = builder.table()
    return builder.offsets(
        [empty, *(builder.table([(0, "patched", 0, None)]) for _ in range(constants))]
    )


def _metadata(builder: TableBuilder, entries: Mapping[str, bytes], constants: Constants) -> int:
    tables: list[int] = []
    for name, data in entries.items():
        fields: list[Field] = [
            (0, "offset", builder.string(name), 0),
            (1, "uint32", constants.add_bytes(data), 0),
        ]
        tables.append(builder.table(fields))
    return builder.offsets(tables)


def _signature(builder: TableBuilder, model: Model) -> int:
    index = {id(tensor): number for number, tensor in enumerate(model.subgraphs[0].tensors())}

    def names(tensors: Mapping[str, Tensor]) -> int:
        return builder.offsets(
            [
                builder.table(
                    [
                        (0, "offset", builder.string(name), 0),
                        (1, "uint32", index[id(tensor)], 0),
                    ]
                )
                for name, tensor in tensors.items()
            ]
        )

    return builder.table(
        [
            (0, "offset", names(model.signature.inputs), 0),
            (1, "offset", names(model.signature.outputs), 0),
            (2, "offset", builder.string(SIGNATURE_KEY), 0),
            (4, "uint32", 0, 0),
        ]
    )


def _subgraph(
    builder: TableBuilder, graph: Subgraph, codes: _OperatorCodes, constants: Constants
) -> int:
    tensors = graph.tensors()
    index = {id(tensor): number for number, tensor in enumerate(tensors)}

    def numbers(mentioned: list[Tensor] | list[Tensor | None]) -> int:
        # -1 stands for an absent optional input.
        return builder.numbers(
            (-1 if tensor is None else index[id(tensor)] for tensor in mentioned), "int32"
        )

    operators = [
        _operator(builder, operator, codes.index(operator), numbers(operator.inputs), outputs)
        for operator in graph.operators
        for outputs in [numbers(operator.outputs)]
    ]
    return builder.table(
        [
            (0, "offset", builder.offsets([_tensor(builder, t, constants) for t in tensors]), 0),
            (1, "offset", numbers(graph.inputs), 0),
            (2, "offset", numbers(graph.outputs), 0),
            (3, "offset", builder.offsets(operators), 0),
            (4, "offset", builder.string(graph.name), 0),
        ]
    )


def _operator(
    builder: TableBuilder, operator: Operator, code: int, inputs: int, outputs: int
) -> int:
    schema = OPERATORS[operator.op]
    fields: list[Field] = [
        (0, "uint32", code, 0),
        (1, "offset", inputs, 0),
        (2, "offset", outputs, 0),
    ]
    if schema.options_type:
        options = _options(builder, operator.op, operator.options)
        fields += [(3, "uint8", schema.options_type, 0), (4, "offset", options, 0)]
    return builder.table(fields)


def _options(builder: TableBuilder, op: str, options: Mapping[str, Option]) -> int:
    fields: list[Field] = []
    for field in OPERATORS[op].fields:
        value = options.get(field.name)
        if field.kind == "int32_vector":
            if isinstance(value, tuple):
                fields.append((field.slot, "offset", builder.numbers(value, "int32"), 0))
        elif not isinstance(value, tuple):
            fields.append((field.slot, field.kind, value, field.default))
    return builder.table(fields)


def _tensor(builder: TableBuilder, tensor: Tensor, constants: Constants) -> int:
    return builder.table(
        [
            (0, "offset", builder.numbers(tensor.shape, "int32"), 0),
            (1, "int8", TENSOR_TYPES[tensor.dtype], 0),
            (2, "uint32", 0 if tensor.data is None else constants.add(tensor), 0),
            (3, "offset", builder.string(tensor.name), 0),
            (4, "offset", _quantization(builder, tensor), 0),
            (5, "bool", tensor.is_variable, 0),
            (8, "bool", True, 0),  # has_rank: an empty shape is a scalar, not an unknown
        ]
    )


def _quantization(builder: TableBuilder, tensor: Tensor) -> int | None:
    quantization = tensor.quantization
    if quantization is None:
        return None
    return builder.table(
        [
            (2, "offset", builder.numbers(quantization.scale, "float32"), 0),
            (3, "offset", builder.numbers(quantization.zero_point, "int64"), 0),
            (6, "int32", quantization.axis or 0, 0),
        ]
    )
