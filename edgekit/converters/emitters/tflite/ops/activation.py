"""Activations; the cheap ones are fused into their producer later (``fuse.py``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgekit.converters.emitters.tflite.lowering import Lowering
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, NUMBERS, need_dtype, unary
from edgekit.converters.emitters.tflite.value import Value
from edgekit.graph import Array, Node
from edgekit.tensor import DType

# Clip ranges that TFLite can fuse into the operator before.
FUSABLE_RANGES = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, np.inf): "RELU"}


def _float_value(low: Lowering, node: Node) -> Value:
    need_dtype(low, node, FLOATS)
    return low.value(node.inputs[0])


def _scalar(value: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(value, np.float32)


def same_shape(low: Lowering, op: str, *operands: Tensor | float, **options: float) -> Tensor:
    """Emit an operator whose operands are one full tensor and scalars or equal tensors."""
    tensors = [_scalar(item) if isinstance(item, float) else item for item in operands]
    shape = next(item.shape for item in operands if isinstance(item, Tensor))
    return low.emit(op, tensors, shape, options)


def clamp(low: Lowering, tensor: Tensor, lowest: float, highest: float) -> Tensor:
    """Return the tensor limited to a range, by the cheapest operator."""
    lowest = min(lowest, highest)  # ONNX: where min is above max, everything is max
    operator = FUSABLE_RANGES.get((lowest, highest))
    if operator is not None:
        return same_shape(low, operator, tensor)
    if highest != np.inf:
        tensor = same_shape(low, "MINIMUM", tensor, float(highest))
    if lowest == 0.0:
        return same_shape(low, "RELU", tensor)
    if lowest != -np.inf:
        tensor = same_shape(low, "MAXIMUM", tensor, float(lowest))
    return tensor


def _clip(low: Lowering, node: Node) -> None:
    dtype = need_dtype(low, node, NUMBERS)
    value = low.value(node.inputs[0])
    bounds: list[Array | None] = []
    for index, name in ((1, "min"), (2, "max")):
        if name in node.attributes:
            bounds.append(np.array(node.attribute(name, 0.0), np.float32))
        elif node.input(index):
            bounds.append(low.need_constant(node, index, f"{name} of Clip").reshape(()))
        else:
            bounds.append(None)
    lowest, highest = bounds
    tensor = value.tensor
    if dtype.is_float:
        ends = [end if bound is None else float(bound) for bound, end in
                ((lowest, -np.inf), (highest, np.inf))]  # fmt: skip
        tensor = clamp(low, tensor, ends[0], ends[1])
    else:
        if lowest is not None:
            tensor = low.emit("MAXIMUM", [tensor, lowest], tensor.shape)
        if highest is not None:
            tensor = low.emit("MINIMUM", [tensor, highest], tensor.shape)
    positive = value.is_non_negative or bool(lowest is not None and lowest >= 0)
    positive = positive and (highest is None or bool(highest >= 0))
    low.bind(node.outputs[0], tensor, value.permutation, is_non_negative=positive)


def _hard_sigmoid(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    tensor = hard_sigmoid(
        low, value.tensor, node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    )
    low.bind(node.outputs[0], tensor, value.permutation, is_non_negative=True)


def hard_sigmoid(low: Lowering, tensor: Tensor, alpha: float, beta: float) -> Tensor:
    """Return max(0, min(1, alpha * x + beta)), as relu6(6 alpha x + 6 beta) / 6."""
    if abs(alpha - 1 / 6) > 1e-6:
        tensor = same_shape(low, "MUL", tensor, 6 * alpha)
    shifted = same_shape(low, "ADD", tensor, 6 * beta)
    return same_shape(low, "MUL", same_shape(low, "RELU6", shifted), 1 / 6)


def _leaky_relu(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    alpha = node.attribute("alpha", 0.01)
    tensor = same_shape(low, "LEAKY_RELU", value.tensor, alpha=alpha)
    low.bind(node.outputs[0], tensor, value.permutation)


def _prelu(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    slope = low.broadcast_operand(node.inputs[1], value.permutation)
    channels = value.tensor.shape[-1:]
    if len(slope.shape) > 1 or slope.data is None or value.rank > 4:
        # The kernel wants one slope per channel; anything else from its definition.
        zero = same_shape(low, "RELU", value.tensor)
        below = same_shape(low, "SUB", value.tensor, zero)
        scaled = low.emit("MUL", [below, slope], value.tensor.shape)
        tensor = same_shape(low, "ADD", zero, scaled)
    else:
        full = np.broadcast_to(slope.data, (1,) * max(value.rank - 2, 0) + channels)
        slope = low.constant_tensor(np.ascontiguousarray(full), name=slope.name)
        tensor = low.emit("PRELU", [value.tensor, slope], value.tensor.shape)
    low.bind(node.outputs[0], tensor, value.permutation)


def _elu(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    tensor = _exponential(low, value.tensor, node.attribute("alpha", 1.0), 1.0)
    low.bind(node.outputs[0], tensor, value.permutation)


def _celu(low: Lowering, node: Node) -> None:
    """Lower max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    value = _float_value(low, node)
    alpha = node.attribute("alpha", 1.0)
    above = same_shape(low, "RELU", value.tensor)
    below = same_shape(low, "SUB", value.tensor, above)
    curve = same_shape(low, "ELU", same_shape(low, "MUL", below, 1.0 / alpha))
    tensor = same_shape(low, "ADD", above, same_shape(low, "MUL", curve, alpha))
    low.bind(node.outputs[0], tensor, value.permutation)


def _selu(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    alpha = node.attribute("alpha", 1.6732632423543772)
    gamma = node.attribute("gamma", 1.0507009873554805)
    tensor = _exponential(low, value.tensor, alpha, gamma)
    low.bind(node.outputs[0], tensor, value.permutation)


def _exponential(low: Lowering, tensor: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return gamma * (x for x > 0, alpha * (exp(x) - 1) below)."""
    if alpha == 1.0:
        result = same_shape(low, "ELU", tensor)
    else:
        above = same_shape(low, "RELU", tensor)
        below = same_shape(low, "ELU", same_shape(low, "SUB", tensor, above))
        result = same_shape(low, "ADD", above, same_shape(low, "MUL", below, alpha))
    return result if gamma == 1.0 else same_shape(low, "MUL", result, gamma)


def softplus(low: Lowering, tensor: Tensor) -> Tensor:
    """Return log(1 + exp(x)) as relu(x) + log(1 + exp(-|x|)), which cannot overflow."""
    decayed = same_shape(low, "EXP", same_shape(low, "NEG", same_shape(low, "ABS", tensor)))
    tail = same_shape(low, "LOG", same_shape(low, "ADD", decayed, 1.0))
    return same_shape(low, "ADD", same_shape(low, "RELU", tensor), tail)


def _softplus(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    low.bind(node.outputs[0], softplus(low, value.tensor), value.permutation, is_non_negative=True)


def _mish(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    gate = same_shape(low, "TANH", softplus(low, value.tensor))
    low.bind(node.outputs[0], same_shape(low, "MUL", value.tensor, gate), value.permutation)


def _softsign(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    below = same_shape(low, "ADD", same_shape(low, "ABS", value.tensor), 1.0)
    low.bind(node.outputs[0], same_shape(low, "DIV", value.tensor, below), value.permutation)


def _thresholded_relu(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    alpha = node.attribute("alpha", 1.0)
    above = low.emit(
        "GREATER", [value.tensor, _scalar(alpha)], value.tensor.shape, dtype=DType.BOOL
    )
    tensor = low.emit(
        "SELECT_V2", [above, value.tensor, _scalar(0.0)], value.tensor.shape,
        dtype=value.dtype,
    )  # fmt: skip
    low.bind(node.outputs[0], tensor, value.permutation, is_non_negative=alpha >= 0)


def _shrink(low: Lowering, node: Node) -> None:
    """Lower x + bias below -lambd, x - bias above lambd, 0 between."""
    value = _float_value(low, node)
    limit, bias = node.attribute("lambd", 0.5), node.attribute("bias", 0.0)
    shape = value.tensor.shape
    tensor = low.constant_tensor(_scalar(0.0))
    for op, end, shift in (("LESS", -limit, bias), ("GREATER", limit, -bias)):
        beyond = low.emit(op, [value.tensor, _scalar(end)], shape, dtype=DType.BOOL)
        moved = same_shape(low, "ADD", value.tensor, shift) if shift else value.tensor
        tensor = low.emit("SELECT_V2", [beyond, moved, tensor], shape, dtype=value.dtype)
    low.bind(node.outputs[0], tensor, value.permutation)


def _hard_swish(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    low.bind(node.outputs[0], same_shape(low, "HARD_SWISH", value.tensor), value.permutation)


def _swish(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    alpha = node.attribute("alpha", 1.0)
    scaled = value.tensor if alpha == 1.0 else same_shape(low, "MUL", value.tensor, alpha)
    gate = same_shape(low, "LOGISTIC", scaled)
    low.bind(node.outputs[0], same_shape(low, "MUL", value.tensor, gate), value.permutation)


def _gelu(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    approximate = node.attribute("approximate", "none") == "tanh"
    tensor = low.emit("GELU", [value.tensor], value.tensor.shape, {"approximate": approximate})
    low.bind(node.outputs[0], tensor, value.permutation)


def _erf(low: Lowering, node: Node) -> None:
    """Abramowitz and Stegun 1964, formula 7.1.26: absolute error below 1.5e-7."""
    value = _float_value(low, node)
    size = same_shape(low, "ABS", value.tensor)
    one = same_shape(low, "ADD", same_shape(low, "MUL", size, 0.3275911), 1.0)
    t = low.emit("DIV", [_scalar(1.0), one], one.shape)
    series = same_shape(low, "MUL", t, 1.061405429)
    for term in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = same_shape(low, "MUL", same_shape(low, "ADD", series, term), t)
    decay = same_shape(low, "EXP", same_shape(low, "NEG", same_shape(low, "SQUARE", size)))
    rest = same_shape(low, "MUL", series, decay)
    magnitude = low.emit("SUB", [_scalar(1.0), rest], rest.shape)
    sign = same_shape(low, "SIGN", value.tensor)
    low.bind(node.outputs[0], same_shape(low, "MUL", sign, magnitude), value.permutation)


def _softmax(low: Lowering, node: Node) -> None:
    value = _float_value(low, node)
    axis = node.attribute("axis", -1) % value.rank if value.rank else 0
    if low.graph.opset < 13:
        low.refuse(node, f"opset {low.graph.opset} normalises over flattened axes; convert to 13")
    order = (*(a for a in value.permutation if a != axis), axis)
    tensor = low.read(node.inputs[0], order)
    logarithm = node.op_type == "LogSoftmax"
    flat = tensor
    if len(tensor.shape) > 4:
        flat = low.reshaped(tensor, (_prod(tensor.shape[:-1]), tensor.shape[-1]))
    op, options = ("LOG_SOFTMAX", {}) if logarithm else ("SOFTMAX", {"beta": 1.0})
    result = low.reshaped(low.emit(op, [flat], flat.shape, options), tensor.shape)
    low.bind(node.outputs[0], result, order, is_non_negative=not logarithm)


def _prod(sizes: tuple[int, ...]) -> int:
    return int(np.prod(sizes, dtype=np.int64))


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "Relu": unary("RELU", non_negative=True),
    "Sigmoid": unary("LOGISTIC", non_negative=True),
    "Tanh": unary("TANH"),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Swish": _swish,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Elu": _elu,
    "Celu": _celu,
    "Selu": _selu,
    "Shrink": _shrink,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Mish": _mish,
    "ThresholdedRelu": _thresholded_relu,
    "Gelu": _gelu,
    "Erf": _erf,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}
