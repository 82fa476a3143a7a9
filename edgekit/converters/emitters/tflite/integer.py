"""The integer pass: float TFLite operators become int8 ones where the table says so.

It runs on the finished float operator list. Every tensor is held as float, as int8 in one or
more codes, or both; QUANTIZE and DEQUANTIZE are emitted only where a reader needs the other
form, once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from edgekit.converters.emitters.tflite.clamps import fold_clamps
from edgekit.converters.emitters.tflite.codes import (
    choose_integer,
    operand_places,
    spread_codes,
    to_unsigned,
)
from edgekit.converters.emitters.tflite.constants import (
    quantize_bias,
    quantize_values,
    quantize_weight,
)
from edgekit.converters.emitters.tflite.delegated import for_delegate
from edgekit.converters.emitters.tflite.kernels import (
    KERNELS,
    Kernel,
    code_of_range,
)
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.quantization import Quantization
from edgekit.tensor import DType


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
            rewriter.integer(operator)
        else:
            rewriter.keep(operator)
    new_outputs = [rewriter.leave(tensor, io_dtype) for tensor in outputs]
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
        if operator.op == "QUANTIZE":
            self._requantize(operator)
            return
        inputs = list(operator.inputs)
        shared = self._shared_code(operator) if kernel.shares_code else None
        for place in operand_places(operator):
            tensor = operator.inputs[place]
            if tensor is None:
                continue
            if tensor.data is not None:
                code = shared or code_of_range(float(tensor.data.min()), float(tensor.data.max()))
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

    def _requantize(self, operator: Operator) -> None:
        """Bring a tensor into the output's code; nothing is emitted where it already has it."""
        tensor, result = operator.inputs[0], operator.outputs[0]
        assert tensor is not None
        code = self._codes[id(result)]
        if code in self._forms[id(tensor)]:
            self._forms[id(result)] = {code: self._forms[id(tensor)][code]}
            return
        stored = self._as_code(tensor, code, operator.source)
        stored.name = result.name
        self._forms[id(result)] = {code: stored}

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
