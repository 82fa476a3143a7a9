"""The builtin TFLite operators that EdgeKit may emit, and how their options are stored.

To add an operator: one line in ``_OPERATORS`` (the options table's number in the
union, then its fields by slot). A contract test compares every code, slot, type and
default with the generated schema of ai-edge-litert.

Source: LiteRT schema 3c (schema.fbs), Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from edgekit.runtimes.tflite_names import BUILTIN_CODES, TENSOR_TYPES

__all__ = ["OPERATORS", "TENSOR_TYPES", "Activation", "MirrorPad", "OpSchema", "Padding"]

Kind = Literal["int8", "int32", "float32", "bool", "int32_vector"]


class Padding(IntEnum):
    """How a window treats the border."""

    SAME = 0
    VALID = 1


class Activation(IntEnum):
    """Activation fused into an operator's output."""

    NONE = 0
    RELU = 1
    RELU_N1_TO_1 = 2
    RELU6 = 3


class MirrorPad(IntEnum):
    """Mode of MIRROR_PAD: without or with the border element repeated."""

    REFLECT = 0
    SYMMETRIC = 1


@dataclass(frozen=True)
class OptionField:
    """One field of an options table.

    Args:
        name: Field name in the schema.
        slot: Its index in the flatbuffer vtable.
        kind: How it is stored; enums are ``int8``.
        default: Value of an absent field; None for an absent vector.
    """

    name: str
    slot: int
    kind: Kind
    default: int | float | None


@dataclass(frozen=True)
class OpSchema:
    """One builtin operator.

    Args:
        name: Builtin name.
        code: Its number.
        options_type: Number of its options table in the BuiltinOptions union; 0 for none.
        fields: Fields of that table, by slot.
        min_version: Lowest version that runtimes accept.
    """

    name: str
    code: int
    options_type: int
    fields: tuple[OptionField, ...]
    min_version: int = 1


def _parse_fields(text: str) -> tuple[OptionField, ...]:
    """Read ``name:kind[=default]``, one per slot; ``-`` for a slot that is never written."""
    fields: list[OptionField] = []
    for slot, item in enumerate(text.split()):
        if item == "-":
            continue
        name, _, rest = item.partition(":")
        kind, _, default = rest.partition("=")
        fields.append(OptionField(name, slot, _KINDS[kind], _default(kind, default)))
    return tuple(fields)


def _default(kind: str, text: str) -> int | float | None:
    if kind == "i32s":
        return None
    return float(text or 0) if kind == "f32" else int(text or 0)


_KINDS: dict[str, Kind] = {
    "i8": "int8",
    "i32": "int32",
    "f32": "float32",
    "bool": "bool",
    "i32s": "int32_vector",
}

_ACTIVATION = "fused_activation_function:i8"
_PAD_STRIDE_2D = "padding:i8 stride_w:i32 stride_h:i32"
_POOL = f"{_PAD_STRIDE_2D} filter_width:i32 filter_height:i32 {_ACTIVATION}"
_DILATION_2D = "dilation_w_factor:i32=1 dilation_h_factor:i32=1"
_CONV_3D = (
    f"padding:i8 stride_d:i32 stride_w:i32 stride_h:i32 {_ACTIVATION} "
    f"dilation_d_factor:i32=1 {_DILATION_2D}"
)
_LSTM = f"{_ACTIVATION} cell_clip:f32 proj_clip:f32"

_OPERATORS: tuple[tuple[str, int, str], ...] = (
    ("ADD", 11, f"{_ACTIVATION} pot_scale_int16:bool=1"),
    ("SUB", 28, f"{_ACTIVATION} pot_scale_int16:bool=1"),
    ("MUL", 21, _ACTIVATION),
    ("DIV", 29, _ACTIVATION),
    ("FLOOR_DIV", 65, ""),
    ("FLOOR_MOD", 72, ""),
    ("POW", 56, ""),
    ("SQUARED_DIFFERENCE", 76, ""),
    ("MAXIMUM", 39, ""),
    ("MINIMUM", 39, ""),
    ("AVERAGE_POOL_2D", 5, _POOL),
    ("MAX_POOL_2D", 5, _POOL),
    ("CONCATENATION", 10, f"axis:i32 {_ACTIVATION}"),
    ("CONV_2D", 1, f"{_PAD_STRIDE_2D} {_ACTIVATION} {_DILATION_2D} quantized_bias_type:i8"),
    ("DEPTHWISE_CONV_2D", 2, f"{_PAD_STRIDE_2D} depth_multiplier:i32 {_ACTIVATION} {_DILATION_2D}"),
    ("CONV_3D", 106, _CONV_3D),
    ("CONV_3D_TRANSPOSE", 106, _CONV_3D),
    ("TRANSPOSE_CONV", 49, f"{_PAD_STRIDE_2D} {_ACTIVATION} quantized_bias_type:i8"),
    (
        "FULLY_CONNECTED",
        8,
        f"{_ACTIVATION} weights_format:i8 keep_num_dims:bool asymmetric_quantize_inputs:bool "
        "quantized_bias_type:i8",
    ),
    ("BATCH_MATMUL", 101, "adj_x:bool adj_y:bool asymmetric_quantize_inputs:bool"),
    ("EMBEDDING_LOOKUP", 0, ""),
    ("L2_NORMALIZATION", 12, _ACTIVATION),
    ("LOCAL_RESPONSE_NORMALIZATION", 13, "radius:i32 bias:f32 alpha:f32 beta:f32"),
    ("LOGISTIC", 0, ""),
    ("RELU", 0, ""),
    ("RELU6", 0, ""),
    ("RELU_N1_TO_1", 0, ""),
    ("RELU_0_TO_1", 0, ""),
    ("TANH", 0, ""),
    ("PRELU", 0, ""),
    ("LEAKY_RELU", 75, "alpha:f32"),
    ("ELU", 0, ""),
    ("GELU", 116, "approximate:bool"),
    ("HARD_SWISH", 91, ""),
    ("SOFTMAX", 9, "beta:f32"),
    ("LOG_SOFTMAX", 36, ""),
    ("RESHAPE", 17, "new_shape:i32s"),
    ("RESIZE_BILINEAR", 15, "- - align_corners:bool half_pixel_centers:bool"),
    ("RESIZE_NEAREST_NEIGHBOR", 74, "align_corners:bool half_pixel_centers:bool"),
    ("PAD", 22, ""),
    ("PADV2", 43, ""),
    ("MIRROR_PAD", 77, "mode:i8"),
    ("GATHER", 23, "axis:i32 batch_dims:i32"),
    ("GATHER_ND", 83, ""),
    ("SCATTER_ND", 97, ""),
    ("TRANSPOSE", 26, ""),
    ("MEAN", 27, "keep_dims:bool"),
    ("SUM", 27, "keep_dims:bool"),
    ("REDUCE_MAX", 27, "keep_dims:bool"),
    ("REDUCE_MIN", 27, "keep_dims:bool"),
    ("REDUCE_PROD", 27, "keep_dims:bool"),
    ("REDUCE_ANY", 27, "keep_dims:bool"),
    ("REDUCE_ALL", 27, "keep_dims:bool"),
    ("SQUEEZE", 30, "squeeze_dims:i32s"),
    ("EXPAND_DIMS", 52, ""),
    (
        "STRIDED_SLICE",
        32,
        "begin_mask:i32 end_mask:i32 ellipsis_mask:i32 new_axis_mask:i32 shrink_axis_mask:i32 "
        "offset:bool",
    ),
    ("SLICE", 48, ""),
    ("SPLIT", 35, "num_splits:i32"),
    ("SPLIT_V", 79, "num_splits:i32"),
    ("UNPACK", 64, "num:i32 axis:i32"),
    ("PACK", 59, "values_count:i32 axis:i32"),
    ("EXP", 33, ""),
    ("LOG", 0, ""),
    ("SQRT", 0, ""),
    ("RSQRT", 0, ""),
    ("SQUARE", 66, ""),
    ("ABS", 78, ""),
    ("NEG", 42, ""),
    ("FLOOR", 0, ""),
    ("CEIL", 0, ""),
    ("ROUND", 0, ""),
    ("SIN", 0, ""),
    ("COS", 84, ""),
    ("SIGN", 123, ""),
    ("TOPK_V2", 34, ""),
    ("ARG_MAX", 40, "output_type:i8"),
    ("ARG_MIN", 57, "output_type:i8"),
    ("CAST", 37, "in_data_type:i8 out_data_type:i8"),
    ("DEQUANTIZE", 38, ""),
    ("QUANTIZE", 89, ""),
    ("LESS", 41, ""),
    ("LESS_EQUAL", 46, ""),
    ("GREATER", 44, ""),
    ("GREATER_EQUAL", 45, ""),
    ("EQUAL", 53, ""),
    ("NOT_EQUAL", 54, ""),
    ("LOGICAL_AND", 62, ""),
    ("LOGICAL_OR", 60, ""),
    ("LOGICAL_NOT", 63, ""),
    ("SELECT", 47, ""),
    ("SELECT_V2", 98, ""),
    ("WHERE", 85, ""),
    ("FILL", 68, ""),
    ("RANGE", 73, ""),
    ("TILE", 51, ""),
    ("BROADCAST_TO", 104, ""),
    ("BROADCAST_ARGS", 0, ""),
    ("SHAPE", 55, "out_type:i8"),
    ("RANK", 86, ""),
    ("ONE_HOT", 61, "axis:i32"),
    ("CUMSUM", 102, "exclusive:bool reverse:bool"),
    ("REVERSE_V2", 81, ""),
    ("DEPTH_TO_SPACE", 94, "block_size:i32"),
    ("SPACE_TO_DEPTH", 19, "block_size:i32"),
    ("SPACE_TO_BATCH_ND", 25, ""),
    ("BATCH_TO_SPACE_ND", 24, ""),
    (
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        71,
        f"{_LSTM} time_major:bool asymmetric_quantize_inputs:bool diagonal_recurrent_tensors:bool",
    ),
    (
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        69,
        f"{_LSTM} merge_outputs:bool time_major:bool=1 asymmetric_quantize_inputs:bool",
    ),
    ("WHILE", 93, "cond_subgraph_index:i32 body_subgraph_index:i32"),
    ("IF", 92, "then_subgraph_index:i32 else_subgraph_index:i32"),
    ("ZEROS_LIKE", 67, ""),
    ("ATAN2", 122, ""),
    ("BITCAST", 124, ""),
    ("BITWISE_XOR", 125, ""),
    ("RIGHT_SHIFT", 126, ""),
)

# BROADCAST_TO version 1 had another code and was withdrawn.
_MIN_VERSIONS = {"BROADCAST_TO": 2}

OPERATORS: dict[str, OpSchema] = {
    name: OpSchema(
        name, BUILTIN_CODES[name], options_type, _parse_fields(fields), _MIN_VERSIONS.get(name, 1)
    )
    for name, options_type, fields in _OPERATORS
}
"""Every operator that may be emitted, by builtin name."""
