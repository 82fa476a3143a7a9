"""int16 activations beside int8 weights (``w8a16``): LiteRT's 16x8 kernels.

They keep 16 bits of every activation (symmetric, 65,535 levels), read the weights in int8 and
the bias in int64. XNNPACK has none of them: the plain kernels run, slower than float on a CPU.
It is a form for accelerators that have integers only, and for models that 8 bits break. What has
no such kernel stays float between a DEQUANTIZE and a QUANTIZE.

Source: LiteRT, "Post-training integer quantization with int16 activations"; which kernels
there are was found by running each (``tests/test_tflite_wide.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgekit.converters.emitters.tflite.codes import (
    choose_integer,
    computed_operands,
    operand_places,
)
from edgekit.converters.emitters.tflite.constants import quantize_weight
from edgekit.converters.emitters.tflite.integer import IntegerModel
from edgekit.converters.emitters.tflite.kernels import KERNELS, Kernel
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.quantization import Quantization
from edgekit.tensor import DType

HIGHEST = 32767
WIDE_KERNELS = frozenset(
    {
        "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "ADD",
        "SUB", "MUL", "MAXIMUM", "MINIMUM", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "SUM",
        "REDUCE_MAX", "REDUCE_MIN", "LOGISTIC", "TANH", "SOFTMAX", "RELU", "RELU6", "LEAKY_RELU",
        "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "CONCATENATION", "PACK", "RESHAPE",
        "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "PAD", "PADV2", "MIRROR_PAD", "SLICE",
        "STRIDED_SLICE", "GATHER", "SPLIT", "REVERSE_V2", "TILE", "BROADCAST_TO",
    }
)  # fmt: skip
"""Not EXP and GELU, which LiteRT 2.3 looks up in 513 entries: they are off by 20 steps and more;
nor PRELU, which computes in int16 what means nothing."""
_UNIT = Quantization((1 / 32768,), (0,))
# They keep every element, so that their result's code fits what they read.
_KEEPS_ALL = frozenset(
    {
        "BROADCAST_TO", "CONCATENATION", "EXPAND_DIMS", "MIRROR_PAD", "PACK", "PAD", "PADV2",
        "RESHAPE", "REVERSE_V2", "SQUEEZE", "TILE", "TRANSPOSE",
    }
)  # fmt: skip
_FIXED = dict.fromkeys(("LOGISTIC", "TANH", "SOFTMAX"), _UNIT)
"""The only output code that these kernels write, 15 bits behind the point."""


def to_wide(
    operators: Sequence[Operator],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    codes: Mapping[int, Quantization],
    weight_codes: Mapping[int, Quantization],
    float_sources: Collection[str] = (),
) -> IntegerModel:
    """Return the model with 16x8 kernels; its inputs and outputs stay float.

    Args:
        operators: Float operators, fused.
        inputs: The graph's inputs.
        outputs: The graph's outputs.
        codes: Symmetric int16 codes of activations, by identity of the float tensor.
        weight_codes: Codes of weights by identity, scales along ONNX's output channels.
        float_sources: ONNX nodes to leave in float.
    """
    operators = [replace(op, inputs=list(op.inputs), outputs=list(op.outputs)) for op in operators]
    known = _spread(operators, codes)
    lacking = {op.source for op in operators if op.op in KERNELS and op.op not in WIDE_KERNELS}
    chosen = choose_integer(
        operators, known, {*float_sources, *lacking}, float_outputs=set(map(id, outputs))
    )
    rewriter = _Rewriter(known, weight_codes)
    rewriter.forms |= {id(tensor): {None: tensor} for tensor in inputs}
    for operator in operators:
        if id(operator) in chosen:
            rewriter.wide(operator)
        else:
            rewriter.keep(operator)
    ends = [rewriter.as_float(tensor, "") for tensor in outputs]
    sources = frozenset(op.source for op in operators if id(op) in chosen)
    return IntegerModel(rewriter.operators, list(inputs), ends, sources)


def symmetric_code(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Quantization:
    """Return the int16 code that covers a constant."""
    largest = float(np.abs(np.asarray(values, np.float64)).max(initial=0.0))
    # float32 is what the file stores.
    return Quantization((float(np.float32((largest or 1.0) / HIGHEST)),), (0,))


def _spread(
    operators: Sequence[Operator], codes: Mapping[int, Quantization]
) -> dict[int, Quantization]:
    """Give a code to tensors that ONNX has no name for and that move coded elements."""
    known = dict(codes)
    for operator in operators:
        kernel = KERNELS.get(operator.op)
        operands = computed_operands(operator) if kernel is not None else []
        if kernel is None or not operands or not all(id(t) in known for t in operands):
            continue
        code = _FIXED.get(operator.op)
        if code is None and kernel.shares_code:
            code = max((known[id(t)] for t in operands), key=lambda item: item.scale[0])
        for tensor in operator.outputs:
            if code is not None and tensor.dtype is DType.FLOAT32:
                known.setdefault(id(tensor), code)
    for operator in reversed([op for op in operators if op.op in _KEEPS_ALL]):
        for tensor in computed_operands(operator):
            if id(operator.outputs[0]) in known:
                known.setdefault(id(tensor), known[id(operator.outputs[0])])
    return known


@dataclass
class _Rewriter:
    """Emits operators; a tensor is held as float, in one or more codes, or both."""

    codes: dict[int, Quantization]
    weight_codes: Mapping[int, Quantization]
    operators: list[Operator] = field(default_factory=list)
    forms: dict[int, dict[Quantization | None, Tensor]] = field(default_factory=dict)

    def keep(self, operator: Operator) -> None:
        """Emit an operator in float."""
        inputs = [
            None if tensor is None else self.as_float(tensor, operator.source)
            for tensor in operator.inputs
        ]
        self.operators.append(replace(operator, inputs=inputs))
        self.forms |= {id(tensor): {None: tensor} for tensor in operator.outputs}

    def wide(self, operator: Operator) -> None:
        """Emit an operator's 16x8 kernel."""
        kernel = KERNELS[operator.op]
        shared = self._shared(operator) if kernel.shares_code else None
        inputs = list(operator.inputs)
        for place in operand_places(operator):
            tensor = operator.inputs[place]
            if tensor is None:
                continue
            if tensor.data is not None:
                inputs[place] = _constant(tensor, shared or symmetric_code(tensor.data))
            else:
                code = shared or self.codes[id(tensor)]
                inputs[place] = self._as_code(tensor, code, operator.source)
        if kernel.weight is not None:
            self._weights(operator, kernel, inputs)
        options = dict(operator.options)
        if operator.op in ("ADD", "SUB"):
            options["pot_scale_int16"] = False  # else scales have to be powers of two
        forced = shared or _FIXED.get(operator.op)
        outputs = [self._result(tensor, forced) for tensor in operator.outputs]
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
            stored.name = f"{tensor.name}/int16"
            forms[None] = tensor
        return forms[None]

    def _as_code(self, tensor: Tensor, code: Quantization, source: str) -> Tensor:
        forms = self.forms[id(tensor)]
        if code not in forms:
            have = forms.get(None) or next(iter(forms.values()))
            stored = Tensor(f"{tensor.name}/quantize", tensor.shape, DType.INT16, None, code)
            self.operators.append(Operator("QUANTIZE", [have], [stored], {}, source))
            forms[code] = stored
        return forms[code]

    def _shared(self, operator: Operator) -> Quantization:
        """Return the one code of all operands: of several, the output's; else the input's."""
        computed = computed_operands(operator)
        only = computed[0] if len(computed) == 1 else operator.outputs[0]
        return self.codes[id(only)]

    def _result(self, tensor: Tensor, forced: Quantization | None) -> Tensor:
        if tensor.dtype is not DType.FLOAT32:
            return tensor
        code = forced or self.codes[id(tensor)]
        self.codes[id(tensor)] = code
        return Tensor(tensor.name, tensor.shape, DType.INT16, None, code)

    def _weights(self, operator: Operator, kernel: Kernel, inputs: list[Tensor | None]) -> None:
        assert kernel.weight is not None
        weight, data = operator.inputs[kernel.weight], inputs[operand_places(operator)[0]]
        assert weight is not None and data is not None and data.quantization is not None
        stored = quantize_weight(weight, kernel.weight_axis, self.weight_codes.get(id(weight)))
        inputs[kernel.weight] = stored
        place = kernel.bias
        bias = None if place is None or place >= len(inputs) else operator.inputs[place]
        if place is None or bias is None:
            return
        assert stored.quantization is not None
        inputs[place] = _bias(bias, data.quantization, stored.quantization)


def _constant(tensor: Tensor, code: Quantization) -> Tensor:
    assert tensor.data is not None
    values = np.rint(np.asarray(tensor.data, np.float64) / code.scale[0])
    stored = np.clip(values, -HIGHEST, HIGHEST).astype(np.int16)
    return Tensor(tensor.name, tensor.shape, DType.INT16, stored, code)


def _bias(bias: Tensor, data: Quantization, weight: Quantization) -> Tensor:
    """Return the bias in int64 at input scale times weight scale."""
    assert bias.data is not None
    scale = np.array(weight.scale) * data.scale[0]
    values = np.rint(np.asarray(bias.data, np.float64) / scale).astype(np.int64)
    code = Quantization(tuple(map(float, scale)), (0,) * len(scale), 0)
    return Tensor(bias.name, bias.shape, DType.INT64, values, code)
