"""``Graph`` to ONNX protobuf objects and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from edgekit.converters.onnx_wire import INLINE_BYTES, splice_weights
from edgekit.graph import Array, Attribute, Graph, Node
from edgekit.tensor import DType, TensorSpec

MAX_IR_VERSION = 10
"""Newest file format that every engine of the bundle's targets reads (ONNX 1.16)."""
MAX_PROTO_BYTES = 2**31 - 1
"""Protobuf's own limit for one message."""


@dataclass(frozen=True)
class ModelParts:
    """A model and its large weights apart.

    Args:
        model: onnx.ModelProto without the large weights.
        weights: The large weights, little-endian and contiguous, by name.
    """

    model: Any
    weights: dict[str, Array]


def parts_of(graph: Graph) -> ModelParts:
    """Return the graph as a ModelProto without its large weights, and these."""
    proto = _graph_proto(graph)
    weights: dict[str, Array] = {}
    for name, value in graph.initializers.items():
        if value.nbytes > INLINE_BYTES and _is_plain(value):
            weights[name] = value
        else:
            proto.initializer.append(tensor_of(name, value))
    model = helper.make_model(
        proto,
        producer_name="edgekit",
        opset_imports=[
            helper.make_opsetid(domain, version)
            for domain, version in {"": graph.opset, **graph.extra_opsets}.items()
        ],
    )
    model.ir_version = min(
        MAX_IR_VERSION,
        max(8, helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)),
    )
    if graph.metadata:
        helper.set_model_props(model, dict(graph.metadata))
    return ModelParts(model, weights)


def weights_as_inputs(parts: ModelParts) -> Any:
    """Return a small ModelProto that types its large weights as inputs.

    The checker, the shape inference and the version converter take it: all of them
    need the weights' types, none of them the values.
    """
    for name, value in parts.weights.items():
        info = helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        parts.model.graph.input.append(info)
    return parts.model


def chunks_of(graph: Graph) -> Iterator[bytes | memoryview]:
    """Yield the serialized model piece by piece; the large weights are not copied."""
    parts = parts_of(graph)
    body = parts.model.graph.SerializeToString()
    parts.model.ClearField("graph")
    weights = [(_head(name, value), _bytes_of(value)) for name, value in parts.weights.items()]
    yield from splice_weights(parts.model.SerializeToString(), body, weights)


def weight_bytes(graph: Graph) -> int:
    """Return how many bytes the constants take."""
    return sum(value.nbytes for value in graph.initializers.values())


def tensor_of(name: str, value: Array) -> Any:
    """Return an onnx.TensorProto of the value."""
    return numpy_helper.from_array(np.asarray(value), name)


def value_info_of(spec: TensorSpec) -> Any:
    """Return an onnx.ValueInfoProto of the spec."""
    return helper.make_tensor_value_info(spec.name, element_type(spec.dtype), spec.shape)


def element_type(dtype: DType) -> int:
    """Return ONNX's number of an element type."""
    if dtype is DType.STRING:
        return int(TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(dtype.to_numpy()))


def _graph_proto(graph: Graph) -> Any:
    outer = {*graph.input_names, *graph.output_names, *graph.initializers}
    made = {name for node in graph.nodes for name in node.outputs}
    infos = [
        value_info_of(spec)
        for name, spec in graph.values.items()
        if name in made and name not in outer
    ]
    return helper.make_graph(
        [_node_proto(node, graph) for node in graph.nodes],
        graph.name,
        [value_info_of(spec) for spec in graph.inputs],
        [value_info_of(spec) for spec in graph.outputs],
        value_info=infos,
    )


def _node_proto(node: Node, graph: Graph) -> Any:
    proto = helper.make_node(
        node.op_type, node.inputs, node.outputs, name=node.name, domain=node.domain or None
    )
    version = graph.extra_opsets.get(node.domain, 1) if node.domain else graph.opset
    kinds = _attribute_kinds(node.op_type, node.domain, version)
    for name, value in node.attributes.items():
        proto.attribute.append(_attribute_proto(name, value, kinds.get(name)))
    return proto


def _attribute_proto(name: str, value: Attribute, kind: int | None) -> Any:
    if isinstance(value, Graph):
        inner = _graph_proto(value)
        inner.initializer.extend(tensor_of(key, item) for key, item in value.initializers.items())
        return helper.make_attribute(name, inner)
    if isinstance(value, np.ndarray):
        return helper.make_attribute(name, tensor_of("", value))
    if isinstance(value, tuple) and not value:
        return helper.make_attribute(name, (), attr_type=kind or AttributeProto.INTS)
    if kind == AttributeProto.FLOAT and isinstance(value, int):
        value = float(value)
    return helper.make_attribute(name, value, attr_type=kind)


def _attribute_kinds(op_type: str, domain: str, version: int) -> dict[str, int]:
    """Return the attribute types by the operator's schema; empty for an unknown operator."""
    if not onnx.defs.has(op_type, version, domain):
        return {}
    schema = onnx.defs.get_schema(op_type, version, domain)
    return {name: int(item.type.value) for name, item in schema.attributes.items()}


def _is_plain(value: Array) -> bool:
    """Whether its ONNX raw data is its memory: whole bytes per element, no strings."""
    narrow = ("int4", "uint4", "float4_e2m1fn", "int2", "uint2")
    return (
        not value.dtype.hasobject
        and value.dtype.kind not in "SU"
        and value.dtype.name not in narrow
    )


def _head(name: str, value: Array) -> bytes:
    head = TensorProto()
    head.name = name
    head.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
    head.dims.extend(value.shape)
    data: bytes = head.SerializeToString()
    return data


def _bytes_of(value: Array) -> memoryview:
    flat = np.ascontiguousarray(value)
    if flat.dtype.byteorder == ">":
        flat = flat.astype(flat.dtype.newbyteorder("<"))
    return memoryview(flat.reshape(-1).view(np.uint8).data)
