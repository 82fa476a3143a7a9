"""What LiteRT's int8 kernels demand of their operands.

Source: LiteRT 8-bit quantization specification; restrictions that the specification leaves
open were found by running every kernel (``tests/test_tflite_integer.py`` runs them all).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.quantization import Quantization

INT8_LOW, INT8_HIGH = -128, 127

# Fixed output codes. Source: LiteRT 8-bit quantization specification, per-operator list.
UNIT_CODE = Quantization((1 / 256,), (-128,))
SIGNED_UNIT_CODE = Quantization((1 / 128,), (0,))
LOG_SOFTMAX_CODE = Quantization((16 / 256,), (127,))


def code_of_range(low: float, high: float) -> Quantization:
    """Return the asymmetric int8 code that covers ``low`` to ``high`` and 0.

    Source: Jacob et al. 2018, section 2.1.
    """
    low, high = min(0.0, low), max(0.0, high)
    if low == high:
        return Quantization((1.0,), (0,))
    # float32 is what the file stores.
    scale = float(np.float32((high - low) / (INT8_HIGH - INT8_LOW)))
    point = int(np.clip(np.rint(INT8_LOW - low / scale), INT8_LOW, INT8_HIGH))
    return Quantization((scale,), (point,))


def real_range(code: Quantization) -> tuple[float, float]:
    """Return the smallest and the largest real value of a per-tensor code."""
    scale, point = code.scale[0], code.zero_point[0]
    return (INT8_LOW - point) * scale, (INT8_HIGH - point) * scale


@dataclass(frozen=True)
class Kernel:
    """Rules of one operator's int8 kernel.

    Args:
        operands: Inputs that are int8 activations, by index; None for all of them.
        weight: Input that holds a constant int8 weight.
        weight_axis: Axis of that weight with one scale each.
        bias: Input that holds a constant int32 bias.
        shares_code: Whether inputs and outputs must have one and the same code.
        moves_data: Whether it only moves elements, so that float costs as much as int8.
        fixed: The only output code that the kernel can write.
    """

    operands: tuple[int, ...] | None = (0,)
    weight: int | None = None
    weight_axis: int = 0
    bias: int | None = None
    shares_code: bool = False
    moves_data: bool = False
    fixed: Quantization | None = None


_MOVE = Kernel(shares_code=True, moves_data=True)
_PAIR = Kernel(operands=(0, 1))

KERNELS: dict[str, Kernel] = {
    "CONV_2D": Kernel(weight=1, bias=2),
    "DEPTHWISE_CONV_2D": Kernel(weight=1, weight_axis=3, bias=2),
    "FULLY_CONNECTED": Kernel(weight=1, bias=2),
    "TRANSPOSE_CONV": Kernel(operands=(2,), weight=1, bias=3),
    "BATCH_MATMUL": _PAIR,
    "ADD": _PAIR,
    "SUB": _PAIR,
    "MUL": _PAIR,
    "MAXIMUM": Kernel(operands=(0, 1), shares_code=True),
    "MINIMUM": Kernel(operands=(0, 1), shares_code=True),
    "SQUARED_DIFFERENCE": _PAIR,
    "AVERAGE_POOL_2D": Kernel(shares_code=True),
    "MAX_POOL_2D": Kernel(shares_code=True),
    "MEAN": Kernel(),
    "SUM": Kernel(),
    "REDUCE_MAX": Kernel(shares_code=True),
    "REDUCE_MIN": Kernel(shares_code=True),
    "LOGISTIC": Kernel(fixed=UNIT_CODE),
    "TANH": Kernel(fixed=SIGNED_UNIT_CODE),
    "SOFTMAX": Kernel(fixed=UNIT_CODE),
    "LOG_SOFTMAX": Kernel(fixed=LOG_SOFTMAX_CODE),
    "RELU": Kernel(),
    "RELU6": Kernel(),
    "LEAKY_RELU": Kernel(),
    "PRELU": Kernel(operands=(0, 1)),
    "ELU": Kernel(),
    "GELU": Kernel(),
    "HARD_SWISH": Kernel(),
    "EXP": Kernel(),
    "RESIZE_BILINEAR": Kernel(shares_code=True),
    "RESIZE_NEAREST_NEIGHBOR": Kernel(shares_code=True),
    "CONCATENATION": Kernel(operands=None, shares_code=True, moves_data=True),
    "PACK": Kernel(operands=None, shares_code=True, moves_data=True),
    "RESHAPE": _MOVE,
    "TRANSPOSE": _MOVE,
    "SQUEEZE": _MOVE,
    "EXPAND_DIMS": _MOVE,
    "PAD": _MOVE,
    "PADV2": Kernel(operands=(0, 2), shares_code=True, moves_data=True),
    "MIRROR_PAD": _MOVE,
    "SLICE": _MOVE,
    "STRIDED_SLICE": _MOVE,
    "GATHER": _MOVE,
    "SPLIT": Kernel(operands=(1,), shares_code=True, moves_data=True),
    "REVERSE_V2": _MOVE,
    "TILE": _MOVE,
    "BROADCAST_TO": _MOVE,
    "DEPTH_TO_SPACE": _MOVE,
    "SPACE_TO_DEPTH": _MOVE,
    # From one int8 code to another, where a rewrite asks for it.
    "QUANTIZE": Kernel(),
    "ARG_MAX": Kernel(),
    "ARG_MIN": Kernel(),
}
