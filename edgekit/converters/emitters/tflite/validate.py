"""Check a TFLite model before it is written: the runtime's own messages name no place."""

from __future__ import annotations

from edgekit.converters.emitters.tflite.model import Model, Operator, Subgraph, Tensor
from edgekit.converters.emitters.tflite.schema import OPERATORS, TENSOR_TYPES, OptionField
from edgekit.errors import ModelError
from edgekit.tensor import DType

_MAX_INT32 = 2**31 - 1
_INT8_RANGE = (-128, 127)


def check_model(model: Model) -> None:
    """Refuse a model that no runtime would load.

    Raises:
        ModelError: What is wrong, where, and what was expected.
    """
    if not model.subgraphs:
        raise ModelError("the TFLite model has no subgraph; number 0 must be the main one")
    for graph in model.subgraphs:
        _check_subgraph(graph)
    main = model.subgraphs[0]
    _check_signature("input", model.signature.inputs, main.inputs)
    _check_signature("output", model.signature.outputs, main.outputs)


def _check_signature(kind: str, named: dict[str, Tensor], tensors: list[Tensor]) -> None:
    if {id(tensor) for tensor in named.values()} != {id(tensor) for tensor in tensors}:
        raise ModelError(
            f"the signature names the {kind}s {list(named)}, the main subgraph has "
            f"{[tensor.name for tensor in tensors]}; every {kind} needs a name"
        )


def _check_subgraph(graph: Subgraph) -> None:
    for tensor in graph.tensors():
        _check_tensor(tensor)
    known = {id(tensor) for tensor in graph.inputs}
    for operator in graph.operators:
        _check_options(operator)
        for tensor in filter(None, operator.inputs):
            _check_computed(tensor, known, f"{operator.op} of node {operator.source!r} reads")
        known.update(id(tensor) for tensor in operator.outputs)
    for tensor in graph.outputs:
        _check_computed(tensor, known, f"subgraph {graph.name!r} returns")


def _check_computed(tensor: Tensor, known: set[int], reader: str) -> None:
    if id(tensor) not in known and tensor.data is None and not tensor.is_variable:
        raise ModelError(
            f"{reader} tensor {tensor.name!r}, which nothing before it computes; order the "
            "operators, or give it data"
        )


def _check_tensor(tensor: Tensor) -> None:
    if tensor.dtype not in TENSOR_TYPES:
        raise ModelError(f"tensor {tensor.name!r} is {tensor.dtype.value}; TFLite has no such type")
    if not all(0 <= size <= _MAX_INT32 for size in tensor.shape):
        raise ModelError(
            f"tensor {tensor.name!r} has shape {tensor.shape}; sizes are 0 to {_MAX_INT32}: "
            "a dynamic size must be fixed first"
        )
    if tensor.data is not None:
        _check_data(tensor)
    quantization = tensor.quantization
    if quantization is None or quantization.axis is None:
        return
    axis, count = quantization.axis, len(quantization.scale)
    if not 0 <= axis < len(tensor.shape) or count not in (1, tensor.shape[axis]):
        raise ModelError(
            f"tensor {tensor.name!r} of shape {tensor.shape} has {count} scales along axis {axis}; "
            "one per slice of an existing axis is needed"
        )


def _check_data(tensor: Tensor) -> None:
    data = tensor.data
    if data is None:
        return
    if tensor.dtype is DType.STRING:
        raise ModelError(f"constant {tensor.name!r} holds strings; only numbers can be written")
    if data.shape != tensor.shape or data.dtype != tensor.dtype.to_numpy():
        raise ModelError(
            f"constant {tensor.name!r} holds {data.dtype} {data.shape}; it is declared "
            f"{tensor.dtype.value} {tensor.shape}"
        )


def _check_options(operator: Operator) -> None:
    schema = OPERATORS.get(operator.op)
    if schema is None:
        raise ModelError(
            f"node {operator.source!r} was lowered to {operator.op!r}, which is not in the table "
            "of operators; add it to schema.py"
        )
    fields = {field.name: field for field in schema.fields}
    for name, value in operator.options.items():
        field = fields.get(name)
        if field is None:
            raise ModelError(
                f"{operator.op} of node {operator.source!r} has option {name!r}; it takes "
                f"{', '.join(fields) or 'none'}"
            )
        if not _fits(field, value):
            raise ModelError(
                f"{operator.op} of node {operator.source!r} has {name}={value!r}; "
                f"the field is {field.kind}"
            )


def _fits(field: OptionField, value: object) -> bool:
    if field.kind == "int32_vector":
        return isinstance(value, tuple) and all(isinstance(item, int) for item in value)
    if field.kind == "float32":
        return isinstance(value, (int, float))
    if not isinstance(value, int):
        return False
    if field.kind == "bool":
        return value in (0, 1)
    low, high = _INT8_RANGE if field.kind == "int8" else (-_MAX_INT32 - 1, _MAX_INT32)
    return low <= value <= high
