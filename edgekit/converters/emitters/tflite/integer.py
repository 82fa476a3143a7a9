"""The integer pass: float TFLite operators become int8 ones where the table says so.

It runs on the finished float operator list. Every tensor is held as float, as int8 in one or
more codes, or both; QUANTIZE and DEQUANTIZE are emitted only where a reader needs the other
form, once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.converters.emitters.tflite.codes import (
    choose_integer,
    operand_places,
    spread_codes,
)
from edgekit.converters.emitters.tflite.kernels import KERNELS, Kernel
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.quantization import Quantization
from edgekit.quantized import Code
from edgekit.tensor import DType

INT8_LOW, INT8_HIGH = -128, 127
# Weights leave out -128, so that a product with -128 cannot overflow 16 bits.
WEIGHT_LIMIT = 127


@dataclass(frozen=True)
class IntegerModel:
    """The result.

    Args:
        operators: In execution order.
        inputs: The graph's inputs, in order.
        outputs: Its outputs.
        integer_sources: ONNX nodes that compute in integers now.
    """

    operators: list[Operator]
    inputs: list[Tensor]
    outputs: list[Tensor]
    integer_sources: frozenset[str]


def to_integers(
    operators: Sequence[Operator],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    codes: Mapping[int, Quantization],
    weight_codes: Mapping[int, Quantization],
    float_sources: Collection[str] = (),
    io_dtype: DType = DType.FLOAT32,
) -> IntegerModel:
    """Return the model with int8 kernels.

    Args:
        operators: Float operators, fused.
        inputs: The graph's inputs.
        outputs: The graph's outputs.
        codes: int8 codes of activations, by identity of the float tensor.
        weight_codes: Codes of weights by identity, scales along ONNX's output channels.
        float_sources: ONNX nodes to leave in float.
        io_dtype: What the graph's float inputs and outputs become: FLOAT32, INT8 or UINT8.
    """
    known = spread_codes(operators, codes)
    chosen = choose_integer(operators, known, float_sources)
    rewriter = _Rewriter(known, weight_codes)
    new_inputs = [rewriter.enter(tensor, io_dtype) for tensor in inputs]
    for operator in operators:
        if id(operator) in chosen:
            rewriter.integer(operator)
        else:
            rewriter.keep(operator)
    new_outputs = [rewriter.leave(tensor, io_dtype) for tensor in outputs]
    sources = frozenset(op.source for op in operators if id(op) in chosen)
    return IntegerModel(rewriter.operators, new_inputs, new_outputs, sources)


class _Rewriter:
    def __init__(
        self, codes: Mapping[int, Quantization], weight_codes: Mapping[int, Quantization]
    ) -> None:
        self.operators: list[Operator] = []
        self._codes = dict(codes)
        self._weight_codes = weight_codes
        # By identity of the original tensor: its forms; None keys the float one.
        self._forms: dict[int, dict[Quantization | None, Tensor]] = {}

    def enter(self, tensor: Tensor, io_dtype: DType) -> Tensor:
        """Return the graph input in the wanted form."""
        code = self._codes.get(id(tensor))
        if io_dtype is DType.FLOAT32 or tensor.dtype is not DType.FLOAT32 or code is None:
            self._forms[id(tensor)] = {None: tensor}
            return tensor
        if io_dtype is DType.INT8:
            stored = Tensor(tensor.name, tensor.shape, DType.INT8, None, code)
            self._forms[id(tensor)] = {code: stored}
            return stored
        given = Tensor(tensor.name, tensor.shape, DType.UINT8, None, to_unsigned(code))
        inner = Tensor(f"{tensor.name}/int8", tensor.shape, DType.INT8, None, code)
        self.operators.append(Operator("QUANTIZE", [given], [inner], {}, ""))
        self._forms[id(tensor)] = {code: inner}
        return given

    def leave(self, tensor: Tensor, io_dtype: DType) -> Tensor:
        """Return the graph output in the wanted form."""
        code = self._codes.get(id(tensor))
        if io_dtype is DType.FLOAT32 or tensor.dtype is not DType.FLOAT32 or code is None:
            return self._as_float(tensor, "")
        stored = self._as_code(tensor, code, "")
        if io_dtype is DType.INT8:
            return stored
        result = Tensor(f"{tensor.name}/uint8", tensor.shape, DType.UINT8, None, to_unsigned(code))
        self.operators.append(Operator("QUANTIZE", [stored], [result], {}, ""))
        return result

    def keep(self, operator: Operator) -> None:
        """Emit an operator in float, its integer inputs turned back."""
        inputs = [
            None if tensor is None else self._as_float(tensor, operator.source)
            for tensor in operator.inputs
        ]
        self.operators.append(
            Operator(operator.op, inputs, operator.outputs, operator.options, operator.source)
        )
        for tensor in operator.outputs:
            self._forms[id(tensor)] = {None: tensor}

    def integer(self, operator: Operator) -> None:
        """Emit an operator's int8 kernel."""
        kernel = KERNELS[operator.op]
        inputs = list(operator.inputs)
        shared = self._shared_code(operator) if kernel.shares_code else None
        for place in operand_places(operator):
            tensor = operator.inputs[place]
            if tensor is None:
                continue
            if tensor.data is not None:
                code = shared or constant_code(tensor.data)
                inputs[place] = self._constant(tensor, code)
            else:
                inputs[place] = self._as_code(
                    tensor, shared or self._codes[id(tensor)], operator.source
                )
        if kernel.weight is not None:
            self._weights(operator, kernel, inputs)
        outputs = [self._result(tensor, shared or kernel.fixed) for tensor in operator.outputs]
        self.operators.append(
            Operator(operator.op, inputs, outputs, operator.options, operator.source)
        )
        for tensor, stored in zip(operator.outputs, outputs, strict=True):
            self._forms[id(tensor)] = {stored.quantization: stored}

    def _shared_code(self, operator: Operator) -> Quantization:
        """Return the one code of all operands: of several, the output's; else the input's."""
        places = operand_places(operator)
        tensors = [operator.inputs[place] for place in places]
        computed = [tensor for tensor in tensors if tensor is not None and tensor.data is None]
        if len(computed) == 1:
            return self._codes[id(computed[0])]
        return self._codes[id(operator.outputs[0])]

    def _result(self, tensor: Tensor, forced: Quantization | None) -> Tensor:
        """Return the int8 output; readers take it in the code that the kernel gives it."""
        if tensor.dtype is not DType.FLOAT32:
            return tensor
        code = forced or self._codes[id(tensor)]
        self._codes[id(tensor)] = code
        return Tensor(tensor.name, tensor.shape, DType.INT8, None, code)

    def _weights(self, operator: Operator, kernel: Kernel, inputs: list[Tensor | None]) -> None:
        assert kernel.weight is not None
        weight = operator.inputs[kernel.weight]
        data = inputs[operand_places(operator)[0]]
        assert weight is not None and weight.data is not None and data is not None
        stored = quantize_weight(weight, kernel.weight_axis, self._weight_codes.get(id(weight)))
        inputs[kernel.weight] = stored
        place = kernel.bias
        if place is None or place >= len(inputs) or operator.inputs[place] is None:
            return
        bias = operator.inputs[place]
        assert bias is not None and bias.data is not None
        assert data.quantization is not None and stored.quantization is not None
        inputs[place] = quantize_bias(bias, data.quantization, stored.quantization)

    def _constant(self, tensor: Tensor, code: Quantization) -> Tensor:
        forms = self._forms.setdefault(id(tensor), {None: tensor})
        if code not in forms:
            assert tensor.data is not None
            values = quantize_values(tensor.data, code)
            forms[code] = Tensor(tensor.name, tensor.shape, DType.INT8, values, code)
        return forms[code]

    def _as_float(self, tensor: Tensor, source: str) -> Tensor:
        if tensor.data is not None or tensor.dtype is not DType.FLOAT32:
            return tensor
        forms = self._forms[id(tensor)]
        if None not in forms:
            stored = next(iter(forms.values()))
            self.operators.append(Operator("DEQUANTIZE", [stored], [tensor], {}, source))
            stored.name = f"{tensor.name}/int8"
            forms[None] = tensor
        return forms[None]

    def _as_code(self, tensor: Tensor, code: Quantization, source: str) -> Tensor:
        forms = self._forms[id(tensor)]
        if code not in forms:
            have = forms.get(None) or next(iter(forms.values()))
            stored = Tensor(f"{tensor.name}/quantize", tensor.shape, DType.INT8, None, code)
            self.operators.append(Operator("QUANTIZE", [have], [stored], {}, source))
            forms[code] = stored
        return forms[code]


def to_unsigned(code: Quantization) -> Quantization:
    """Return the uint8 code of the same real values."""
    return Quantization(code.scale, tuple(point + 128 for point in code.zero_point), code.axis)


def signed(code: Code) -> Quantization:
    """Return the int8 form of an activation's code."""
    if code.dtype is not DType.UINT8:
        return code.quantization
    points = tuple(point - 128 for point in code.quantization.zero_point)
    return Quantization(code.quantization.scale, points, code.quantization.axis)


def constant_code(data: NDArray[np.generic]) -> Quantization:
    """Return the asymmetric int8 code that covers a constant and 0."""
    low, high = min(0.0, float(data.min())), max(0.0, float(data.max()))
    if low == high:
        return Quantization((1.0,), (0,))
    scale = (high - low) / (INT8_HIGH - INT8_LOW)
    point = int(np.clip(round(INT8_LOW - low / scale), INT8_LOW, INT8_HIGH))
    return Quantization((scale,), (point,))


def quantize_values(data: NDArray[np.generic], code: Quantization) -> NDArray[np.int8]:
    """Return int8 values in a per-tensor code, round half to even.

    Source: ONNX operator QuantizeLinear-19.
    """
    values = np.rint(np.asarray(data, np.float64) / code.scale[0]) + code.zero_point[0]
    return np.clip(values, INT8_LOW, INT8_HIGH).astype(np.int8)


def quantize_weight(weight: Tensor, axis: int, code: Quantization | None) -> Tensor:
    """Return the weight in symmetric int8, one scale per slice along ``axis``."""
    assert weight.data is not None
    data = np.moveaxis(np.asarray(weight.data, np.float64), axis, 0)
    rows = data.reshape(data.shape[0], -1)
    if code is not None and len(code.scale) == rows.shape[0]:
        scale = np.array(code.scale)
    else:
        scale = np.abs(rows).max(axis=1) / WEIGHT_LIMIT
        scale[scale == 0] = 1.0
    values = np.clip(np.rint(rows / scale[:, None]), -WEIGHT_LIMIT, WEIGHT_LIMIT)
    stored = np.moveaxis(values.reshape(data.shape), 0, axis).astype(np.int8)
    quantization = Quantization(tuple(map(float, scale)), (0,) * len(scale), axis)
    return Tensor(weight.name, weight.shape, DType.INT8, np.ascontiguousarray(stored), quantization)


def quantize_bias(bias: Tensor, data: Quantization, weight: Quantization) -> Tensor:
    """Return the bias in int32 at input scale times weight scale."""
    assert bias.data is not None
    scale = np.array(weight.scale) * data.scale[0]
    limit = float(np.iinfo(np.int32).max)
    values = np.clip(np.rint(np.asarray(bias.data, np.float64) / scale), -limit, limit)
    quantization = Quantization(tuple(map(float, scale)), (0,) * len(scale), 0)
    return Tensor(bias.name, bias.shape, DType.INT32, values.astype(np.int32), quantization)
