"""Matrix products: Gemm, MatMul, Einsum of two operands."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from edgekit.converters.emitters.tflite.layout import identity
from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.activation import same_shape
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, need_dtype
from edgekit.graph import Array, Node

# BATCH_MATMUL's kernels take up to five axes. Source: LiteRT 2.3 kernels/batch_matmul.cc.
MAX_BATCH_MATMUL_RANK = 5


def fully_connected(
    low: Lowering, tensor: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Emit x (..., K) times weight (O, K) transposed, plus bias (O,)."""
    shape = (*tensor.shape[:-1], weight.shape[0])
    options = {"keep_num_dims": len(tensor.shape) != 2}
    return low.emit("FULLY_CONNECTED", [tensor, weight, bias], shape, options)


def _gemm(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    left = low.read(node.inputs[0], (1, 0) if node.attribute("transA", 0) else (0, 1))
    swapped = not node.attribute("transB", 0)
    weight = _scaled_weight(low, node, alpha, swapped=swapped)
    if weight is None:
        weight = low.read(node.inputs[1], (1, 0) if swapped else (0, 1))
        if alpha != 1.0:
            left = same_shape(low, "MUL", left, float(alpha))
    addend = low.constant(node.input(2)) if node.input(2) else None
    outputs = weight.shape[0]
    if addend is not None and addend.size == outputs and addend.shape[-1:] == (outputs,):
        bias = low.constant_tensor(addend.reshape(-1) * np.float32(beta), name=node.input(2))
        low.bind(node.outputs[0], fully_connected(low, left, weight, bias))
        return
    result = fully_connected(low, left, weight)
    if node.input(2):
        other = low.broadcast_operand(node.input(2), (0, 1))
        if beta != 1.0:
            other = same_shape(low, "MUL", other, float(beta))
        result = low.emit("ADD", [result, other], result.shape)
    low.bind(node.outputs[0], result)


def _scaled_weight(low: Lowering, node: Node, alpha: float, *, swapped: bool) -> Tensor | None:
    array = low.constant(node.inputs[1])
    if array is None:
        return None
    if alpha == 1.0:
        return low.read(node.inputs[1], (1, 0) if swapped else (0, 1))
    scaled: Array = (array.T if swapped else array) * np.float32(alpha)
    return low.constant_tensor(scaled, name=node.inputs[1])


def _matmul(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    left, right = node.inputs[:2]
    weight = low.constant(right)
    if weight is not None and weight.ndim == 2:
        _linear(low, node)
        return
    shapes = [low.shape(left), low.shape(right)]
    vectors = [len(shape) == 1 for shape in shapes]
    rank = max(2, *map(len, shapes))
    if rank > MAX_BATCH_MATMUL_RANK:
        low.refuse(node, f"its operands have {rank} axes; BATCH_MATMUL takes 5")
    first, adj_x = _matrix(low, left, rank, column=False)
    second, adj_y = _matrix(low, right, rank, column=True)
    batch = np.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    rows = first.shape[-1] if adj_x else first.shape[-2]
    columns = second.shape[-2] if adj_y else second.shape[-1]
    options = {"adj_x": adj_x, "adj_y": adj_y}
    shape: tuple[int, ...] = (*batch, rows, columns)
    result = low.emit("BATCH_MATMUL", [first, second], shape, options)
    if any(vectors):
        shape = (*batch, *(() if vectors[0] else (rows,)), *(() if vectors[1] else (columns,)))
        result = low.reshaped(result, shape)
    low.bind(node.outputs[0], result)


def _matrix(low: Lowering, name: str, rank: int, *, column: bool) -> tuple[Tensor, bool]:
    """Return an operand with its two matrix axes last, and whether they are exchanged."""
    own = low.rank(name)
    if own == 1:
        tensor = low.read(name)
        shape = (*tensor.shape, 1) if column else (1, *tensor.shape)
        return low.reshaped(tensor, (1,) * (rank - 2) + shape), False
    swapped = (*range(own - 2), own - 1, own - 2)
    is_swapped = low.constant(name) is None and low.value(name).permutation == swapped
    tensor = low.read(name, swapped if is_swapped else identity(own))
    return low.reshaped(tensor, (1,) * (rank - own) + tensor.shape), is_swapped


def _linear(low: Lowering, node: Node) -> None:
    """Multiply by a constant matrix: a FULLY_CONNECTED over the last axis."""
    data = node.inputs[0]
    value = low.value(data)
    order = value.permutation
    if order[-1] != value.rank - 1:
        order = (*(axis for axis in order if axis != value.rank - 1), value.rank - 1)
    tensor = low.read(data, order)
    weight = low.read(node.inputs[1], (1, 0))
    vector = value.rank == 1
    if vector:
        tensor = low.reshaped(tensor, (1, *tensor.shape))
    result = fully_connected(low, tensor, weight)
    low.bind(node.outputs[0], low.reshaped(result, result.shape[1:]) if vector else result, order)


def _einsum(low: Lowering, node: Node) -> None:
    """Lower an Einsum of two operands that is a batched matrix product."""
    need_dtype(low, node, FLOATS)
    equation = node.attribute("equation", "").replace(" ", "")
    left, _, out = equation.partition("->")
    terms = left.split(",")
    letters_ok = "." not in equation and all(len(set(term)) == len(term) for term in terms)
    if len(terms) != 2 or not out or not letters_ok:
        low.refuse(node, f"equation {equation!r}; two operands and an explicit output are needed")
    first, second = terms
    batch = [c for c in out if c in first and c in second]
    contracted = [c for c in first if c in second and c not in out]
    rows = [c for c in first if c not in second]
    columns = [c for c in second if c not in first]
    if set(out) != {*batch, *rows, *columns}:
        low.refuse(node, f"equation {equation!r} sums an axis of one operand alone")
    size = dict(zip(first, low.shape(node.inputs[0]), strict=True))
    size.update(zip(second, low.shape(node.inputs[1]), strict=True))
    operands = []
    for name, term, groups in (
        (node.inputs[0], first, (batch, rows, contracted)),
        (node.inputs[1], second, (batch, contracted, columns)),
    ):
        order = [term.index(c) for group in groups for c in group]
        merged = [math.prod(size[c] for c in group) for group in groups]
        operands.append(low.reshaped(low.read(name, order), merged))
    shape = (operands[0].shape[0], operands[0].shape[1], operands[1].shape[2])
    result = low.emit("BATCH_MATMUL", operands, shape)
    have = [*batch, *rows, *columns]
    result = low.reshaped(result, [size[c] for c in have])
    low.bind(node.outputs[0], result, [out.index(c) for c in have])


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
}
