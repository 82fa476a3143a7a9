"""int8 operators that XNNPACK does not take, said in int8 operators that it does take.

Without the delegate the plain kernels run, which are slow, and every change between the two
copies tensors. Measured on x86-64 (AVX-512), one thread, LiteRT 2.3, microseconds that the
operator adds between two depthwise convolutions on (1, 56, 56, 96), plain and rewritten:

    HARD_SWISH      1070    33      PRELU            2210   146
    RELU            2330    12      AVERAGE_POOL 3x3 1100   128, 2x2 stride 2: 450, 220
    AVERAGE_POOL 3x3 SAME  1220   215

The same chains as float islands need 31, 62, 30 and 97: no slower, but of no use to an
accelerator that has integers only. GELU (92) and SOFTMAX stay plain: nothing in int8 beats
them. To add a rewrite: a function here, one line in ``_REWRITES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgekit.converters.emitters.tflite.clamps import (
    clamp_bounds,
    clamp_code,
    clamped_input,
    saturates_at,
)
from edgekit.converters.emitters.tflite.kernels import (
    INT8_HIGH,
    INT8_LOW,
    code_of_range,
    real_range,
)
from edgekit.converters.emitters.tflite.model import Operator, Option, Tensor
from edgekit.converters.emitters.tflite.schema import Activation, Padding
from edgekit.graph import Array
from edgekit.quantization import Quantization
from edgekit.tensor import DType

# Larger windows: the plain pool, whose cost grows as fast, is at most as slow.
MAX_POOL_AREA = 64


@dataclass
class Rewriting:
    """One operator being rewritten.

    Args:
        operator: It.
        codes: By identity of the tensor; those of new tensors are added.
        made: The operators that replace it.
    """

    operator: Operator
    codes: dict[int, Quantization]
    made: list[Operator] = field(default_factory=list)

    @property
    def source(self) -> Tensor:
        """Its first computed input."""
        return clamped_input(self.operator)

    @property
    def result(self) -> Tensor:
        """Its output."""
        return self.operator.outputs[0]

    def code(self, tensor: Tensor) -> Quantization:
        """Return a tensor's code."""
        return self.codes[id(tensor)]

    def emit(
        self,
        op: str,
        inputs: Sequence[Tensor | Array],
        to: Tensor | Quantization,
        **options: Option,
    ) -> Tensor:
        """Add an operator.

        Args:
            op: TFLite builtin.
            inputs: Tensors, arrays for constants.
            to: The result, or the code of a new tensor of the result's shape.
            **options: Of the operator.
        """
        if isinstance(to, Quantization):
            name = f"{self.result.name}/{op.lower()}"
            code, to = to, Tensor(name, self.result.shape, DType.FLOAT32)
            self.codes[id(to)] = code
        tensors: list[Tensor | None] = [
            Tensor(f"{self.result.name}/const", item.shape, DType.from_numpy(item.dtype), item)
            if isinstance(item, np.ndarray)
            else item
            for item in inputs
        ]
        self.made.append(Operator(op, tensors, [to], dict(options), self.operator.source))
        return to


def for_delegate(
    operators: Sequence[Operator], codes: dict[int, Quantization], chosen: set[int]
) -> list[Operator]:
    """Return the operators, those among ``chosen`` rewritten that XNNPACK would not take.

    Args:
        operators: In execution order.
        codes: By identity of the tensor; those of new tensors are added.
        chosen: Identities of the operators that compute in integers; likewise.
    """
    done: list[Operator] = []
    for operator in operators:
        rewrite = _REWRITES.get(operator.op) if id(operator) in chosen else None
        state = Rewriting(operator, codes)
        if rewrite is None or not rewrite(state):
            done.append(operator)
            continue
        done += state.made
        chosen.update(map(id, state.made))
    return done


def _scalar(value: float) -> Array:
    return np.array(value, np.float32)


def _clamp(state: Rewriting) -> bool:
    """Requantize into a code that ends where the clamp does."""
    bounds = clamp_bounds(state.operator)
    if bounds is None:
        return False
    source = state.source
    if not saturates_at(state.code(state.result), bounds):
        source = state.emit("QUANTIZE", [source], clamp_code(state.code(source), bounds))
    state.emit("QUANTIZE", [source], state.result)
    return True


def _hard_swish(state: Rewriting) -> bool:
    """Say it as x * (relu6(x + 3) / 6). Source: Howard et al. 2019, section 5.2."""
    source = state.source
    shifted = state.emit(
        "ADD", [source, _scalar(3.0)], code_of_range(0.0, 6.0),
        fused_activation_function=int(Activation.RELU6),
    )  # fmt: skip
    gate = state.emit("MUL", [shifted, _scalar(1 / 6)], code_of_range(0.0, 1.0))
    state.emit("MUL", [source, gate], state.result)
    return True


def _prelu(state: Rewriting) -> bool:
    """Say it as max(x, 0) + slope * min(x, 0); the two parts are exact, being shifted codes."""
    slope = state.operator.inputs[1]
    source = state.source
    if slope is None or slope.data is None:
        return False
    values = slope.data.reshape(-1)
    if values.size and (values == values[0]).all() and 0 < values[0] < 1:
        state.emit("LEAKY_RELU", [source], state.result, alpha=float(values[0]))
        return True
    scale = state.code(source).scale
    below = state.emit("QUANTIZE", [source], Quantization(scale, (INT8_HIGH,)))
    above = state.emit("QUANTIZE", [source], Quantization(scale, (INT8_LOW,)))
    low = real_range(state.code(source))[0]
    ends = (low * float(values.min()), low * float(values.max()))
    scaled = state.emit("MUL", [below, slope.data], code_of_range(min(ends), max(ends)))
    state.emit("ADD", [above, scaled], state.result)
    return True


def _average_pool(state: Rewriting) -> bool:
    """Say it as a MEAN over everything, or a depthwise convolution of equal weights."""
    options, source = state.operator.options, state.source
    window = (_whole(options["filter_height"]), _whole(options["filter_width"]))
    stride = (_whole(options["stride_h"]), _whole(options["stride_w"]))
    activation = options.get("fused_activation_function", 0)
    if window == source.shape[1:3] and state.result.shape[1:3] == (1, 1) and not activation:
        state.emit("MEAN", [source, np.array([1, 2], np.int32)], state.result, keep_dims=True)
        return True
    area = math.prod(window)
    if area > MAX_POOL_AREA:
        return False
    counts = _counts(source.shape[1:3], state.result.shape[1:3], window, stride)
    padded = options["padding"] == Padding.SAME and bool((counts != area).any())
    if padded and activation:
        return False
    channels = source.shape[3]
    weight = np.full((1, *window, channels), 1 / area, np.float32)
    bias = np.zeros(channels, np.float32)
    # Means that count the padding as zeros are never beyond the range of the true ones.
    to = state.code(state.result) if padded else state.result
    sums = state.emit(
        "DEPTHWISE_CONV_2D", [source, weight, bias], to,
        padding=options["padding"], stride_h=stride[0], stride_w=stride[1], depth_multiplier=1,
        fused_activation_function=activation,
    )  # fmt: skip
    if padded:
        correction = np.asarray(area / counts, np.float32)[None, :, :, None]
        state.emit("MUL", [sums, correction], state.result)
    return True


def _whole(option: Option) -> int:
    assert isinstance(option, int)
    return option


def _counts(
    size: Sequence[int], result: Sequence[int], window: Sequence[int], stride: Sequence[int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return how many elements lie under each window of a SAME pool, shape (H out, W out)."""
    per_axis = []
    for length, count, width, step in zip(size, result, window, stride, strict=True):
        before = max((count - 1) * step + width - length, 0) // 2
        starts = np.arange(count) * step - before
        per_axis.append(np.minimum(starts + width, length) - np.maximum(starts, 0))
    return np.asarray(np.multiply.outer(*per_axis), np.int64)


def _pad(state: Rewriting) -> bool:
    """Pad with the zero point where the constant saturates there."""
    _, paddings, constant = state.operator.inputs
    code = state.code(state.source)
    if paddings is None or constant is None or constant.data is None:
        return False
    filler = round(float(constant.data.reshape(())) / code.scale[0]) + code.zero_point[0]
    if min(max(filler, INT8_LOW), INT8_HIGH) != code.zero_point[0]:
        return False
    state.emit("PAD", [state.source, paddings], state.result)
    return True


_REWRITES: dict[str, Callable[[Rewriting], bool]] = {
    "AVERAGE_POOL_2D": _average_pool,
    "HARD_SWISH": _hard_swish,
    "MAXIMUM": _clamp,
    "MINIMUM": _clamp,
    "PADV2": _pad,
    "PRELU": _prelu,
    "RELU": _clamp,
    "RELU6": _clamp,
    "RELU_N1_TO_1": _clamp,
}
