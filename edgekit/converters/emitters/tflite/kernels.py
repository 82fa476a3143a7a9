"""What LiteRT's int8 kernels demand of their operands.

Source: LiteRT 8-bit quantization specification; restrictions that the specification leaves
open were found by running every kernel (``tests/test_tflite_integer.py`` runs them all).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.quantization import Quantization

# Fixed output codes. Source: LiteRT 8-bit quantization specification, per-operator list.
UNIT_CODE = Quantization((1 / 256,), (-128,))
SIGNED_UNIT_CODE = Quantization((1 / 128,), (0,))
LOG_SOFTMAX_CODE = Quantization((16 / 256,), (127,))


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
    "ARG_MAX": Kernel(),
    "ARG_MIN": Kernel(),
}
