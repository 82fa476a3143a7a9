"""Comparisons, logic, and selection by a condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgekit.converters.emitters.tflite.layout import stored_shape
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.ops.elementwise import (
    FLOATS,
    NUMBERS,
    binary,
    merge_axes,
    need_dtype,
    unary,
)
from edgekit.graph import Node
from edgekit.tensor import DType

BYTES = (DType.INT8, DType.UINT8)


def _compare(op: str) -> Callable[[Lowering, Node], None]:
    def lower(low: Lowering, node: Node) -> None:
        allowed = (*NUMBERS, *BYTES, *([DType.BOOL] if op == "EQUAL" else []))
        # Kernels read 8-bit integers as codes with a scale.
        through = DType.INT32 if need_dtype(low, node, allowed) in BYTES else None
        result = binary(low, node, op, dtype=DType.BOOL, through=through)
        low.bind(node.outputs[0], *result)

    return lower


def _logical(op: str) -> Callable[[Lowering, Node], None]:
    def lower(low: Lowering, node: Node) -> None:
        low.bind(node.outputs[0], *binary(low, node, op))

    return lower


def _where(low: Lowering, node: Node) -> None:
    need_dtype(low, node, (*NUMBERS, DType.BOOL), 1)
    shape = np.broadcast_shapes(*(low.shape(name) for name in node.inputs))
    order = low.preferred_order(node.inputs[1:], len(shape))
    if all(low.constant(name) is not None for name in node.inputs[1:]):
        order = low.preferred_order(node.inputs[:1], len(shape))
    operands = [low.broadcast_operand(name, order) for name in node.inputs]
    stored = stored_shape(shape, order)
    if len(shape) > 4:
        merged = merge_axes([operand.shape for operand in operands], stored)
        if max(map(len, merged)) > 4:
            low.refuse(node, f"broadcasts {[o.shape for o in operands]} over more than 4 axes")
        operands = [low.reshaped(t, s) for t, s in zip(operands, merged, strict=True)]
        result = low.emit(
            "SELECT_V2", operands, np.broadcast_shapes(*merged), dtype=operands[1].dtype
        )
    else:
        result = low.emit("SELECT_V2", operands, stored, dtype=operands[1].dtype)
    low.bind(node.outputs[0], low.reshaped(result, stored), order)


def _xor(low: Lowering, node: Node) -> None:
    low.bind(node.outputs[0], *binary(low, node, "NOT_EQUAL", dtype=DType.BOOL))


def _is_nan(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    operands = [value.tensor, value.tensor]
    result = low.emit("NOT_EQUAL", operands, value.tensor.shape, dtype=DType.BOOL)
    low.bind(node.outputs[0], result, value.permutation)


def _is_inf(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    value = low.value(node.inputs[0])
    above, below = node.attribute("detect_positive", 1), node.attribute("detect_negative", 1)
    if not above and not below:
        low.refuse(node, "it detects neither infinity")
    tensor = value.tensor
    if above and below:
        tensor = low.emit("ABS", [tensor], tensor.shape)
    end = np.array(np.inf if above else -np.inf, np.float32)
    result = low.emit("EQUAL", [tensor, end], tensor.shape, dtype=DType.BOOL)
    low.bind(node.outputs[0], result, value.permutation)


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "Equal": _compare("EQUAL"),
    "Less": _compare("LESS"),
    "LessOrEqual": _compare("LESS_EQUAL"),
    "Greater": _compare("GREATER"),
    "GreaterOrEqual": _compare("GREATER_EQUAL"),
    "And": _logical("LOGICAL_AND"),
    "Or": _logical("LOGICAL_OR"),
    "Xor": _xor,
    "Not": unary("LOGICAL_NOT", allowed=(DType.BOOL,)),
    "IsNaN": _is_nan,
    "IsInf": _is_inf,
    "Where": _where,
}
