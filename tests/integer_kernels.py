"""One small case per int8 kernel, and what it takes to run one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edgekit.converters.emitters.tflite.integer import to_integers
from edgekit.converters.emitters.tflite.model import Model, Operator, Signature, Subgraph, Tensor
from edgekit.converters.emitters.tflite.schema import Activation, MirrorPad, Padding
from edgekit.converters.emitters.tflite.writer import write_model
from edgekit.quantization import Quantization
from edgekit.tensor import DType

Array = NDArray[np.generic]
Option = int | float | bool | tuple[int, ...]
# Two steps more than a picture's code, so that nothing divides evenly.
WIDE = Quantization((0.031,), (-7,))
NARROW = Quantization((0.017,), (21,))
POSITIVE = Quantization((0.023,), (-128,))


@dataclass(frozen=True)
class Case:
    """One operator with its operands.

    Args:
        id: Operator, and what is special about the case.
        inputs: In the operator's order: a shape is computed, an array is a constant.
        outputs: Their shapes.
        options: Of the operator.
        code: Of the inputs; the second input, if computed, has ``NARROW``.
        result: Code of the outputs; None where the kernel dictates it.
        dtype: Of the outputs.
    """

    id: str
    inputs: tuple[tuple[int, ...] | Array | None, ...]
    outputs: tuple[tuple[int, ...], ...]
    options: Mapping[str, Option] = field(default_factory=dict)
    code: Quantization = WIDE
    result: Quantization = WIDE
    dtype: DType = DType.FLOAT32

    @property
    def op(self) -> str:
        return self.id.partition(" ")[0]


@dataclass(frozen=True)
class Built:
    """A case as a float operator, and its codes by identity of the tensor."""

    operator: Operator
    inputs: list[Tensor]
    codes: dict[int, Quantization]


def _random(*shape: int, seed: int = 5, spread: float = 0.3) -> NDArray[np.float32]:
    return np.asarray(np.random.default_rng(seed).normal(0, spread, shape), np.float32)


def _ints(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


_IMAGE = (1, 8, 8, 6)
_ROWS = (1, 5, 12)
_VALID: dict[str, Option] = {"padding": int(Padding.VALID), "stride_w": 1, "stride_h": 1}
_SAME: dict[str, Option] = {"padding": int(Padding.SAME), "stride_w": 2, "stride_h": 2}
_POOL: dict[str, Option] = {**_VALID, "filter_width": 2, "filter_height": 2}
_RELU: dict[str, Option] = {"fused_activation_function": int(Activation.RELU)}
_RELU6: dict[str, Option] = {"fused_activation_function": int(Activation.RELU6)}


def _unary(op: str, *, result: Quantization = WIDE, **options: Option) -> Case:
    return Case(op, (_IMAGE,), (_IMAGE,), options, result=result)


def _pair(op: str, *, result: Quantization = WIDE, **options: Option) -> Case:
    return Case(op, (_IMAGE, _IMAGE), (_IMAGE,), options, result=result)


CASES: tuple[Case, ...] = (
    Case("CONV_2D", (_IMAGE, _random(4, 3, 3, 6), _random(4)), ((1, 6, 6, 4),), _VALID),
    Case(
        "CONV_2D relu same", (_IMAGE, _random(4, 3, 3, 6), _random(4)), ((1, 4, 4, 4),),
        {**_SAME, **_RELU}, result=POSITIVE,
    ),
    Case(
        "CONV_2D relu6 wide code", (_IMAGE, _random(4, 3, 3, 6), _random(4)), ((1, 4, 4, 4),),
        {**_SAME, **_RELU6}, result=Quantization((0.05,), (-20,)),
    ),
    Case(
        "CONV_2D grouped", (_IMAGE, _random(4, 3, 3, 3), _random(4)), ((1, 6, 6, 4),), _VALID,
    ),
    Case(
        "DEPTHWISE_CONV_2D", (_IMAGE, _random(1, 3, 3, 6), _random(6)), ((1, 6, 6, 6),),
        {**_VALID, "depth_multiplier": 1},
    ),
    Case(
        "DEPTHWISE_CONV_2D multiplied", (_IMAGE, _random(1, 3, 3, 12), _random(12)),
        ((1, 6, 6, 12),), {**_VALID, "depth_multiplier": 2},
    ),
    Case(
        "FULLY_CONNECTED", (_ROWS, _random(7, 12), _random(7)), ((1, 5, 7),),
        {"keep_num_dims": True},
    ),
    Case(
        "FULLY_CONNECTED no bias", (_ROWS, _random(7, 12), None), ((1, 5, 7),),
        {"keep_num_dims": True},
    ),
    Case(
        "TRANSPOSE_CONV", (_ints(1, 16, 16, 4), _random(4, 2, 2, 6), _IMAGE, _random(4)),
        ((1, 16, 16, 4),), {"padding": int(Padding.VALID), "stride_w": 2, "stride_h": 2},
    ),
    Case("BATCH_MATMUL", ((1, 2, 5, 8), (1, 2, 8, 5)), ((1, 2, 5, 5),)),
    Case("BATCH_MATMUL transposed", ((1, 2, 5, 8), (1, 2, 5, 8)), ((1, 2, 5, 5),), {"adj_y": True}),
    _pair("ADD"),
    replace(_pair("ADD", result=POSITIVE, **_RELU), id="ADD relu"),
    Case("ADD constant", (_IMAGE, _random(6)), (_IMAGE,)),
    Case("ADD scalar", (_IMAGE, np.array(0.4, np.float32)), (_IMAGE,)),
    _pair("SUB"),
    Case("SUB from constant", (_random(6), _IMAGE), (_IMAGE,)),
    _pair("MUL"),
    Case("MUL per channel", (_IMAGE, (1, 1, 1, 6)), (_IMAGE,)),
    Case("MUL constant", (_IMAGE, _random(6)), (_IMAGE,)),
    Case("MUL negative scalar", (_IMAGE, np.array(-1.7, np.float32)), (_IMAGE,)),
    _pair("MAXIMUM"),
    _pair("MINIMUM"),
    Case("MAXIMUM constant", (_IMAGE, np.array(0.5, np.float32)), (_IMAGE,)),
    _pair("SQUARED_DIFFERENCE", result=Quantization((0.05,), (-128,))),
    Case("AVERAGE_POOL_2D", (_IMAGE,), ((1, 7, 7, 6),), _POOL),
    Case(
        "AVERAGE_POOL_2D strided", (_IMAGE,), ((1, 4, 4, 6),),
        {**_POOL, "stride_w": 2, "stride_h": 2},
    ),
    Case(
        "AVERAGE_POOL_2D padded", (_IMAGE,), ((1, 8, 8, 6),),
        {**_VALID, "padding": int(Padding.SAME), "filter_width": 3, "filter_height": 3},
    ),
    Case(
        "AVERAGE_POOL_2D whole", (_IMAGE,), ((1, 1, 1, 6),),
        {**_VALID, "filter_width": 8, "filter_height": 8},
    ),
    Case("MAX_POOL_2D", (_IMAGE,), ((1, 7, 7, 6),), _POOL),
    Case("MEAN", (_IMAGE, _ints(1, 2)), ((1, 1, 1, 6),), {"keep_dims": True}, result=NARROW),
    Case("SUM", (_IMAGE, _ints(1, 2)), ((1, 1, 1, 6),), {"keep_dims": True},
         result=Quantization((1.1,), (3,))),
    Case("REDUCE_MAX", (_IMAGE, _ints(1, 2)), ((1, 1, 1, 6),), {"keep_dims": True}),
    Case("REDUCE_MIN", (_IMAGE, _ints(1, 2)), ((1, 1, 1, 6),), {"keep_dims": True}),
    _unary("LOGISTIC"),
    _unary("TANH"),
    Case("SOFTMAX", (_ROWS,), (_ROWS,), {"beta": 1.0}),
    Case("LOG_SOFTMAX", (_ROWS,), (_ROWS,)),
    _unary("RELU", result=POSITIVE),
    replace(_unary("RELU"), id="RELU wide code"),
    _unary("RELU6", result=POSITIVE),
    replace(_unary("RELU6", result=Quantization((0.05,), (-20,))), id="RELU6 wide code"),
    _unary("LEAKY_RELU", alpha=0.1),
    Case("PRELU", (_IMAGE, np.abs(_random(1, 1, 6))), (_IMAGE,)),
    Case("PRELU of both signs", (_IMAGE, _random(1, 1, 6)), (_IMAGE,)),
    _unary("ELU"),
    _unary("GELU", approximate=False),
    _unary("HARD_SWISH"),
    Case("EXP", (_IMAGE,), (_IMAGE,), code=Quantization((0.01,), (30,)), result=POSITIVE),
    Case(
        "RESIZE_BILINEAR", (_IMAGE, _ints(16, 16)), ((1, 16, 16, 6),),
        {"half_pixel_centers": True},
    ),
    Case(
        "RESIZE_NEAREST_NEIGHBOR", (_IMAGE, _ints(16, 16)), ((1, 16, 16, 6),),
        {"half_pixel_centers": True},
    ),
    Case("CONCATENATION", (_IMAGE, _IMAGE), ((1, 8, 8, 12),), {"axis": 3}, result=WIDE),
    Case("PACK", (_IMAGE, _IMAGE), ((2, *_IMAGE),), {"values_count": 2, "axis": 0}),
    Case("RESHAPE", (_IMAGE, _ints(1, 64, 6)), ((1, 64, 6),), {"new_shape": (1, 64, 6)}),
    Case("TRANSPOSE", (_IMAGE, _ints(0, 3, 1, 2)), ((1, 6, 8, 8),)),
    Case("SQUEEZE", (_IMAGE,), ((8, 8, 6),), {"squeeze_dims": (0,)}),
    Case("EXPAND_DIMS", (_IMAGE, _ints(1)), ((1, 1, 8, 8, 6),)),
    Case("PAD", (_IMAGE, np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32)), ((1, 11, 9, 6),)),
    Case(
        "PADV2",
        (_IMAGE, np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32), np.float32(-1.5).reshape(1)),
        ((1, 11, 9, 6),),
    ),
    Case(
        "MIRROR_PAD", (_IMAGE, np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)),
        ((1, 10, 10, 6),), {"mode": int(MirrorPad.REFLECT)},
    ),
    Case("SLICE", (_IMAGE, _ints(0, 1, 2, 0), _ints(1, 4, 5, 6)), ((1, 4, 5, 6),)),
    Case(
        "STRIDED_SLICE", (_IMAGE, _ints(0, 0, 1, 0), _ints(1, 8, 8, 6), _ints(1, 2, 2, 1)),
        ((1, 4, 4, 6),),
    ),
    Case("GATHER", (_IMAGE, _ints(3, 0, 5)), ((1, 8, 8, 3),), {"axis": 3}),
    Case("SPLIT", (np.array(3, np.int32), _IMAGE), ((1, 8, 8, 3),) * 2, {"num_splits": 2}),
    Case("REVERSE_V2", (_IMAGE, _ints(1)), (_IMAGE,)),
    Case("TILE", (_IMAGE, _ints(1, 2, 1, 1)), ((1, 16, 8, 6),)),
    Case("BROADCAST_TO", ((1, 1, 1, 6), _ints(1, 8, 8, 6)), (_IMAGE,)),
    Case("DEPTH_TO_SPACE", ((1, 4, 4, 8),), ((1, 8, 8, 2),), {"block_size": 2}),
    Case("SPACE_TO_DEPTH", (_IMAGE,), ((1, 4, 4, 24),), {"block_size": 2}),
    Case("ARG_MAX", (_IMAGE, _ints(3)), ((1, 8, 8),), {"output_type": 2}, dtype=DType.INT32),
    Case("ARG_MIN", (_IMAGE, _ints(3)), ((1, 8, 8),), {"output_type": 2}, dtype=DType.INT32),
)  # fmt: skip


def build(case: Case) -> Built:
    """Return the case's float operator."""
    tensors: list[Tensor | None] = []
    codes: dict[int, Quantization] = {}
    for place, item in enumerate(case.inputs):
        if item is None:
            tensors.append(None)
        elif isinstance(item, tuple):
            tensor = Tensor(f"in{place}", item, DType.FLOAT32)
            codes[id(tensor)] = NARROW if codes else case.code
            tensors.append(tensor)
        else:
            dtype = DType.from_numpy(item.dtype)
            tensors.append(Tensor(f"const{place}", item.shape, dtype, item))
    outputs = [Tensor(f"out{i}", shape, case.dtype) for i, shape in enumerate(case.outputs)]
    if case.dtype is DType.FLOAT32:
        codes.update((id(tensor), case.result) for tensor in outputs)
    operator = Operator(case.op, tensors, outputs, dict(case.options), "node")
    inputs = [tensor for tensor in tensors if tensor is not None and tensor.data is None]
    return Built(operator, inputs, codes)


def integer_model(case: Case, *, io_dtype: DType = DType.INT8) -> Model:
    """Return the case as the int8 model that the integer pass makes of it."""
    built = build(case)
    done = to_integers(
        [built.operator], built.inputs, built.operator.outputs,
        codes=built.codes, weight_codes={}, io_dtype=io_dtype,
    )  # fmt: skip
    return model_of(done.operators, done.inputs, done.outputs)


def float_model(case: Case, integer: Model) -> Model:
    """Return the float operator with the constants that the integer model really holds."""
    built = build(case)
    held = {
        tensor.name.partition("/")[0]: real_values(tensor)
        for tensor in integer.subgraphs[0].tensors()
        if tensor.data is not None and tensor.quantization is not None
    }
    for tensor in built.operator.inputs:
        if tensor is not None and tensor.data is not None and tensor.name in held:
            tensor.data = held[tensor.name].reshape(tensor.shape)
    return model_of([built.operator], built.inputs, built.operator.outputs)


def model_of(
    operators: Sequence[Operator], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> Model:
    """Return a one-graph model."""
    signature = Signature({t.name: t for t in inputs}, {t.name: t for t in outputs})
    return Model([Subgraph("main", list(inputs), list(outputs), list(operators))], signature)


def real_values(tensor: Tensor) -> NDArray[np.float32]:
    """Return what a quantized constant stands for."""
    assert tensor.data is not None and tensor.quantization is not None
    code = tensor.quantization
    shape = [1] * len(tensor.shape)
    if code.axis is not None:
        shape[code.axis] = len(code.scale)
    scale = np.reshape(code.scale, shape if code.axis is not None else ())
    point = np.reshape(code.zero_point, shape if code.axis is not None else ())
    return np.asarray((tensor.data.astype(np.float64) - point) * scale, np.float32)


def dequantized(values: Array, code: Quantization | None) -> NDArray[np.float32]:
    """Return real values of int8 ones."""
    assert code is not None
    steps = values.astype(np.float32) - np.float32(code.zero_point[0])
    return np.asarray(steps * np.float32(code.scale[0]), np.float32)


def open_model(model: Model, path: Path, *, xnnpack: bool) -> Interpreter:
    """Return an interpreter with the model, its tensors allocated."""
    write_model(model, path)
    resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    return interpreter


def run_model(model: Model, feeds: Sequence[Array], path: Path, *, xnnpack: bool) -> list[Array]:
    """Run a model once under LiteRT."""
    interpreter = open_model(model, path, xnnpack=xnnpack)
    for details, feed in zip(interpreter.get_input_details(), feeds, strict=True):
        interpreter.set_tensor(details["index"], feed)
    interpreter.invoke()
    return [interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()]
