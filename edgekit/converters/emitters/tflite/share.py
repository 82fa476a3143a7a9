"""Compute once what two operators compute alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgekit.converters.emitters.tflite.model import Operator, Tensor

# A constant up to this size is compared by content, a larger one by identity.
SMALL_BYTES = 1 << 12


def share(operators: Sequence[Operator], outputs: Iterable[Tensor]) -> list[Operator]:
    """Return the operators without those that repeat an earlier one on the same inputs.

    Two convolutions and a pool on one padded picture then share the padding.

    Args:
        operators: In execution order; inputs are changed in place.
        outputs: The graph's outputs; what makes one of them stays.
    """
    kept: list[Operator] = []
    first: dict[tuple[Any, ...], Operator] = {}
    renamed: dict[int, Tensor] = {}
    public = {id(tensor) for tensor in outputs}
    for operator in operators:
        operator.inputs = [
            tensor if tensor is None else renamed.get(id(tensor), tensor)
            for tensor in operator.inputs
        ]
        key = _key(operator)
        earlier = first.setdefault(key, operator)
        if earlier is operator or public.intersection(map(id, operator.outputs)):
            kept.append(operator)
            continue
        for mine, theirs in zip(operator.outputs, earlier.outputs, strict=True):
            renamed[id(mine)] = theirs
    return kept


def _key(operator: Operator) -> tuple[Any, ...]:
    inputs = tuple(None if tensor is None else _input_key(tensor) for tensor in operator.inputs)
    shapes = tuple((tensor.shape, tensor.dtype) for tensor in operator.outputs)
    return operator.op, inputs, shapes, tuple(sorted(operator.options.items()))


def _input_key(tensor: Tensor) -> tuple[Any, ...]:
    if tensor.data is None or tensor.data.nbytes > SMALL_BYTES:
        return (id(tensor),)
    return tensor.shape, tensor.dtype, tensor.data.tobytes()
