"""Comparisons, logic, and selection by a condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgekit.converters.emitters.tflite.layout import stored_shape
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.ops.elementwise import (
    NUMBERS,
    binary,
    merge_axes,
    need_dtype,
    unary,
)
from edgekit.graph import Node
from edgekit.tensor import DType


def _compare(op: str) -> Callable[[Lowering, Node], None]:
    def lower(low: Lowering, node: Node) -> None:
        allowed = (*NUMBERS, DType.BOOL) if op in ("EQUAL", "NOT_EQUAL") else NUMBERS
        need_dtype(low, node, allowed)
        low.bind(node.outputs[0], *binary(low, node, op, dtype=DType.BOOL))

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
    "Where": _where,
}
