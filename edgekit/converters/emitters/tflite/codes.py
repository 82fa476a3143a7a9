"""Which code each TFLite tensor has, and which operators compute in integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edgekit.converters.emitters.tflite.kernels import (
    KERNELS,
    code_of_range,
    real_range,
)
from edgekit.converters.emitters.tflite.model import Operator, Option, Tensor
from edgekit.converters.emitters.tflite.schema import Activation
from edgekit.quantization import Quantization
from edgekit.quantized import Code
from edgekit.tensor import DType

COARSE_CLASSES = 8
# They keep every element, so that their result's code fits what they read.
_KEEPS_ALL = frozenset(
    {
        "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS", "MIRROR_PAD", "PACK",
        "PAD", "PADV2", "RESHAPE", "REVERSE_V2", "SPACE_TO_DEPTH", "SQUEEZE", "TILE", "TRANSPOSE",
    }
)  # fmt: skip
_BOUNDED: dict[Option, Quantization] = {
    Activation.RELU6: code_of_range(0.0, 6.0),
    Activation.RELU_N1_TO_1: code_of_range(-1.0, 1.0),
}


def to_unsigned(code: Quantization) -> Quantization:
    """Return the uint8 code of the same real values."""
    return Quantization(code.scale, tuple(point + 128 for point in code.zero_point), code.axis)


def signed(code: Code) -> Quantization:
    """Return the int8 form of an activation's code."""
    if code.dtype is not DType.UINT8:
        return code.quantization
    points = tuple(point - 128 for point in code.quantization.zero_point)
    return Quantization(code.quantization.scale, points, code.quantization.axis)


def operand_places(operator: Operator) -> tuple[int, ...]:
    """Return the inputs that its int8 kernel takes as activations, by index."""
    kernel = KERNELS[operator.op]
    if kernel.operands is None:
        return tuple(range(len(operator.inputs)))
    return kernel.operands


def computed_operands(operator: Operator) -> list[Tensor]:
    """Return the activations that its int8 kernel takes, without constants."""
    tensors = (operator.inputs[place] for place in operand_places(operator))
    return [tensor for tensor in tensors if tensor is not None and tensor.data is None]


def spread_codes(
    operators: Sequence[Operator], codes: Mapping[int, Quantization]
) -> dict[int, Quantization]:
    """Give a code to tensors that ONNX has no name for, where their values' range is certain.

    They only move elements of a coded tensor, or scale or shift them by a constant, or their
    kernel bounds them.

    Args:
        operators: In execution order.
        codes: By identity of the tensor, for those that ONNX names.

    Returns:
        The codes, more of them.
    """
    known = dict(codes)
    for operator in operators:
        if operator.op not in KERNELS:
            continue
        sources = [known[id(t)] for t in computed_operands(operator) if id(t) in known]
        code = _certain_code(operator, sources)
        for output in operator.outputs:
            if code is not None and output.dtype is DType.FLOAT32:
                known.setdefault(id(output), code)
    for operator in reversed([op for op in operators if op.op in _KEEPS_ALL]):
        results = [known[id(t)] for t in operator.outputs if id(t) in known]
        for source in computed_operands(operator):
            if results:
                known.setdefault(id(source), results[0])
    return known


def _certain_code(operator: Operator, sources: Sequence[Quantization]) -> Quantization | None:
    """Return the code that the output has for certain, its operands having ``sources``."""
    kernel = KERNELS[operator.op]
    if not sources:
        return None
    if kernel.fixed is not None:
        return kernel.fixed
    if kernel.shares_code:
        return _shared_code(operator, sources)
    activation = operator.options.get("fused_activation_function", Activation.NONE)
    if activation:
        return _BOUNDED.get(activation)
    return _shifted_or_scaled(operator, sources[0])


def _shared_code(operator: Operator, sources: Sequence[Quantization]) -> Quantization | None:
    """Return the one code that holds every operand; None where one is unknown."""
    if len(sources) < len(computed_operands(operator)):
        return None
    constants = [operator.inputs[place] for place in operand_places(operator)]
    values = [t.data for t in constants if t is not None and t.data is not None]
    # A pool is padded with the lowest float, which saturates.
    if len(set(sources)) == 1 and (not values or operator.op == "PADV2"):
        return sources[0]
    ranges = [real_range(source) for source in sources]
    ranges += [(float(value.min()), float(value.max())) for value in values if value.size]
    return code_of_range(min(low for low, _ in ranges), max(high for _, high in ranges))


def _shifted_or_scaled(operator: Operator, source: Quantization) -> Quantization | None:
    """Return the code of a coded tensor plus or times one constant number."""
    if operator.op not in ("ADD", "MUL") or len(computed_operands(operator)) != 1:
        return None
    constant = next(t.data for t in operator.inputs if t is not None and t.data is not None)
    if constant.size != 1:
        return None
    number = float(constant.reshape(()))
    low, high = real_range(source)
    ends = (low + number, high + number) if operator.op == "ADD" else (low * number, high * number)
    return code_of_range(min(ends), max(ends))


def choose_integer(
    operators: Sequence[Operator],
    codes: Mapping[int, Quantization],
    float_sources: Collection[str],
    *,
    float_outputs: Collection[int] = (),
    integer_borders: Collection[int] = (),
) -> set[int]:
    """Return the identities of the operators that will compute in integers.

    Args:
        operators: In execution order.
        codes: By identity of the tensor.
        float_sources: Names of ONNX nodes that were left in float on purpose.
        float_outputs: Identities of graph outputs that are handed over in float.
        integer_borders: Of graph inputs and outputs that are handed over in integers.
    """
    chosen = {id(op) for op in operators if _can_be_integer(op, codes, float_sources)}
    chosen -= _coarse_ends(operators, chosen, float_outputs)
    _leave_movers_in_float(operators, chosen, integer_borders)
    return chosen


def _can_be_integer(
    operator: Operator, codes: Mapping[int, Quantization], float_sources: Collection[str]
) -> bool:
    kernel = KERNELS.get(operator.op)
    if kernel is None or operator.source in float_sources:
        return False
    operands = computed_operands(operator)
    for tensor in (*operands, *operator.outputs):
        if tensor.dtype is DType.FLOAT32 and id(tensor) not in codes:
            return False
    if not operands or any(tensor.dtype is not DType.FLOAT32 for tensor in operands):
        return False
    places = [p for p in (kernel.weight, kernel.bias) if p is not None and p < len(operator.inputs)]
    constants = [operator.inputs[place] for place in places]
    return all(constant is None or constant.data is not None for constant in constants)


def _coarse_ends(
    operators: Sequence[Operator], chosen: Collection[int], float_outputs: Collection[int]
) -> set[int]:
    """Return the fixed-code operators at the very end, whose results only leave as floats.

    A DEQUANTIZE stands there in any case. In front of a Softmax of 1,000 classes it keeps the
    probabilities below 1/512, which the fixed code rounds to 0; and XNNPACK takes the float
    Softmax, not the int8 one (measured, LiteRT 2.3).
    """
    readers = readers_of(operators)
    leaving: set[int] = set()
    found: set[int] = set()
    for operator in reversed(operators):
        for output in operator.outputs:
            users = readers.get(id(output), [])
            if all(_passes_on(user, chosen, leaving) for user in users) and (
                users or id(output) in float_outputs
            ):
                leaving.add(id(output))
        if id(operator) not in chosen or not _is_coarse(operator):
            continue
        if leaving.issuperset(map(id, operator.outputs)):
            found.add(id(operator))
    return found


def _is_coarse(operator: Operator) -> bool:
    """Whether a fixed code loses what the operator's values tell.

    Among few classes 1/256 is fine, and the int8 kernel is the faster one: 4,420 rows of 2
    take 0.1 ms less than in float.
    """
    if operator.op == "SOFTMAX":
        return operator.outputs[0].shape[-1] >= COARSE_CLASSES
    return KERNELS[operator.op].fixed is not None


def _passes_on(user: Operator, chosen: Collection[int], leaving: Collection[int]) -> bool:
    """Whether a reader computes in float, or only moves what leaves as float then."""
    if id(user) not in chosen:
        return True
    return KERNELS[user.op].moves_data and all(id(output) in leaving for output in user.outputs)


def readers_of(operators: Sequence[Operator]) -> dict[int, list[Operator]]:
    """Return the operators that read each tensor, by its identity."""
    readers: dict[int, list[Operator]] = {}
    for operator in operators:
        for tensor in operator.inputs:
            if tensor is not None:
                readers.setdefault(id(tensor), []).append(operator)
    return readers


def _leave_movers_in_float(
    operators: Sequence[Operator], chosen: set[int], integer_borders: Collection[int]
) -> None:
    """Take out operators that only move data between two float ones."""
    producer = {id(tensor): op for op in operators for tensor in op.outputs}
    readers = readers_of(operators)
    changed = True
    while changed:
        changed = False
        for operator in operators:
            if id(operator) not in chosen or not KERNELS[operator.op].moves_data:
                continue
            sources = computed_operands(operator)
            makers = [producer.get(id(tensor)) for tensor in sources]
            users = [user for tensor in operator.outputs for user in readers.get(id(tensor), [])]
            borders = integer_borders and {id(t) for t in (*sources, *operator.outputs)}
            joined = (
                any(maker is not None and id(maker) in chosen for maker in makers)
                or any(id(user) in chosen for user in users)
                or any(border in integer_borders for border in borders)
            )
            if not joined:
                chosen.discard(id(operator))
                changed = True
