"""Which code each TFLite tensor has, and which operators compute in integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edgekit.converters.emitters.tflite.kernels import KERNELS
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.quantization import Quantization
from edgekit.tensor import DType


def operand_places(operator: Operator) -> tuple[int, ...]:
    """Return the inputs that its int8 kernel takes as activations, by index."""
    kernel = KERNELS[operator.op]
    if kernel.operands is None:
        return tuple(range(len(operator.inputs)))
    return kernel.operands


def _operands(operator: Operator) -> list[Tensor]:
    tensors = (operator.inputs[place] for place in operand_places(operator))
    return [tensor for tensor in tensors if tensor is not None and tensor.data is None]


def spread_codes(
    operators: Sequence[Operator], codes: Mapping[int, Quantization]
) -> dict[int, Quantization]:
    """Give a code to the unnamed tensors that only move elements of a coded one.

    Args:
        operators: In execution order.
        codes: By identity of the tensor, for those that ONNX names.

    Returns:
        The codes, more of them.
    """
    known = dict(codes)
    moving = [op for op in operators if op.op in KERNELS and KERNELS[op.op].shares_code]
    for operator in moving:
        sources = [known[id(t)] for t in _operands(operator) if id(t) in known]
        for output in operator.outputs:
            if sources:
                known.setdefault(id(output), sources[0])
    for operator in reversed(moving):
        results = [known[id(t)] for t in operator.outputs if id(t) in known]
        for tensor in _operands(operator):
            if results:
                known.setdefault(id(tensor), results[0])
    return known


def choose_integer(
    operators: Sequence[Operator],
    codes: Mapping[int, Quantization],
    float_sources: Collection[str],
) -> set[int]:
    """Return the identities of the operators that will compute in integers.

    Args:
        operators: In execution order.
        codes: By identity of the tensor.
        float_sources: Names of ONNX nodes that were left in float on purpose.
    """
    chosen = {id(op) for op in operators if _can_be_integer(op, codes, float_sources)}
    _leave_movers_in_float(operators, chosen)
    return chosen


def _can_be_integer(
    operator: Operator, codes: Mapping[int, Quantization], float_sources: Collection[str]
) -> bool:
    kernel = KERNELS.get(operator.op)
    if kernel is None or operator.source in float_sources:
        return False
    for tensor in (*_operands(operator), *operator.outputs):
        if tensor.dtype is DType.FLOAT32 and id(tensor) not in codes:
            return False
    operands = _operands(operator)
    if not operands or any(tensor.dtype is not DType.FLOAT32 for tensor in operands):
        return False
    for place in (kernel.weight, kernel.bias):
        if place is None or place >= len(operator.inputs):
            continue
        tensor = operator.inputs[place]
        if tensor is not None and tensor.data is None:
            return False
    return True


def _leave_movers_in_float(operators: Sequence[Operator], chosen: set[int]) -> None:
    """Take out operators that only move data between two float ones."""
    producer = {id(tensor): op for op in operators for tensor in op.outputs}
    readers: dict[int, list[Operator]] = {}
    for operator in operators:
        for tensor in operator.inputs:
            if tensor is not None:
                readers.setdefault(id(tensor), []).append(operator)
    changed = True
    while changed:
        changed = False
        for operator in operators:
            if id(operator) not in chosen or not KERNELS[operator.op].moves_data:
                continue
            makers = [producer.get(id(tensor)) for tensor in _operands(operator)]
            users = [user for tensor in operator.outputs for user in readers.get(id(tensor), [])]
            made = any(maker is not None and id(maker) in chosen for maker in makers)
            used = any(id(user) in chosen for user in users)
            if not made and not used:
                chosen.discard(id(operator))
                changed = True
