"""Operators that work element by element: arithmetic, functions of one number, casts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.converters.emitters.tflite.layout import stored_shape
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.graph import Node
from edgekit.tensor import DType

FLOATS = (DType.FLOAT32,)
NUMBERS = (DType.FLOAT32, DType.INT32, DType.INT64)
# Kernels of these operators broadcast over six axes; all others over four.
# Source: LiteRT 2.3 kernels/internal/reference (BroadcastAdd6D, BroadcastMul6D, ...).
WIDE_BROADCAST = frozenset({"ADD", "SUB", "MUL", "DIV"})


def need_dtype(low: Lowering, node: Node, allowed: Sequence[DType], index: int = 0) -> DType:
    """Return the dtype of an input that must be one of ``allowed``, or refuse the node."""
    dtype = low.dtype(node.input(index))
    if dtype not in allowed:
        names = ", ".join(item.value for item in allowed)
        low.refuse(node, f"input {index} is {dtype.value}; the TFLite kernel takes {names}")
    return dtype


def binary(
    low: Lowering,
    node: Node,
    op: str,
    *,
    dtype: DType | None = None,
    through: DType | None = None,
) -> tuple[Tensor, tuple[int, ...]]:
    """Emit a broadcasting operator on two ONNX tensors.

    Args:
        low: The lowering.
        node: Its first two inputs are the operands.
        op: TFLite operator.
        dtype: Of the result; by default that of the operands.
        through: What the operands are cast to first.

    Returns:
        The output tensor and the permutation in which it holds the result.
    """
    left, right = node.inputs[:2]
    shape = np.broadcast_shapes(low.shape(left), low.shape(right))
    order = low.preferred_order((left, right), len(shape))
    operands = [low.broadcast_operand(name, order) for name in (left, right)]
    if through is not None:
        operands = [cast(low, operand, through) for operand in operands]
    return broadcast(low, op, operands, stored_shape(shape, order), dtype=dtype), order


def broadcast(
    low: Lowering,
    op: str,
    operands: Sequence[Tensor],
    shape: Sequence[int],
    *,
    dtype: DType | None = None,
) -> Tensor:
    """Emit a broadcasting operator on stored tensors, merging axes its kernel cannot take."""
    limit = 6 if op in WIDE_BROADCAST else 4
    same = all(operand.shape == tuple(shape) for operand in operands)
    if len(shape) <= limit or same:
        return low.emit(op, operands, shape, dtype=dtype)
    merged = merge_axes([operand.shape for operand in operands], shape)
    narrow = [low.reshaped(t, s) for t, s in zip(operands, merged, strict=True)]
    result = low.emit(op, narrow, np.broadcast_shapes(*merged), dtype=dtype)
    return low.reshaped(result, shape)


def merge_axes(shapes: Sequence[Sequence[int]], shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Merge neighbouring axes that every operand either has whole or broadcasts."""
    rank = len(shape)
    padded = [(1,) * (rank - len(item)) + tuple(item) for item in shapes]
    groups: list[list[int]] = []
    pattern: tuple[bool, ...] | None = None
    for axis in range(rank):
        if shape[axis] == 1:
            continue
        kind = tuple(item[axis] == 1 for item in padded)
        if kind != pattern:
            groups.append([])
            pattern = kind
        groups[-1].append(axis)
    return [tuple(math.prod(item[axis] for axis in group) for group in groups) for item in padded]


def _arithmetic(op: str, allowed: Sequence[DType] = NUMBERS) -> Callable[[Lowering, Node], None]:
    def lower(low: Lowering, node: Node) -> None:
        need_dtype(low, node, allowed)
        low.bind(node.outputs[0], *binary(low, node, op))

    return lower


def _variadic(op: str, *, mean: bool = False) -> Callable[[Lowering, Node], None]:
    def lower(low: Lowering, node: Node) -> None:
        need_dtype(low, node, NUMBERS if not mean else FLOATS)
        shape = np.broadcast_shapes(*(low.shape(name) for name in node.inputs))
        order = low.preferred_order(node.inputs, len(shape))
        operands = [low.broadcast_operand(name, order) for name in node.inputs]
        total = operands[0]
        for operand in operands[1:]:
            partial = np.broadcast_shapes(total.shape, operand.shape)
            total = broadcast(low, op, [total, operand], partial)
        if mean:
            count = np.array(1.0 / len(operands), np.float32)
            total = low.emit("MUL", [total, count], total.shape)
        bind_copy(low, node, total, order)

    return lower


def bind_copy(low: Lowering, node: Node, tensor: Tensor, order: Sequence[int]) -> None:
    """Bind the node's output to a tensor that may be its own input, padded to full rank."""
    rank = len(order)
    shape = (1,) * (rank - len(tensor.shape)) + tensor.shape
    low.bind(node.outputs[0], low.reshaped(tensor, shape), order)


def unary(
    op: str, *, non_negative: bool = False, allowed: Sequence[DType] = FLOATS
) -> Callable[[Lowering, Node], None]:
    """Return the lowering of an operator that maps each element alone."""

    def lower(low: Lowering, node: Node) -> None:
        need_dtype(low, node, allowed)
        value = low.value(node.inputs[0])
        result = low.emit(op, [value.tensor], value.tensor.shape)
        low.bind(node.outputs[0], result, value.permutation, is_non_negative=non_negative)

    return lower


def _pow(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    need_dtype(low, node, FLOATS, 1)
    exponent = low.constant(node.inputs[1])
    if exponent is not None and exponent.size == 1:
        value = low.value(node.inputs[0])
        operator = {2.0: "SQUARE", 0.5: "SQRT"}.get(float(exponent.reshape(())))
        if operator is not None and exponent.ndim <= value.rank:
            result = low.emit(operator, [value.tensor], value.tensor.shape)
            low.bind(node.outputs[0], result, value.permutation, is_non_negative=True)
            return
    low.bind(node.outputs[0], *binary(low, node, "POW"))


def _reciprocal(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    one = np.array(1.0, np.float32)
    low.bind(
        node.outputs[0],
        low.emit("DIV", [one, value.tensor], value.tensor.shape),
        value.permutation,
    )


def _mod(low: Lowering, node: Node) -> None:
    if node.attribute("fmod", 0):
        low.refuse(node, "fmod=1 (sign of the dividend) has no TFLite kernel")
    need_dtype(low, node, (DType.INT32, DType.INT64))
    low.bind(node.outputs[0], *binary(low, node, "FLOOR_MOD"))


def _div(low: Lowering, node: Node) -> None:
    if need_dtype(low, node, NUMBERS) is DType.INT64:
        low.refuse(node, "TFLite divides float32 and int32 only, not int64")
    low.bind(node.outputs[0], *binary(low, node, "DIV"))


def cast(low: Lowering, tensor: Tensor, dtype: DType) -> Tensor:
    """Return the tensor in another dtype."""
    if tensor.dtype is dtype:
        return tensor
    if tensor.data is not None:
        return low.constant_tensor(tensor.data.astype(dtype.to_numpy()), name=tensor.name)
    return low.emit("CAST", [tensor], tensor.shape, dtype=dtype)


_CASTABLE = (DType.FLOAT32, DType.INT32, DType.INT64, DType.UINT8, DType.INT8, DType.BOOL)


def _cast(low: Lowering, node: Node) -> None:
    source = need_dtype(low, node, _CASTABLE)
    spec = low.graph.values.get(node.outputs[0])
    if spec is None or spec.dtype not in _CASTABLE:
        wanted = "an unknown type" if spec is None else spec.dtype.value
        low.refuse(node, f"a cast to {wanted} has no TFLite kernel")
    value = low.value(node.inputs[0])
    tensor = value.tensor
    if spec.dtype is DType.BOOL:
        zero = np.zeros((), source.to_numpy())
        tensor = low.emit("NOT_EQUAL", [tensor, zero], tensor.shape, dtype=DType.BOOL)
    elif spec.dtype in (DType.UINT8, DType.INT8) and source.is_float:
        # Out-of-range floats wrap in one engine and saturate in another; go through int32.
        tensor = cast(low, cast(low, tensor, DType.INT32), spec.dtype)
    else:
        tensor = cast(low, tensor, spec.dtype)
    keeps_sign = value.is_non_negative or source in (DType.UINT8, DType.BOOL)
    low.bind(node.outputs[0], tensor, value.permutation, is_non_negative=keeps_sign)


def _identity(low: Lowering, node: Node) -> None:
    value = low.value(node.inputs[0])
    low.bind(
        node.outputs[0], value.tensor, value.permutation, is_non_negative=value.is_non_negative
    )
    if len(node.outputs) > 1 and node.outputs[1] in low.consumers:
        low.refuse(node, "the mask output of Dropout is not lowered")


def _dropout(low: Lowering, node: Node) -> None:
    training = low.constant(node.input(2))
    if node.input(2) and (training is None or bool(training.reshape(()))):
        low.refuse(node, "training_mode is not a constant false; export the model for inference")
    if len(node.outputs) > 1 and node.outputs[1] in low.graph.output_names:
        low.refuse(node, "the mask output of Dropout is not lowered")
    _identity(low, node)


def _sign(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    low.bind(
        node.outputs[0],
        low.emit("SIGN", [value.tensor], value.tensor.shape),
        value.permutation,
    )


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "Add": _arithmetic("ADD"),
    "Sub": _arithmetic("SUB"),
    "Mul": _arithmetic("MUL"),
    "Div": _div,
    "Sum": _variadic("ADD"),
    "Mean": _variadic("ADD", mean=True),
    "Max": _variadic("MAXIMUM"),
    "Min": _variadic("MINIMUM"),
    "Pow": _pow,
    "Mod": _mod,
    "Reciprocal": _reciprocal,
    "Abs": unary("ABS", non_negative=True),
    "Neg": unary("NEG"),
    "Exp": unary("EXP", non_negative=True),
    "Log": unary("LOG"),
    "Sqrt": unary("SQRT", non_negative=True),
    "Floor": unary("FLOOR"),
    "Ceil": unary("CEIL"),
    "Round": unary("ROUND"),
    "Sin": unary("SIN"),
    "Cos": unary("COS"),
    "Sign": _sign,
    "Cast": _cast,
    "CastLike": _cast,
    "Identity": _identity,
    "Dropout": _dropout,
}
