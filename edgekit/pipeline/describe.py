"""What is in a model file: its inputs, outputs, operators, size, and where it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from edgekit.errors import ModelFormatError, UsageError
from edgekit.graph import Graph
from edgekit.registry import unknown_name
from edgekit.tensor import DType, TensorSpec

_MAX_XML_BYTES = 256 << 20


@dataclass(frozen=True)
class Description:
    """One model file.

    Args:
        format: One of ``artifact.FORMATS``.
        inputs: As the file stores them.
        outputs: Likewise.
        operators: Operator to how many there are, most frequent first.
        nbytes: Size of the file and of its weights beside it.
        quantization: In words; ``"none"`` for a float model.
        provenance: Facts that the file tells of itself.
    """

    format: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Mapping[str, int]
    nbytes: int
    quantization: str
    provenance: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "format": self.format,
            "nbytes": self.nbytes,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "operators": dict(self.operators),
            "quantization": self.quantization,
            "provenance": dict(self.provenance),
        }


def describe(path: Path) -> Description:
    """Return what is in an ``.onnx``, ``.tflite`` or ``.xml`` file.

    Raises:
        UsageError: It is of another kind.
        ModelFormatError: It is not what its name says, or is truncated.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise UsageError(unknown_name(suffix or path.name, tuple(_READERS), kind="model file type"))
    return _READERS[suffix](path)


def _describe_onnx(path: Path) -> Description:
    from edgekit.converters.onnx_model import read_graph

    graph = read_graph(path)
    weights = sum(value.nbytes for value in graph.initializers.values())
    return Description(
        format="onnx",
        inputs=graph.inputs,
        outputs=graph.outputs,
        operators=_histogram(node.op_type for node in graph.nodes),
        nbytes=max(path.stat().st_size, weights),
        quantization=_onnx_quantization(graph),
        provenance={"name": graph.name, "opset": str(graph.opset), **graph.metadata},
    )


def _describe_tflite(path: Path) -> Description:
    from edgekit.runtimes.tflite_file import TFLiteTensor, read_tflite

    file = read_tflite(path)
    main = file.subgraphs[0]

    def specs(numbers: Iterable[int]) -> tuple[TensorSpec, ...]:
        return tuple(spec_of(main.tensors[number]) for number in numbers)

    def spec_of(tensor: TFLiteTensor) -> TensorSpec:
        dtype = tensor.dtype or DType.STRING
        return TensorSpec(tensor.name, dtype, tensor.shape, quantization=tensor.quantization)

    codes = Counter(
        tensor.dtype.value for tensor in main.tensors if tensor.quantization and tensor.dtype
    )
    return Description(
        format="tflite",
        inputs=specs(main.inputs),
        outputs=specs(main.outputs),
        operators=_histogram(op.name for graph in file.subgraphs for op in graph.operators),
        nbytes=file.nbytes,
        quantization=_in_words(codes),
        provenance={"description": file.description} if file.description else {},
    )


def _describe_openvino(path: Path) -> Description:
    root = _read_xml(path)
    layers = root.findall("layers/layer")
    weights = path.with_suffix(".bin")
    return Description(
        format="openvino",
        inputs=_xml_specs(layer for layer in layers if layer.get("type") == "Parameter"),
        outputs=_xml_specs(layer for layer in layers if layer.get("type") == "Result"),
        operators=_histogram(
            layer.get("type", "?")
            for layer in layers
            if layer.get("type") not in ("Const", "Parameter", "Result")
        ),
        nbytes=path.stat().st_size + (weights.stat().st_size if weights.is_file() else 0),
        quantization=_in_words(
            Counter("FakeQuantize" for layer in layers if layer.get("type") == "FakeQuantize")
        ),
        provenance={
            "name": root.get("name", ""),
            "ir version": root.get("version", ""),
            **{
                "/".join(names): value
                for names, value in _xml_facts(root.find("rt_info"))
                if value and len(value) <= 200
            },
        },
    )


_READERS = {".onnx": _describe_onnx, ".tflite": _describe_tflite, ".xml": _describe_openvino}


def _histogram(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _in_words(codes: Counter[str]) -> str:
    return ", ".join(f"{count} {code}" for code, count in codes.most_common()) or "none"


def _onnx_quantization(graph: Graph) -> str:
    names = (node.op_type for node in graph.nodes)
    return _in_words(Counter(name for name in names if "Quantize" in name or "QLinear" in name))


def _read_xml(path: Path) -> ElementTree.Element:
    if path.stat().st_size > _MAX_XML_BYTES:
        raise ModelFormatError(f"{path} is over {_MAX_XML_BYTES >> 20} MiB; no IR is that large")
    data = path.read_bytes()
    # Entities can blow a small file up to gigabytes; an IR never declares any.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ModelFormatError(f"{path} declares a document type; no OpenVINO IR does")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise ModelFormatError(f"{path} is not whole XML: {error}; copy it again") from error
    if root.tag != "net":
        raise ModelFormatError(f"{path} is XML with root <{root.tag}>, not an OpenVINO IR (<net>)")
    return root


_XML_DTYPES = {
    "f32": DType.FLOAT32, "f16": DType.FLOAT16, "f64": DType.FLOAT64, "bf16": DType.BFLOAT16,
    "i64": DType.INT64, "i32": DType.INT32, "i16": DType.INT16, "i8": DType.INT8,
    "u64": DType.UINT64, "u32": DType.UINT32, "u16": DType.UINT16, "u8": DType.UINT8,
    "boolean": DType.BOOL, "string": DType.STRING,
    "FP32": DType.FLOAT32, "FP16": DType.FLOAT16, "I64": DType.INT64, "I32": DType.INT32,
    "U8": DType.UINT8, "I8": DType.INT8,
}  # fmt: skip


def _xml_specs(layers: Iterable[ElementTree.Element]) -> tuple[TensorSpec, ...]:
    specs: list[TensorSpec] = []
    for layer in layers:
        port = layer.find("output/port")
        if port is None:
            port = layer.find("input/port")
        if port is None:
            raise ModelFormatError(f"layer {layer.get('name')!r} of the IR has no port")
        sizes = [int(dim.text or 0) for dim in port.findall("dim")]
        shape = tuple(size if size >= 0 else f"dim{axis}" for axis, size in enumerate(sizes))
        data = layer.find("data")
        declared = "" if data is None else data.get("element_type", "")
        dtype = _XML_DTYPES.get(port.get("precision", declared), DType.FLOAT32)
        names = port.get("names", "") or layer.get("output_names", "") or layer.get("name", "?")
        specs.append(TensorSpec(names.partition(",")[0], dtype, shape))
    return tuple(specs)


def _xml_facts(
    element: ElementTree.Element | None, above: tuple[str, ...] = ()
) -> Iterable[tuple[tuple[str, ...], str]]:
    for child in () if element is None else element:
        names = (*above, child.get("name", child.tag))
        if child.get("value") is not None:
            yield names, child.get("value", "")
        yield from _xml_facts(child, names)
