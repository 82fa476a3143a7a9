"""Float operators become integer kernels, and the forms that their tensors are held in.

What int8 (``integer.py``) and int16 (``wide.py``) share; they say how constants and biases are
stored, and which output codes their kernels fix.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from edgekit.converters.emitters.tflite.codes import computed_operands, operand_places
from edgekit.converters.emitters.tflite.constants import quantize_weight
from edgekit.converters.emitters.tflite.kernels import KERNELS, Kernel
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.graph import Array
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


class Rewriter(ABC):
    """Emits operators; a tensor is held as float, in one or more codes, or both.

    Args:
        codes: Of activations, by identity of the float tensor.
        weight_codes: Of weights, scales along ONNX's output channels.

    Attributes:
        operators: Emitted so far.
        codes: As given; an output that a kernel's code is forced on gets that one.
        forms: By identity of the original tensor: its forms; None keys the float one.
    """

    stored: ClassVar[DType]
    """Type of a coded activation."""

    def __init__(
        self, codes: Mapping[int, Quantization], weight_codes: Mapping[int, Quantization]
    ) -> None:
        self.operators: list[Operator] = []
        self.codes = dict(codes)
        self.forms: dict[int, dict[Quantization | None, Tensor]] = {}
        self._weight_codes = weight_codes

    def keep(self, operator: Operator) -> None:
        """Emit an operator in float, its integer inputs turned back."""
        inputs = [
            None if tensor is None else self.as_float(tensor, operator.source)
            for tensor in operator.inputs
        ]
        self.operators.append(replace(operator, inputs=inputs))
        self.forms |= {id(tensor): {None: tensor} for tensor in operator.outputs}

    def convert(self, operator: Operator) -> None:
        """Emit an operator's integer kernel."""
        kernel = KERNELS[operator.op]
        shared = self._shared_code(operator) if kernel.shares_code else None
        inputs = list(operator.inputs)
        for place in operand_places(operator):
            tensor = operator.inputs[place]
            if tensor is None:
                continue
            if tensor.data is not None:
                inputs[place] = self._constant(tensor, shared or self._code_of(tensor.data))
            else:
                code = shared or self.codes[id(tensor)]
                inputs[place] = self.as_code(tensor, code, operator.source)
        if kernel.weight is not None:
            self._weights(operator, kernel, inputs)
        forced = shared or self._fixed(operator)
        outputs = [self._result(tensor, forced) for tensor in operator.outputs]
        options = self._options(operator)
        self.operators.append(Operator(operator.op, inputs, outputs, options, operator.source))
        for tensor, stored in zip(operator.outputs, outputs, strict=True):
            self.forms[id(tensor)] = {stored.quantization: stored}

    def as_float(self, tensor: Tensor, source: str) -> Tensor:
        """Return the tensor in float, turned back once where it is not."""
        if tensor.data is not None or tensor.dtype is not DType.FLOAT32:
            return tensor
        forms = self.forms[id(tensor)]
        if None not in forms:
            stored = next(iter(forms.values()))
            self.operators.append(Operator("DEQUANTIZE", [stored], [tensor], {}, source))
            stored.name = f"{tensor.name}/{self.stored.value}"
            forms[None] = tensor
        return forms[None]

    def as_code(self, tensor: Tensor, code: Quantization, source: str) -> Tensor:
        """Return the tensor in a code, brought into it once where it is not."""
        forms = self.forms[id(tensor)]
        if code not in forms:
            have = forms.get(None) or next(iter(forms.values()))
            stored = Tensor(f"{tensor.name}/quantize", tensor.shape, self.stored, None, code)
            self.operators.append(Operator("QUANTIZE", [have], [stored], {}, source))
            forms[code] = stored
        return forms[code]

    @abstractmethod
    def _code_of(self, values: Array) -> Quantization:
        """Return the code that covers a constant."""

    @abstractmethod
    def _constant(self, tensor: Tensor, code: Quantization) -> Tensor:
        """Return a constant operand as integers."""

    @abstractmethod
    def _bias(self, bias: Tensor, data: Quantization, weight: Quantization) -> Tensor:
        """Return a bias as integers at input scale times weight scale."""

    @abstractmethod
    def _fixed(self, operator: Operator) -> Quantization | None:
        """Return the only output code that the kernel writes, or None."""

    def _options(self, operator: Operator) -> dict[str, Any]:
        return operator.options

    def _shared_code(self, operator: Operator) -> Quantization:
        """Return the one code of all operands: of several, the output's; else the input's."""
        computed = computed_operands(operator)
        only = computed[0] if len(computed) == 1 else operator.outputs[0]
        return self.codes[id(only)]

    def _result(self, tensor: Tensor, forced: Quantization | None) -> Tensor:
        """Return the coded output; readers take it in the code that the kernel gives it."""
        if tensor.dtype is not DType.FLOAT32:
            return tensor
        code = forced or self.codes[id(tensor)]
        self.codes[id(tensor)] = code
        return Tensor(tensor.name, tensor.shape, self.stored, None, code)

    def _weights(self, operator: Operator, kernel: Kernel, inputs: list[Tensor | None]) -> None:
        assert kernel.weight is not None
        weight, data = operator.inputs[kernel.weight], inputs[operand_places(operator)[0]]
        assert weight is not None and weight.data is not None and data is not None
        stored = quantize_weight(weight, kernel.weight_axis, self._weight_codes.get(id(weight)))
        inputs[kernel.weight] = stored
        place = kernel.bias
        bias = None if place is None or place >= len(inputs) else operator.inputs[place]
        if place is None or bias is None:
            return
        assert data.quantization is not None and stored.quantization is not None
        inputs[place] = self._bias(bias, data.quantization, stored.quantization)
