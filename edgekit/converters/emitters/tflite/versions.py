"""Version of each operator, and the first runtime that has it.

An operator's version is the highest that any feature it uses needs: element
types, rank, options. A runtime that is too old then refuses the file at load
time, rather than computing something else.

Source: LiteRT, tflite/tools/versioning/op_version.cc and runtime_version.cc
(the published op version tables), read at the 2.x releases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.converters.emitters.tflite.runtime_versions import FIRST_RUNTIMES
from edgekit.converters.emitters.tflite.schema import OPERATORS
from edgekit.tensor import DType

_F32, _F16, _F64, _BF16 = DType.FLOAT32, DType.FLOAT16, DType.FLOAT64, DType.BFLOAT16
_I4, _I8, _I16 = DType.INT4, DType.INT8, DType.INT16
_U16, _U32, _BOOL = DType.UINT16, DType.UINT32, DType.BOOL

# Operators whose version follows from the element type of one input (number 0, or as below).
_TYPE_RULES = """
    int8=2 int16=3: AVERAGE_POOL_2D BATCH_MATMUL GREATER_EQUAL LESS LOGISTIC MAX_POOL_2D MEAN
    int8=2 int16=3: MIRROR_PAD REDUCE_MAX REDUCE_MIN RELU6 RSQRT SOFTMAX TANH TOPK_V2
    int8=2 int16=3 uint32=4: CONCATENATION PACK
    int8=2 int16=3 bool=5: PAD PADV2
    int8=2 int16=4: BATCH_TO_SPACE_ND EQUAL MAXIMUM MINIMUM RESIZE_BILINEAR
    int8=2 int16=4: RESIZE_NEAREST_NEIGHBOR SPACE_TO_BATCH_ND
    int8=2 int16=2: EXP LOG REDUCE_PROD
    int8=2: DEPTH_TO_SPACE GREATER L2_NORMALIZATION LESS_EQUAL LOG_SOFTMAX NOT_EQUAL
    int8=2: SPACE_TO_DEPTH SPLIT_V SQUARED_DIFFERENCE SUM TRANSPOSE_CONV
    int8=2 bool=3: ARG_MAX ARG_MIN
    int8=2 int64=4: ADD SUB
    int8=2 uint8=2 int16=4 int32=5: ABS
    int8=2 uint8=2: GELU
    int8=2 uint8=2 int16=3: RELU
    int8=2 uint8=2 bool=3 int16=4: UNPACK
    int8=2 int64=5 uint32=7: MUL
    int8=2 uint32=4: SELECT
    int8=2 int16=4 uint32=6: SLICE
    int8=2 int32=3 int16=4: SPLIT
    int8=2 bool=3 uint32=7: STRIDED_SLICE
    int8=2 bool=3 int16=5 int4=7: TRANSPOSE
    int8=2 bool=3 int16=4 int4=7: GATHER
    int8=2 int16=3 float16=3 int4=6: DEQUANTIZE
    int8=3 bool=2: REVERSE_V2
    int8=3: TILE
    int8=3 int16=3: BROADCAST_TO
    float32=2 int8=3 int16=3: FLOOR_DIV
    int8=2 int16=2: FLOOR_MOD
    bool=2 int8=3 int16=3 float16=4: FILL
    int16=3 bool=5: GATHER_ND
    int16=2: LEAKY_RELU
    int64=2: RANGE
    uint32=2: SELECT_V2
    int32=2: SIGN
"""


def _read_type_rules() -> dict[str, dict[DType, int]]:
    rules: dict[str, dict[DType, int]] = {}
    for line in _TYPE_RULES.strip().splitlines():
        pairs, _, names = line.partition(":")
        versions = dict(pair.split("=") for pair in pairs.split())
        for name in names.split():
            rules[name] = {DType(dtype): int(version) for dtype, version in versions.items()}
    return rules


_BY_TYPE = _read_type_rules()
_TYPED_INPUT = {"SPLIT": 1, "TRANSPOSE_CONV": 1, "FILL": 1}

# Operators whose version also follows from the rank: (rank above which, version) each.
_BY_RANK: dict[str, tuple[tuple[int, int], ...]] = {
    "TRANSPOSE": ((4, 4), (5, 6)),
    "SLICE": ((4, 5),),
    "STRIDED_SLICE": ((4, 4),),
    "PAD": ((4, 4),),
    "PADV2": ((4, 4),),
}
_BROADCAST_ABOVE_RANK_4 = {"MAXIMUM": 3, "MINIMUM": 3, "SUB": 3, "DIV": 2}


def operator_version(operator: Operator) -> int:
    """Return the version that an operator's features need."""
    typed = _dtype(operator.inputs, _TYPED_INPUT.get(operator.op, 0))
    found = [OPERATORS[operator.op].min_version]
    if typed is not None:
        found.append(_BY_TYPE.get(operator.op, {}).get(typed, 1))
    rank = max((len(tensor.shape) for tensor in _present(operator.inputs)[:1]), default=0)
    found += [version for above, version in _BY_RANK.get(operator.op, ()) if rank > above]
    if _broadcasts_above_rank_4(operator):
        found.append(_BROADCAST_ABOVE_RANK_4.get(operator.op, 1))
    if operator.op in _SPECIAL:
        found.append(_SPECIAL[operator.op](operator))
    return max(found)


def min_runtime_version(operators: Iterable[Operator]) -> str:
    """Return the first TensorFlow Lite release that runs them all, ``"2.3.0"``.

    A version that the published table does not list is passed over, as its own tool does.
    """
    found = {FIRST_RUNTIMES.get((op.op, operator_version(op)), "1.5.0") for op in operators}
    return max(found, key=lambda text: tuple(map(int, text.split("."))), default="1.5.0")


def _present(tensors: list[Tensor | None]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor is not None]


def _dtype(tensors: list[Tensor | None] | list[Tensor], index: int) -> DType | None:
    tensor = tensors[index] if index < len(tensors) else None
    return None if tensor is None else tensor.dtype


def _broadcasts_above_rank_4(operator: Operator) -> bool:
    shapes = [tensor.shape for tensor in _present(operator.inputs)[:2]]
    return len(set(shapes)) > 1 and max(map(len, shapes)) > 4


def _types(operator: Operator) -> tuple[DType | None, DType | None, DType | None]:
    """Return the element types of the activation, the weights and the output."""
    return _dtype(operator.inputs, 0), _dtype(operator.inputs, 1), _dtype(operator.outputs, 0)


def _is_per_channel(tensor: Tensor | None) -> bool:
    quantization = None if tensor is None else tensor.quantization
    return quantization is not None and len(quantization.scale) > 1


def _conv_2d(operator: Operator) -> int:
    versions: dict[tuple[DType | None, DType | None, DType | None], int] = {
        (_I8, _I8, _I8): 3,
        (_I16, _I16, _I16): 4,
        (_I8, _I4, _I8): 7,
        (_F32, _I8, _F32): 5 if _is_per_channel(operator.inputs[1]) else 2,
        (_I16, _I8, _I16): 8 if operator.options.get("quantized_bias_type") else 1,
    }
    image, kernel = _present(operator.inputs)[:2]
    is_grouped = image.shape[-1] != kernel.shape[-1]
    return max(versions.get(_types(operator), 1), 6 if is_grouped else 1)


def _depthwise_conv_2d(operator: Operator) -> int:
    versions: dict[tuple[DType | None, DType | None, DType | None], int] = {
        (_I8, _I8, _I8): 3,
        (_I16, _I16, _I16): 5,
        (_I8, _I4, _I8): 7,
        (_F32, _I8, _F32): 6 if _is_per_channel(operator.inputs[1]) else 4,
    }
    is_dilated = any(operator.options.get(f"dilation_{axis}_factor", 1) != 1 for axis in "wh")
    return max(versions.get(_types(operator), 1), 2 if is_dilated else 1)


def _fully_connected(operator: Operator) -> int:
    hybrid = 9 if operator.options.get("asymmetric_quantize_inputs") else 3
    versions: dict[tuple[DType | None, DType | None, DType | None], int] = {
        (_I8, _I8, _I8): 4,
        (_I16, _I16, _I16): 7,
        (_I8, _I4, _I8): 10,
        (_I16, _I4, _I16): 13,
        (_F32, _I8, _F32): 12 if _is_per_channel(operator.inputs[1]) else hybrid,
        (_I16, _I8, _I16): 11 if operator.options.get("quantized_bias_type") else 1,
    }
    return max(
        versions.get(_types(operator), 1),
        2 if operator.options.get("weights_format") else 1,
        5 if operator.options.get("keep_num_dims") else 1,
        6 if len(operator.inputs) == 2 else 1,
    )


def _add(operator: Operator) -> int:
    first = operator.inputs[0]
    if first is None or first.dtype is not _I16:
        return 1
    if first.quantization is None:
        return 5
    return 1 if operator.options.get("pot_scale_int16", True) else 3


def _sub(operator: Operator) -> int:
    is_int16 = _dtype(operator.inputs, 0) is _I16 and _dtype(operator.outputs, 0) is _I16
    return 5 if is_int16 and not operator.options.get("pot_scale_int16", True) else 1


def _mul(operator: Operator) -> int:
    tensors = [*_present(operator.inputs), *operator.outputs]
    scales = [tensor.quantization.scale[0] for tensor in tensors if tensor.quantization]
    if tensors[0].dtype is _I16:
        return 7 if tensors[0].quantization is None else 4
    return 3 if len(scales) == 3 and scales[0] * scales[1] / scales[2] >= 1 else 1


def _transpose_conv(operator: Operator) -> int:
    # Inputs: output shape, weights, image, bias. The published rule reads its types as
    # (shape, weights), so that its int16 case never applies; the type table covers int8.
    has_bias = len(operator.inputs) == 4 and operator.inputs[3] is not None
    is_fused = bool(operator.options.get("fused_activation_function"))
    bias_type = bool(operator.options.get("quantized_bias_type"))
    return max(3 if has_bias else 1, 4 if is_fused else 1, 5 if bias_type else 1)


def _lstm(operator: Operator, *, weights: int, plain: int, asymmetric: int) -> int:
    is_hybrid = _dtype(operator.inputs, 0) is _F32 and _dtype(operator.inputs, weights) is _I8
    if not is_hybrid:
        return 1
    return asymmetric if operator.options.get("asymmetric_quantize_inputs") else plain


def _unidirectional_lstm(operator: Operator) -> int:
    is_int16 = _dtype(operator.inputs, 0) is _I16 and _dtype(operator.inputs, 2) is _I8
    return max(
        _lstm(operator, weights=2, plain=2, asymmetric=3),
        4 if operator.options.get("diagonal_recurrent_tensors") else 1,
        5 if is_int16 else 1,
    )


def _cast(operator: Operator) -> int:
    types = {_dtype(operator.inputs, 0), _dtype(operator.outputs, 0)}
    found = [version for dtype, version in _CAST_VERSIONS.items() if dtype in types]
    return max(found, default=1)


_CAST_VERSIONS = {_U32: 2, _I8: 3, _U16: 4, _F16: 5, _F64: 5, _I4: 6, _BF16: 7}


def _quantize(operator: Operator) -> int:
    tensors = [*_present(operator.inputs), *operator.outputs]
    if any(tensor.dtype is _I4 for tensor in tensors):
        return 4
    if any(map(_is_per_channel, tensors)):
        return 3
    return 2 if _dtype(operator.outputs, 0) is _I16 else 1


def _strided_slice(operator: Operator) -> int:
    masks = operator.options.get("ellipsis_mask") or operator.options.get("new_axis_mask")
    return max(8 if operator.options.get("offset") else 1, 6 if masks else 1)


def _batch_matmul(operator: Operator) -> int:
    is_hybrid = _types(operator) == (_F32, _I8, _F32)
    return 4 if is_hybrid and operator.options.get("asymmetric_quantize_inputs") else 1


def _resize(*names: str) -> Callable[[Operator], int]:
    return lambda operator: 3 if any(operator.options.get(name) for name in names) else 1


def _batch_space(operator: Operator) -> int:
    return 3 if len(_present(operator.inputs)[0].shape) != 4 else 1


def _gather(operator: Operator) -> int:
    has_batch = bool(operator.options.get("batch_dims"))
    return max(5 if has_batch else 1, 6 if _dtype(operator.inputs, 1) is _I16 else 1)


def _embedding_lookup(operator: Operator) -> int:
    table = operator.inputs[1]
    return 4 if _is_per_channel(table) or _dtype(operator.inputs, 1) is _I4 else 1


def _select(operator: Operator) -> int:
    return 3 if any(len(tensor.shape) == 5 for tensor in _present(operator.inputs)) else 1


_SPECIAL: dict[str, Callable[[Operator], int]] = {
    "ADD": _add,
    "BATCH_MATMUL": _batch_matmul,
    "BATCH_TO_SPACE_ND": _batch_space,
    "BIDIRECTIONAL_SEQUENCE_LSTM": lambda op: _lstm(op, weights=1, plain=2, asymmetric=3),
    "CAST": _cast,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DEQUANTIZE": lambda op: 5 if _is_per_channel(op.inputs[0]) else 1,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _gather,
    "GATHER_ND": lambda op: 4 if _dtype(op.inputs, 1) is _I16 else 1,
    "MUL": _mul,
    "QUANTIZE": _quantize,
    "RESIZE_BILINEAR": _resize("half_pixel_centers"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("half_pixel_centers", "align_corners"),
    "SELECT": _select,
    "SPACE_TO_BATCH_ND": _batch_space,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _sub,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _unidirectional_lstm,
    "WHERE": lambda op: 1 if _dtype(op.inputs, 0) is _BOOL else 2,
}
