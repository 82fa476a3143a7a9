"""ONNX files and ``Graph``: reading, checking, upgrading, writing.

This file and its parts ``onnx_read`` and ``onnx_write`` are the only ones that import
onnx. Large weights never pass through protobuf: they are views of the mapped file on
the way in and are written from their arrays on the way out.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import inliner, shape_inference, version_converter

from edgekit.converters.onnx_check import (
    HUB_OPSET,
    NATIVE_ERRORS,
    check_model,
    check_operators,
    check_opsets,
    first_lines,
)
from edgekit.converters.onnx_external import ExternalFiles, read_buffer
from edgekit.converters.onnx_read import array_of, graph_of, metadata_of, opsets_of, raw_array
from edgekit.converters.onnx_schema import is_function
from edgekit.converters.onnx_wire import WireError, cut_weights
from edgekit.converters.onnx_write import (
    MAX_PROTO_BYTES,
    chunks_of,
    parts_of,
    weight_bytes,
    weights_as_inputs,
)
from edgekit.errors import ModelFormatError, ShapeError
from edgekit.graph import Array, Graph
from edgekit.tensor import Dim, TensorSpec

logger = logging.getLogger(__name__)


def read_graph(path: Path) -> Graph:
    """Read an ONNX file: check it, raise it to opset 18 or later, infer its shapes.

    Args:
        path: The file; weights in files beside it are found there.

    Raises:
        ModelFormatError: It is not a whole, valid ONNX model within the limits.
        UnsupportedOperatorError: It uses an operator that is not standard ONNX.
    """
    buffer = read_buffer(path)
    return _read(buffer, source=str(path), files=ExternalFiles(path.parent))


def graph_from_bytes(data: bytes) -> Graph:
    """Read a serialized ONNX model as ``read_graph`` does."""
    return _read(memoryview(data), source="the model", files=ExternalFiles(None))


def graph_to_bytes(graph: Graph) -> bytes:
    """Return the graph as a serialized ONNX model.

    Raises:
        ModelFormatError: It does not fit into one protobuf message (2 GiB).
    """
    _check_size(graph)
    return b"".join(chunks_of(graph))


def write_graph(graph: Graph, path: Path) -> None:
    """Write the graph as an ONNX file; the old file, if any, is replaced at once.

    Raises:
        ModelFormatError: It does not fit into one protobuf message (2 GiB).
    """
    _check_size(graph)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks_of(graph):
                file.write(chunk)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def infer_shapes(graph: Graph) -> Graph:
    """Return the graph with the types of all tensors inferred anew from its inputs.

    Raises:
        ShapeError: Shapes contradict each other; the node is named.
    """
    # What the graph says of intermediate tensors may be stale; only the inputs are facts.
    bare = replace(graph, values={}, outputs=tuple(spec.with_shape(None) for spec in graph.outputs))
    model = _infer(weights_as_inputs(parts_of(bare)), source=graph.name)
    inferred = graph_of(model.graph, opsets=opsets_of(model), weights=graph.initializers)
    outputs = tuple(
        _merged(new, old) for new, old in zip(inferred.outputs, graph.outputs, strict=True)
    )
    values = {**inferred.values, **{spec.name: spec for spec in (*graph.inputs, *outputs)}}
    return replace(graph, nodes=inferred.nodes, values=values, outputs=outputs)


def check_graph(graph: Graph) -> None:
    """Run onnx's checker over the graph.

    Raises:
        ModelFormatError: It is not valid ONNX.
        UnsupportedOperatorError: An operator is not standard ONNX.
    """
    model = weights_as_inputs(parts_of(graph))
    check_operators(model.graph, opsets_of(model))
    check_model(model, source=graph.name)


def _read(buffer: memoryview, *, source: str, files: ExternalFiles) -> Graph:
    try:
        return _read_model(buffer, source=source, files=files)
    except NATIVE_ERRORS as error:
        # Protobuf lets malformed strings and numbers through; they fail where they are used.
        raise ModelFormatError(f"{source} is damaged: {first_lines(error)}") from error


def _read_model(buffer: memoryview, *, source: str, files: ExternalFiles) -> Graph:
    model, raw = _parse(buffer, source)
    weights = _take_weights(model, raw, files)
    # Before IR 4 every initializer is an input too; EdgeKit's graphs hold them apart.
    inputs = [item for item in model.graph.input if item.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    # Exporters leave wrong types of intermediate tensors behind; they are inferred again.
    del model.graph.value_info[:]
    model.ir_version = max(model.ir_version, 8)
    check_opsets(opsets_of(model), source)
    check_operators(model.graph, opsets_of(model))
    large = _with_inputs(model, weights)
    check_model(model, source=source)
    model = _upgrade(model, source)
    graph = graph_of(
        model.graph, opsets=opsets_of(model), weights=large, metadata=metadata_of(model)
    )
    return infer_shapes(graph)


def _parse(buffer: memoryview, source: str) -> tuple[Any, dict[int, memoryview]]:
    if len(buffer) == 0:
        raise ModelFormatError(f"{source} is empty; export or download it again")
    try:
        skeleton = cut_weights(buffer)
        model = onnx.ModelProto.FromString(skeleton.model)
    except (WireError, DecodeError) as error:
        raise ModelFormatError(
            f"{source} is not a whole ONNX file ({error}); it is truncated or of another format"
        ) from error
    if not model.HasField("graph") or not model.opset_import or not model.graph.output:
        raise ModelFormatError(
            f"{source} holds no ONNX model (no graph with outputs and an operator set version)"
        )
    if model.graph.sparse_initializer or model.training_info:
        raise ModelFormatError(
            f"{source} holds sparse weights or a training graph; export it for inference, dense"
        )
    if model.functions:
        try:
            model = inliner.inline_local_functions(model)
        except NATIVE_ERRORS as error:
            raise ModelFormatError(f"{source}: its functions cannot be inlined: {error}") from error
    return model, skeleton.weights


def _take_weights(model: Any, raw: dict[int, memoryview], files: ExternalFiles) -> dict[str, Array]:
    """Return all initializers as arrays; the model keeps none."""
    weights: dict[str, Array] = {}
    for index, tensor in enumerate(model.graph.initializer):
        if tensor.name in weights:
            raise ModelFormatError(f"two initializers are named {tensor.name!r}; names are unique")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {item.key: item.value for item in tensor.external_data}
            weights[tensor.name] = raw_array(tensor, files.read(tensor.name, entries))
        elif index in raw:
            weights[tensor.name] = raw_array(tensor, raw[index])
        else:
            weights[tensor.name] = array_of(tensor)
    del model.graph.initializer[:]
    return weights


def _with_inputs(model: Any, weights: dict[str, Array]) -> dict[str, Array]:
    """Give the model its small weights back and type the large ones as inputs; return these."""
    parts = parts_of(Graph("weights", (), (), (), initializers=weights, values={}, opset=HUB_OPSET))
    model.graph.initializer.extend(parts.model.graph.initializer)
    model.graph.input.extend(weights_as_inputs(parts).graph.input)
    return parts.weights


def _upgrade(model: Any, source: str) -> Any:
    version = opsets_of(model).get("", HUB_OPSET)
    if version >= HUB_OPSET:
        return model
    logger.info("raising %s from opset %d to %d", source, version, HUB_OPSET)
    try:
        # Some adapters (Softmax-13) read shapes, so these come first; declared ones may be wrong.
        upgraded = version_converter.convert_version(
            _infer(model, source=source, is_strict=False), HUB_OPSET
        )
    except (version_converter.ConvertError, *NATIVE_ERRORS) as error:
        raise ModelFormatError(
            f"{source} cannot be raised from opset {version} to {HUB_OPSET}: "
            f"{first_lines(error)}; export it with opset {HUB_OPSET}"
        ) from error
    del upgraded.graph.value_info[:]
    check_model(upgraded, source=f"{source}, raised to opset {HUB_OPSET},")
    return upgraded


def _infer(model: Any, *, source: str, is_strict: bool = True) -> Any:
    try:
        return shape_inference.infer_shapes(model, strict_mode=is_strict, data_prop=True)
    except (shape_inference.InferenceError, *NATIVE_ERRORS) as error:
        found = re.search(r"op_type:(\w+)", str(error))
        # Within operators that are functions, onnx's own bodies fail (MeanVarianceNormalization
        # in 1.23): that says nothing about the model.
        if found is None or not is_function(found.group(1)):
            raise ShapeError(
                f"the shapes of {source} do not fit together: {first_lines(error)}; "
                "check --shape, or export the model again"
            ) from error
    return shape_inference.infer_shapes(model, data_prop=True)


def _merged(inferred: TensorSpec, declared: TensorSpec) -> TensorSpec:
    """Return the inferred output type with the model's own names of dynamic sizes."""
    if inferred.shape is None:
        return declared
    if declared.shape is None or len(declared.shape) != len(inferred.shape):
        return inferred
    dims: Iterable[Dim] = (
        old if isinstance(new, str) and (isinstance(old, int) or new.startswith("unk__")) else new
        for new, old in zip(inferred.shape, declared.shape, strict=True)
    )
    return inferred.with_shape(tuple(dims))


def _check_size(graph: Graph) -> None:
    size = weight_bytes(graph)
    if size > MAX_PROTO_BYTES - (64 << 20):
        raise ModelFormatError(
            f"the weights take {size / 2**30:.1f} GiB; one ONNX file holds less than 2 GiB; "
            "quantize or split the model"
        )
