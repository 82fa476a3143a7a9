"""Peepholes on the finished operator list: fused activations and biases, dead operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.converters.emitters.tflite.schema import Activation
from edgekit.tensor import DType

ACTIVATIONS = {
    "RELU": Activation.RELU,
    "RELU6": Activation.RELU6,
    "RELU_N1_TO_1": Activation.RELU_N1_TO_1,
}
# CONCATENATION has the option too, but its kernel ignores it.
CAN_FUSE_ACTIVATION = frozenset(
    {
        "ADD", "AVERAGE_POOL_2D", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "DIV",
        "FULLY_CONNECTED", "MAX_POOL_2D", "MUL", "SUB",
    }
)  # fmt: skip


def fuse(operators: Sequence[Operator], outputs: Sequence[Tensor]) -> list[Operator]:
    """Return the operators with biases and activations fused and dead ones dropped.

    Args:
        operators: In execution order; changed in place where they are fused.
        outputs: The graph's outputs, which must stay.
    """
    alive = drop_dead(operators, outputs)
    return fuse_activations(fuse_biases(alive, outputs), outputs)


def drop_dead(operators: Sequence[Operator], outputs: Iterable[Tensor]) -> list[Operator]:
    """Return the operators whose results are used."""
    wanted = {id(tensor) for tensor in outputs}
    kept = []
    for operator in reversed(operators):
        if any(id(tensor) in wanted for tensor in operator.outputs):
            kept.append(operator)
            wanted.update(id(tensor) for tensor in operator.inputs if tensor is not None)
    return kept[::-1]


def _uses(operators: Iterable[Operator], outputs: Iterable[Tensor]) -> Counter[int]:
    uses = Counter(id(t) for operator in operators for t in operator.inputs if t is not None)
    uses.update(id(tensor) for tensor in outputs)
    return uses


def fuse_activations(operators: Sequence[Operator], outputs: Sequence[Tensor]) -> list[Operator]:
    """Fuse an activation into the operator that alone feeds it."""
    uses = _uses(operators, outputs)
    producer: dict[int, Operator] = {}
    kept = []
    for operator in operators:
        activation = ACTIVATIONS.get(operator.op)
        before = producer.get(id(operator.inputs[0])) if activation is not None else None
        if (
            before is not None
            and activation is not None
            and before.op in CAN_FUSE_ACTIVATION
            and uses[id(operator.inputs[0])] == 1
            and before.outputs[0].dtype is DType.FLOAT32
            and not before.options.get("fused_activation_function")
        ):
            before.options["fused_activation_function"] = int(activation)
            before.outputs = operator.outputs
            producer[id(operator.outputs[0])] = before
            continue
        kept.append(operator)
        for tensor in operator.outputs:
            producer[id(tensor)] = operator
    return kept


def fuse_biases(operators: Sequence[Operator], outputs: Sequence[Tensor]) -> list[Operator]:
    """Turn an ADD of a constant vector behind a FULLY_CONNECTED without bias into its bias."""
    uses = _uses(operators, outputs)
    producer: dict[int, Operator] = {}
    kept = []
    for operator in operators:
        found = _bias_of(operator, producer, uses) if operator.op == "ADD" else None
        if found is not None:
            before, bias = found
            before.inputs[2] = bias
            before.outputs = operator.outputs
            producer[id(operator.outputs[0])] = before
            continue
        kept.append(operator)
        for tensor in operator.outputs:
            producer[id(tensor)] = operator
    return kept


def _bias_of(
    operator: Operator, producer: dict[int, Operator], uses: Counter[int]
) -> tuple[Operator, Tensor] | None:
    for product, addend in (operator.inputs, operator.inputs[::-1]):
        if product is None or addend is None or addend.data is None:
            continue
        before = producer.get(id(product))
        if before is None or before.op != "FULLY_CONNECTED" or before.inputs[2] is not None:
            continue
        count = product.shape[-1]
        is_vector = addend.data.size == count and addend.shape[-1:] == (count,)
        if is_vector and uses[id(product)] == 1 and product.shape == operator.outputs[0].shape:
            data = np.ascontiguousarray(addend.data.reshape(-1))
            return before, Tensor(addend.name, data.shape, addend.dtype, data)
    return None


def store_half(operators: Sequence[Operator], *, smallest: int = 32) -> list[Operator]:
    """Return the operators with float32 constants stored as float16 behind a DEQUANTIZE.

    Args:
        operators: In execution order; their inputs are changed in place.
        smallest: Constants with fewer elements stay float32; they save nothing.

    Source: LiteRT post-training float16 quantization; XNNPACK unpacks such weights once.
    """
    unpacked: dict[int, Tensor] = {}
    added = []
    for operator in operators:
        for place, tensor in enumerate(operator.inputs):
            if tensor is None or tensor.data is None or tensor.dtype is not DType.FLOAT32:
                continue
            if tensor.data.size < smallest:
                continue
            if id(tensor) not in unpacked:
                half = Tensor(
                    f"{tensor.name}/half", tensor.shape, DType.FLOAT16, to_half(tensor.data)
                )
                whole = Tensor(tensor.name, tensor.shape, DType.FLOAT32)
                added.append(Operator("DEQUANTIZE", [half], [whole], {}, operator.source))
                unpacked[id(tensor)] = whole
            operator.inputs[place] = unpacked[id(tensor)]
    return [*added, *operators]


def to_half(data: NDArray[Any]) -> NDArray[np.float16]:
    """Return float16 values, those beyond its range at its ends (±65504)."""
    limit = float(np.finfo(np.float16).max)
    return np.asarray(np.clip(data, -limit, limit), np.float16)
