"""Models of a few hundred bytes for the tests of the runtimes: sum = a + b, product = a * b.

One for each format, made by that format's own library; ``open_tiny`` opens it on a runtime.
Where there is no GPU, TensorRT is simulated (``simulated_session``): the test's id says so.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from edgekit.artifact import Artifact
from edgekit.preprocess import Preprocess
from edgekit.quantization import Quantization
from edgekit.runtimes import RUNTIME_FORMATS, RUNTIMES
from edgekit.runtimes.options import SessionOptions
from edgekit.runtimes.session import Session
from edgekit.runtimes.usable import NEEDS_GPU, why_unusable
from edgekit.tensor import Dim, DType, Layout, TensorSpec

SHAPE = (1, 3, 4, 5)
NCHW_TO_NHWC = (0, 2, 3, 1)


@dataclass(frozen=True)
class BytesFiles:
    """Files that lie in a zip: there is no path."""

    content: Mapping[str, bytes]

    def path(self, role: str) -> Path | None:
        return None

    def read(self, role: str) -> bytes:
        return self.content[role]


@dataclass(frozen=True)
class DiskFiles:
    folder: Path
    names: Mapping[str, str] = field(default_factory=dict)

    def path(self, role: str) -> Path | None:
        return self.folder / self.names[role]

    def read(self, role: str) -> bytes:
        return (self.folder / self.names[role]).read_bytes()


def logical_specs(names: tuple[str, ...], shape: tuple[Dim, ...] = SHAPE) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, DType.FLOAT32, shape, Layout.NCHW) for name in names)


def is_simulated(runtime: str) -> bool:
    """Return whether the runtime needs a GPU, and there is none."""
    return runtime in NEEDS_GPU and bool(why_unusable(runtime))


ALL_RUNTIMES = [
    pytest.param(name, id=f"{name}-simulated" if is_simulated(name) else name) for name in RUNTIMES
]
"""For ``parametrize``: every name of ``RUNTIMES``, whose id says where it is simulated."""


def require(runtime: str) -> type[Session]:
    """Return the backend, the simulated one, or skip with why it cannot run here."""
    if is_simulated(runtime):
        pytest.importorskip("onnxruntime", reason="the simulated TensorRT computes with it")
        from simulated_session import SimulatedTensorRtSession

        return SimulatedTensorRtSession
    reason = why_unusable(runtime)
    if reason:
        pytest.skip(f"{runtime}: {reason}")
    backend: type[Session] = RUNTIMES[runtime].load()
    return backend


def open_tiny(
    runtime: str,
    *,
    shape: tuple[Dim, ...] = SHAPE,
    is_permuted: bool = False,
    options: SessionOptions | None = None,
    preprocess: Mapping[str, Preprocess] | None = None,
    folder: Path | None = None,
) -> Session:
    """Open the tiny model on a runtime.

    Args:
        runtime: Name in RUNTIMES.
        shape: Logical shape of all four tensors.
        is_permuted: Whether the artifact stores them as NHWC.
        options: As for Session.open.
        preprocess: As for Session.open.
        folder: Where to write the files; None hands their bytes over.
    """
    backend = require(runtime)
    model_format = RUNTIME_FORMATS[runtime][0]
    if is_permuted and model_format == "tensorrt":
        pytest.skip("an artifact for TensorRT keeps the source's layout: none is permuted")
    stored = tuple(shape[axis] for axis in NCHW_TO_NHWC) if is_permuted else shape
    content = CONTENT[model_format](stored)
    inputs, outputs = logical_specs(("a", "b"), shape), logical_specs(("sum", "product"), shape)
    names = {role: f"tiny.{SUFFIX[model_format][role]}" for role in content}
    artifact = Artifact(model_format, "fp32", names, inputs, outputs)
    if model_format == "tensorrt":
        artifact = replace(artifact, recipe=tensorrt_recipe(shape))
        options = replace(options or SessionOptions(), cache_dir=_engines())
    if is_permuted:
        artifact = replace(artifact, inputs=_as_nhwc(inputs), outputs=_as_nhwc(outputs))
    files: BytesFiles | DiskFiles = BytesFiles(content)
    if folder is not None:
        for role, data in content.items():
            (folder / names[role]).write_bytes(data)
        files = DiskFiles(folder, names)
    return backend.open(
        artifact, files, inputs=inputs, outputs=outputs, options=options, preprocess=preprocess
    )


def _as_nhwc(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(
        replace(
            spec,
            shape=tuple(spec.shape[axis] for axis in NCHW_TO_NHWC),
            layout=Layout.NHWC,
            permutation=NCHW_TO_NHWC,
        )
        for spec in specs
        if spec.shape is not None
    )


def tensorrt_recipe(shape: tuple[Dim, ...] = SHAPE) -> dict[str, Any]:
    """Return a recipe for every release; dynamic sizes go from 1 to 8."""
    sizes = [[dim if isinstance(dim, int) else size for dim in shape] for size in (1, 2, 8)]
    is_static = all(isinstance(dim, int) for dim in shape)
    return {
        "builds": [
            {"tensorrt": ">=8.5", "file": "model", "builder_flags": [], "network_flags": []}
        ],
        "profiles": [] if is_static else [{"a": sizes, "b": sizes}],
    }


@lru_cache(maxsize=1)
def _engines() -> Path:
    """Return where engines of a real TensorRT are kept while the tests run."""
    folder = tempfile.TemporaryDirectory(prefix="edgekit-tests-engines-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def onnx_content(shape: tuple[Dim, ...]) -> dict[str, bytes]:
    """Return sum = a + b, product = a * b as ONNX."""
    from onnx import TensorProto, helper

    def info(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Mul", ["a", "b"], ["product"]),
    ]
    graph = helper.make_graph(nodes, "tiny", [info("a"), info("b")], [info("sum"), info("product")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return {"model": model.SerializeToString()}


def openvino_content(shape: tuple[Dim, ...]) -> dict[str, bytes]:
    """Return the ONNX model as OpenVINO IR."""
    import openvino as ov

    model = ov.Core().read_model(onnx_content(shape)["model"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.xml"
        ov.save_model(model, path, compress_to_fp16=False)
        return {"model": path.read_bytes(), "weights": path.with_suffix(".bin").read_bytes()}


def tflite_content(
    shape: tuple[Dim, ...], quantization: Quantization | None = None
) -> dict[str, bytes]:
    """Return sum = a + b, product = a * b as a flatbuffer, int8 where there is a quantization."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str) -> Any:
        item = schema.TensorT()
        item.name = name
        item.shape = [dim if isinstance(dim, int) else 1 for dim in shape]
        item.shapeSignature = [dim if isinstance(dim, int) else -1 for dim in shape]
        item.type = schema.TensorType.FLOAT32
        if quantization is not None:
            item.type = schema.TensorType.INT8
            item.quantization = schema.QuantizationParametersT()
            item.quantization.scale = list(quantization.scale)
            item.quantization.zeroPoint = list(quantization.zero_point)
        return item

    def operator(place: int, options: Any, kind: int) -> Any:
        item = schema.OperatorT()
        item.opcodeIndex = place
        item.inputs, item.outputs = [0, 1], [2 + place]
        item.builtinOptions, item.builtinOptionsType = options, kind
        return item

    def code(number: int) -> Any:
        item = schema.OperatorCodeT()
        item.builtinCode = item.deprecatedBuiltinCode = number
        return item

    graph = schema.SubGraphT()
    # Names of the file differ from the model's: the signature maps them.
    graph.tensors = [tensor(name) for name in ("file_a", "file_b", "file_sum", "file_product")]
    graph.inputs, graph.outputs = [0, 1], [2, 3]
    graph.operators = [
        operator(0, schema.AddOptionsT(), schema.BuiltinOptions.AddOptions),
        operator(1, schema.MulOptionsT(), schema.BuiltinOptions.MulOptions),
    ]
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [code(schema.BuiltinOperator.ADD), code(schema.BuiltinOperator.MUL)]
    model.subgraphs = [graph]
    model.buffers = [schema.BufferT()]
    model.signatureDefs = [_signature(schema)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return {"model": bytes(builder.Output())}


def _signature(schema: Any) -> Any:
    def entry(name: str, index: int) -> Any:
        item = schema.TensorMapT()
        item.name, item.tensorIndex = name, index
        return item

    item = schema.SignatureDefT()
    item.signatureKey = "serving_default"
    item.inputs = [entry("a", 0), entry("b", 1)]
    item.outputs = [entry("sum", 2), entry("product", 3)]
    return item


CONTENT = {
    "onnx": onnx_content,
    "openvino": openvino_content,
    "tflite": tflite_content,
    "tensorrt": onnx_content,
}
SUFFIX = {
    "onnx": {"model": "onnx"},
    "openvino": {"model": "xml", "weights": "bin"},
    "tflite": {"model": "tflite"},
    "tensorrt": {"model": "onnx"},
}
