"""What one QuantizeLinear or DequantizeLinear says: its code, or why EdgeKit cannot take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgekit.converters.quantize.weights import spread
from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Array, Graph, Node
from edgekit.quantization import Quantization
from edgekit.quantized import Code
from edgekit.tensor import DType

_BYTES = (DType.INT8, DType.UINT8)
# Numbers of TensorProto.DataType, as the attribute output_dtype (opset 21) writes them.
_ONNX_TYPES = {2: DType.UINT8, 3: DType.INT8}


def code_of(node: Node, graph: Graph, constants: Mapping[str, Array], *, rank: int) -> Code:
    """Return the code of a Q or DQ node, int8 where it says uint8: the same reals, 128 apart.

    Args:
        node: QuantizeLinear or DequantizeLinear.
        graph: That it is in.
        constants: What is known of its scale and zero point.
        rank: Of the tensor, to count a negative axis from.

    Raises:
        UnsupportedOperatorError: Blocks, another type than 8 bits (a bias may be int32), or a
            scale that is computed.
    """
    if node.attribute("block_size", 0):
        raise refusal(node, "its scales are per block; one per tensor or per channel is needed")
    scale = constants.get(node.input(1))
    point = constants.get(node.input(2))
    if scale is None or (node.input(2) and point is None):
        raise refusal(node, "its scale or zero point is computed; both must be constants")
    if scale.ndim > 1:
        raise refusal(node, f"its scales have shape {scale.shape}; one axis at most is needed")
    dtype = _type_of(node, graph, constants, point)
    scales = np.atleast_1d(scale.astype(np.float32))
    if not np.all(np.isfinite(scales)):
        raise refusal(node, "a scale is not finite")
    # Some tools write 0 for a channel of zeros, whose scale is free.
    scales = np.where(scales > 0, scales, np.float32(1e-12))
    points = np.zeros(scales.size, np.int64) if point is None else point.astype(np.int64).ravel()
    if points.size != scales.size:
        raise refusal(node, f"{scales.size} scales but {points.size} zero points")
    axis: int | None = None
    if scales.size > 1:
        axis = node.attribute("axis", 1)
        axis += rank if axis < 0 else 0
    if dtype is DType.UINT8:
        dtype, points = DType.INT8, points - 128
    quantization = Quantization(tuple(map(float, scales)), tuple(map(int, points)), axis)
    return Code(dtype, quantization)


def integers_by(node: Node, value: Array, code: Code) -> Array:
    """Return what QuantizeLinear makes of a constant, in the code's int8.

    Source: ONNX operator QuantizeLinear-19: saturate(round_half_to_even(x / scale) + zero_point).
    """
    scale, point = spread(code, value.shape)
    if code.dtype is not DType.INT8:
        raise refusal(node, f"it makes {code.dtype.value} of a constant; int8 is needed")
    return np.clip(np.rint(value.astype(np.float64) / scale) + point, -128, 127).astype(np.int8)


def as_signed(integers: Array) -> Array:
    """Return stored integers as ``code_of`` counts them."""
    if integers.dtype == np.uint8:
        return (integers.astype(np.int16) - 128).astype(np.int8)
    return integers


def per_tensor(code: Code, scale: float, zero_point: int) -> Code:
    """Return a code of the same type with one scale."""
    return replace(code, quantization=Quantization((scale,), (zero_point,)))


def refusal(node: Node, reason: str) -> UnsupportedOperatorError:
    """Return the error that names the node."""
    return UnsupportedOperatorError(
        node=node.name,
        op_type=node.op_type,
        reason=f"{reason}; quantize the float model with EdgeKit (--calibration), or as "
        "int8 with one scale per tensor for activations",
        target="reading quantized models",
    )


def _type_of(
    node: Node, graph: Graph, constants: Mapping[str, Array], point: Array | None
) -> DType:
    stored = node.outputs[0] if node.op_type == "QuantizeLinear" else node.input(0)
    if node.op_type == "DequantizeLinear" and stored in constants:
        name = constants[stored].dtype.name
    elif point is not None:
        name = point.dtype.name
    elif stored in graph.values:
        name = graph.values[stored].dtype.value
    else:
        number = node.attribute("output_dtype", 2)
        name = _ONNX_TYPES[number].value if number in _ONNX_TYPES else f"ONNX type {number}"
    is_bias = node.op_type == "DequantizeLinear" and stored in constants
    allowed = (*_BYTES, DType.INT32) if is_bias else _BYTES
    if name not in [dtype.value for dtype in allowed]:
        raise refusal(node, f"it stores {name}; int8 and uint8 are read")
    return DType(name)
