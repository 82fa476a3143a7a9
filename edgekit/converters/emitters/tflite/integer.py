"""The integer pass: float TFLite operators become int8 ones where the table says so.

It runs on the finished float operator list. Every tensor is held as float, as int8 in one or
more codes, or both; QUANTIZE and DEQUANTIZE are emitted only where a reader needs the other
form, once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from edgekit.converters.emitters.tflite.clamps import fold_clamps
from edgekit.converters.emitters.tflite.codes import (
    choose_integer,
    spread_codes,
    to_unsigned,
)
from edgekit.converters.emitters.tflite.constants import (
    quantize_bias,
    quantize_values,
)
from edgekit.converters.emitters.tflite.delegated import for_delegate
from edgekit.converters.emitters.tflite.kernels import (
    KERNELS,
    code_of_range,
)
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.converters.emitters.tflite.rewriter import IntegerModel, Rewriter
from edgekit.graph import Array
from edgekit.quantization import Quantization
from edgekit.tensor import DType


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
    operators = [replace(op, inputs=list(op.inputs), outputs=list(op.outputs)) for op in operators]
    known = dict(codes)
    operators = fold_clamps(operators, outputs, known, float_sources)
    known = spread_codes(operators, known)
    borders = {id(tensor) for tensor in (*inputs, *outputs) if id(tensor) in known}
    as_float = io_dtype is DType.FLOAT32
    chosen = choose_integer(
        operators, known, float_sources,
        float_outputs={id(tensor) for tensor in outputs} if as_float else set(),
        integer_borders=set() if as_float else borders,
    )  # fmt: skip
    sources = frozenset(op.source for op in operators if id(op) in chosen)
    operators = for_delegate(operators, known, chosen)
    rewriter = _Rewriter(known, weight_codes)
    new_inputs = [rewriter.enter(tensor, io_dtype) for tensor in inputs]
    for operator in operators:
        if id(operator) in chosen:
            rewriter.convert(operator)
        else:
            rewriter.keep(operator)
    new_outputs = [rewriter.leave(tensor, io_dtype) for tensor in outputs]
    return IntegerModel(rewriter.operators, new_inputs, new_outputs, sources)


class _Rewriter(Rewriter):
    stored = DType.INT8

    def enter(self, tensor: Tensor, io_dtype: DType) -> Tensor:
        """Return the graph input in the wanted form."""
        code = self.codes.get(id(tensor))
        if io_dtype is DType.FLOAT32 or tensor.dtype is not DType.FLOAT32 or code is None:
            self.forms[id(tensor)] = {None: tensor}
            return tensor
        if io_dtype is DType.INT8:
            stored = Tensor(tensor.name, tensor.shape, DType.INT8, None, code)
            self.forms[id(tensor)] = {code: stored}
            return stored
        given = Tensor(tensor.name, tensor.shape, DType.UINT8, None, to_unsigned(code))
        inner = Tensor(f"{tensor.name}/int8", tensor.shape, DType.INT8, None, code)
        self.operators.append(Operator("QUANTIZE", [given], [inner], {}, ""))
        self.forms[id(tensor)] = {code: inner}
        return given

    def leave(self, tensor: Tensor, io_dtype: DType) -> Tensor:
        """Return the graph output in the wanted form."""
        code = self.codes.get(id(tensor))
        if io_dtype is DType.FLOAT32 or tensor.dtype is not DType.FLOAT32 or code is None:
            return self.as_float(tensor, "")
        stored = self.as_code(tensor, code, "")
        if io_dtype is DType.INT8:
            return stored
        result = Tensor(f"{tensor.name}/uint8", tensor.shape, DType.UINT8, None, to_unsigned(code))
        self.operators.append(Operator("QUANTIZE", [stored], [result], {}, ""))
        return result

    def convert(self, operator: Operator) -> None:
        """Emit an operator's int8 kernel."""
        if operator.op == "QUANTIZE":
            self._requantize(operator)
        else:
            super().convert(operator)

    def _requantize(self, operator: Operator) -> None:
        """Bring a tensor into the output's code; nothing is emitted where it already has it."""
        tensor, result = operator.inputs[0], operator.outputs[0]
        assert tensor is not None
        code = self.codes[id(result)]
        if code in self.forms[id(tensor)]:
            self.forms[id(result)] = {code: self.forms[id(tensor)][code]}
            return
        stored = self.as_code(tensor, code, operator.source)
        stored.name = result.name
        self.forms[id(result)] = {code: stored}

    def _code_of(self, values: Array) -> Quantization:
        return code_of_range(float(values.min()), float(values.max()))

    def _constant(self, tensor: Tensor, code: Quantization) -> Tensor:
        forms = self.forms.setdefault(id(tensor), {None: tensor})
        if code not in forms:
            assert tensor.data is not None
            values = quantize_values(tensor.data, code)
            forms[code] = Tensor(tensor.name, tensor.shape, DType.INT8, values, code)
        return forms[code]

    def _bias(self, bias: Tensor, data: Quantization, weight: Quantization) -> Tensor:
        assert bias.data is not None
        return quantize_bias(bias, data, weight)

    def _fixed(self, operator: Operator) -> Quantization | None:
        return KERNELS[operator.op].fixed
