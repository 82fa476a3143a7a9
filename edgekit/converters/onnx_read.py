"""ONNX protobuf objects to ``Graph``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from edgekit.errors import ModelFormatError, UnsupportedOperatorError
from edgekit.graph import Array, Attribute, Graph, Node
from edgekit.tensor import Dim, DType, TensorSpec

_PACKED = {TensorProto.INT4, TensorProto.UINT4} | {
    getattr(TensorProto, name)
    for name in ("FLOAT4E2M1", "INT2", "UINT2")
    if hasattr(TensorProto, name)
}


def graph_of(
    proto: Any,
    *,
    opsets: Mapping[str, int],
    weights: Mapping[str, Array] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Graph:
    """Return the Graph of a GraphProto.

    Args:
        proto: The onnx.GraphProto.
        opsets: Operator set versions by domain.
        weights: Constants that the proto does not hold.
        metadata: The model's metadata.

    Raises:
        ModelFormatError: An input is not a tensor, or a tensor is malformed.
    """
    constants: dict[str, Array] = {t.name: array_of(t) for t in proto.initializer}
    constants.update(weights or {})
    nodes: list[Node] = []
    names = {node.name for node in proto.node}
    given: set[str] = set()
    for index, item in enumerate(proto.node):
        node = _node_of(item, _unique_name(item, index, names, given), opsets)
        value = _constant(node)
        if value is None:
            nodes.append(node)
        else:
            constants[node.outputs[0]] = value
    inputs = tuple(_spec_of(info) for info in proto.input if info.name not in constants)
    outputs = tuple(_output_spec(info, constants) for info in proto.output)
    return Graph(
        name=proto.name or "model",
        nodes=tuple(nodes),
        inputs=inputs,
        outputs=outputs,
        initializers=constants,
        values=_values((*proto.value_info, *proto.input, *proto.output), constants),
        opset=opsets.get("", 1),
        extra_opsets={domain: version for domain, version in opsets.items() if domain},
        metadata=metadata or {},
    )


def array_of(tensor: Any) -> Array:
    """Return a TensorProto's values; read-only, without a copy where they are raw.

    Raises:
        ModelFormatError: Its size contradicts its data.
    """
    if tensor.HasField("raw_data") and tensor.data_type not in _PACKED:
        return raw_array(tensor, memoryview(tensor.raw_data))
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFormatError(f"tensor {tensor.name!r} is malformed: {error}") from error
    return array


def raw_array(tensor: Any, data: memoryview) -> Array:
    """Return the values whose little-endian bytes are given, as a view of them.

    Args:
        tensor: The onnx.TensorProto with the type and the sizes.
        data: Its bytes.

    Raises:
        ModelFormatError: The number of bytes is not what type and sizes need.
    """
    shape = tuple(tensor.dims)
    if tensor.data_type in _PACKED:
        copy = TensorProto()
        copy.CopyFrom(tensor)
        copy.ClearField("data_location")
        copy.raw_data = bytes(data)
        return array_of_packed(copy)
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, ValueError, TypeError) as error:
        raise ModelFormatError(
            f"tensor {tensor.name!r} has the unknown element type {tensor.data_type}"
        ) from error
    size = dtype.itemsize
    for dim in shape:
        size *= dim
    if dtype.hasobject or min(shape, default=0) < 0 or size != data.nbytes:
        raise ModelFormatError(
            f"tensor {tensor.name!r} of type {dtype} and shape {shape} needs {size} bytes and has "
            f"{data.nbytes}; the file is damaged, export the model again"
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def array_of_packed(tensor: Any) -> Array:
    """Return values of a type narrower than a byte."""
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise ModelFormatError(f"tensor {tensor.name!r} is malformed: {error}") from error
    return array


def _unique_name(proto: Any, index: int, names: set[str], given: set[str]) -> str:
    """Return the node's own name; a new one where it has none or shares it.

    Args:
        proto: The onnx.NodeProto.
        index: Its position.
        names: All names of the graph's nodes, and those given to nameless ones.
        given: Names of the nodes before it.
    """
    name = str(proto.name)
    if not name or name in given:
        name = f"{name or proto.op_type}_{index}"
        while name in names:
            name += "_"
        names.add(name)
    given.add(name)
    return name


def _node_of(proto: Any, name: str, opsets: Mapping[str, int]) -> Node:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    attributes = {
        item.name: _attribute(item, name, proto.op_type, opsets) for item in proto.attribute
    }
    return Node(
        proto.op_type, tuple(proto.input), tuple(proto.output), attributes, name=name, domain=domain
    )


def _attribute(proto: Any, node: str, op_type: str, opsets: Mapping[str, int]) -> Attribute:
    kind = proto.type
    if kind == AttributeProto.INT:
        return int(proto.i)
    if kind == AttributeProto.FLOAT:
        return float(proto.f)
    if kind == AttributeProto.STRING:
        return _text(proto.s)
    if kind == AttributeProto.INTS:
        return tuple(int(item) for item in proto.ints)
    if kind == AttributeProto.FLOATS:
        return tuple(float(item) for item in proto.floats)
    if kind == AttributeProto.STRINGS:
        return tuple(item.decode("utf-8", "replace") for item in proto.strings)
    if kind == AttributeProto.TENSOR:
        return array_of(proto.t)
    if kind == AttributeProto.GRAPH:
        return graph_of(proto.g, opsets=opsets)
    raise UnsupportedOperatorError(
        node=node,
        op_type=op_type,
        reason=f"attribute {proto.name!r} is of ONNX attribute type {kind}, "
        "which is not supported; export the model with dense tensors",
        target="edgekit",
    )


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _constant(node: Node) -> Array | None:
    """Return the value of a Constant node, None for any other."""
    if node.op_type != "Constant" or node.domain or len(node.attributes) != 1:
        return None
    (name, value), *_ = node.attributes.items()
    if name == "value" and isinstance(value, np.ndarray):
        return value
    if name in ("value_float", "value_floats"):
        return np.array(value, dtype=np.float32)
    if name in ("value_int", "value_ints"):
        return np.array(value, dtype=np.int64)
    if name in ("value_string", "value_strings"):
        return np.array(value, dtype=object)
    return None


def _spec_of(info: Any) -> TensorSpec:
    spec = _try_spec(info)
    if spec is None:
        kind = info.type.WhichOneof("value") or "nothing"
        raise ModelFormatError(
            f"input or output {info.name!r} is not a tensor of a supported type ({kind}); "
            "export the model with plain tensors as inputs and outputs"
        )
    return spec


def _output_spec(info: Any, constants: Mapping[str, Array]) -> TensorSpec:
    if info.name in constants:
        value = constants[info.name]
        return TensorSpec(info.name, DType.from_numpy(value.dtype), value.shape)
    return _spec_of(info)


def _values(infos: Iterable[Any], constants: Mapping[str, Array]) -> dict[str, TensorSpec]:
    specs = {info.name: _try_spec(info) for info in infos if info.name not in constants}
    return {name: spec for name, spec in specs.items() if spec is not None}


def _try_spec(info: Any) -> TensorSpec | None:
    if not info.type.HasField("tensor_type"):
        return None
    tensor = info.type.tensor_type
    try:
        dtype = DType.from_numpy(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
    except (KeyError, ValueError, TypeError):
        return None
    if not tensor.HasField("shape"):
        return TensorSpec(info.name, dtype, None)
    shape = tuple(_dim(dim, info.name, axis) for axis, dim in enumerate(tensor.shape.dim))
    return TensorSpec(info.name, dtype, shape)


def _dim(proto: Any, name: str, axis: int) -> Dim:
    if proto.HasField("dim_value") and proto.dim_value >= 0:
        return int(proto.dim_value)
    # Old exporters write a dynamic size as -1, as nothing, or as one "?" for all of them.
    named = str(proto.dim_param)
    return named if named.strip("? ") else f"{name}_dim{axis}"


def opsets_of(model: Any) -> dict[str, int]:
    """Return operator set versions by domain; standard ONNX is ``""``."""
    versions: dict[str, int] = {}
    for item in model.opset_import:
        domain = "" if item.domain == "ai.onnx" else item.domain
        versions[domain] = max(int(item.version), versions.get(domain, 0))
    return versions


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return the model's metadata_props."""
    return {item.key: item.value for item in model.metadata_props}
