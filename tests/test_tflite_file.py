"""The reader: what the writer wrote comes back, and no file can do worse than be refused."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_models import doubling_loop, int8_conv_model

from edgekit.converters.emitters.tflite.writer import model_to_bytes, write_model
from edgekit.errors import ModelFormatError
from edgekit.quantization import Quantization
from edgekit.runtimes.tflite_file import TFLiteFile, read_tflite
from edgekit.tensor import DType

LOOP = model_to_bytes(doubling_loop())
INT8 = model_to_bytes(
    int8_conv_model(np.ones((4, 3, 3, 3), np.int8), np.arange(4, dtype=np.int32)),
    files={"labels.txt": b"a\nb\n"},
)


def read_or_refuse(data: bytes) -> TFLiteFile | None:
    try:
        return read_tflite(data)
    except ModelFormatError:
        return None


def test_tensors_come_back_with_type_shape_quantization_and_size() -> None:
    image, weight, bias, features = read_tflite(INT8).subgraphs[0].tensors

    assert (image.name, image.shape, image.dtype) == ("image", (1, 8, 8, 3), DType.INT8)
    assert image.nbytes is None
    assert weight.nbytes == 4 * 3 * 3 * 3
    assert bias.dtype is DType.INT32
    assert features.quantization == Quantization((float(np.float32(0.3)),), (-10,))
    assert weight.quantization is not None
    assert weight.quantization.axis == 0
    np.testing.assert_allclose(weight.quantization.scale, (0.01, 0.02, 0.03, 0.04), rtol=1e-6)


def test_operators_come_back_with_name_version_and_tensor_numbers() -> None:
    (conv,) = read_tflite(INT8).subgraphs[0].operators

    # Version 3 is the int8 CONV_2D of the published table.
    assert (conv.name, conv.version, conv.inputs, conv.outputs) == ("CONV_2D", 3, (0, 1, 2), (3,))


def test_subgraphs_signature_and_metadata_come_back() -> None:
    file = read_tflite(LOOP)

    assert [graph.name for graph in file.subgraphs] == ["main", "cond", "body"]
    assert [[op.name for op in graph.operators] for graph in file.subgraphs] == [
        ["WHILE"],
        ["LESS"],
        ["ADD", "MUL"],
    ]
    (signature,) = file.signatures
    assert signature.key == "serving_default"
    assert dict(signature.inputs) == {"count": 0, "value": 1}
    assert dict(signature.outputs) == {"count": 2, "value": 3}
    assert file.metadata == (("min_runtime_version", 16),)


def test_a_file_is_read_as_its_bytes_are(tmp_path: Path) -> None:
    path = tmp_path / "loop.tflite"
    write_model(doubling_loop(), path)

    assert read_tflite(path) == read_tflite(LOOP)


@pytest.mark.parametrize("data", [LOOP, INT8], ids=["loop", "int8"])
def test_reader_agrees_with_the_runtime_on_every_tensor(data: bytes) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert, the oracle")
    interpreter = litert.Interpreter(
        model_content=data,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    details = interpreter.get_tensor_details()

    tensors = read_tflite(data).subgraphs[0].tensors

    assert [tensor.name for tensor in tensors] == [detail["name"] for detail in details]
    assert [tensor.shape for tensor in tensors] == [tuple(d["shape"]) for d in details]
    for tensor, detail in zip(tensors, details, strict=True):
        scales = detail["quantization_parameters"]["scales"]
        assert (tensor.quantization.scale if tensor.quantization else ()) == tuple(scales)


def test_every_truncation_is_refused_or_read_alike() -> None:
    data = LOOP
    whole = read_tflite(data)

    for length in range(len(data)):
        file = read_or_refuse(data[:length])

        assert file is None or file.subgraphs == whole.subgraphs


@settings(max_examples=400, deadline=2000)
@given(
    base=st.sampled_from([LOOP, INT8]),
    changes=st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_changed_bytes_are_refused_cleanly(base: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(base)
    for position, value in changes:
        data[position % len(data)] = value

    read_or_refuse(bytes(data))


@settings(max_examples=200, deadline=2000)
@given(
    position=st.integers(0, 1023),
    number=st.sampled_from([0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFC, 1 << 20]),
)
def test_changed_words_are_refused_cleanly(position: int, number: int) -> None:
    data = bytearray(LOOP)
    struct.pack_into("<I", data, position * 4 % (len(data) - 4), number)

    read_or_refuse(bytes(data))


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_identifier_are_refused_cleanly(tail: bytes) -> None:
    read_or_refuse(b"\x08\0\0\0TFL3" + tail)


def test_shared_table_repeated_without_end_exceeds_the_budget() -> None:
    # A vector of 300,000 buffers that are all the same empty table behind the vector.
    items = 300_000
    vtable = struct.pack("<HH5H", 14, 8, 0, 0, 0, 0, 4)
    table_at = 8 + len(vtable) + 2
    data = struct.pack("<I", table_at) + b"TFL3" + vtable + b"\0\0"
    data += struct.pack("<iI", len(vtable) + 2, 4) + struct.pack("<I", items)
    vector_at = len(data)
    shared = vector_at + 4 * items + 4
    data += b"".join(struct.pack("<I", shared - (vector_at + 4 * i)) for i in range(items))
    data += struct.pack("<HH", 4, 4) + struct.pack("<i", 4)

    with pytest.raises(ModelFormatError, match="describes more than any real model"):
        read_tflite(data)


def test_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "loop.tflite"
    path.write_bytes(LOOP[:300])

    with pytest.raises(ModelFormatError, match=r"loop\.tflite: .*300 bytes; it is truncated"):
        read_tflite(path)


def test_other_format_is_named_by_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x07\x12\x04onnx")

    with pytest.raises(ModelFormatError, match=r"model\.onnx.*b'onnx'.*b'TFL3'"):
        read_tflite(path)


def test_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.tflite"
    path.touch()

    with pytest.raises(ModelFormatError, match="is empty"):
        read_tflite(path)


def test_reading_needs_neither_flatbuffers_nor_the_converter() -> None:
    code = (
        "import sys, edgekit.runtimes.tflite_file; "
        "print([name for name in sys.modules if name == 'flatbuffers' or 'converters' in name])"
    )

    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert output.stdout.strip() == "[]"
