"""Clamps that cost nothing in integers: a code that ends where the clamp does saturates there.

A ReLU's result has a code from 0 on. What computes its input can write that code at once,
and values below 0 saturate at 0: the ReLU is gone, wherever it stood.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

from edgekit.converters.emitters.tflite.kernels import INT8_LOW, KERNELS, code_of_range, real_range
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.quantization import Quantization
from edgekit.tensor import DType

Bounds = tuple[float, float]

_BOUNDS: dict[str, Bounds] = {
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
# A clamp of what they write is what they write of clamped elements. No means: those mix.
_COMMUTE = frozenset({"MAX_POOL_2D", "REDUCE_MAX", "REDUCE_MIN"})


def clamp_bounds(operator: Operator) -> Bounds | None:
    """Return the limits that an operator applies to its one computed input, if it is a clamp."""
    if operator.op in _BOUNDS:
        return _BOUNDS[operator.op]
    if operator.op not in ("MAXIMUM", "MINIMUM"):
        return None
    limits = [t.data for t in operator.inputs if t is not None and t.data is not None]
    if len(limits) != 1 or limits[0].size != 1 or operator.outputs[0].dtype is not DType.FLOAT32:
        return None
    limit = float(limits[0].reshape(()))
    if operator.op == "MAXIMUM":
        return (limit, math.inf) if limit <= 0 else None
    # Every code has a 0, so it can end at a limit only on that limit's own side of 0.
    return (-math.inf, limit) if limit >= 0 else None


def clamped_input(operator: Operator) -> Tensor:
    """Return the tensor that a clamp limits."""
    return next(t for t in operator.inputs if t is not None and t.data is None)


def saturates_at(code: Quantization, bounds: Bounds) -> bool:
    """Whether no integer of the code lies beyond the limits, by more than half a step."""
    low, high = real_range(code)
    half = code.scale[0] / 2
    return low >= bounds[0] - half and high <= bounds[1] + half


def clamp_code(code: Quantization, bounds: Bounds) -> Quantization:
    """Return the code for a clamped tensor: it ends at the limits, or where ``code`` does."""
    low, high = real_range(code)
    if bounds == (0.0, math.inf):
        return Quantization(code.scale, (INT8_LOW,))  # the same steps, only shifted
    return code_of_range(max(low, bounds[0]), min(high, bounds[1]))


def fold_clamps(
    operators: Sequence[Operator],
    outputs: Sequence[Tensor],
    codes: dict[int, Quantization],
    float_sources: Collection[str],
) -> list[Operator]:
    """Return the operators without the clamps that their producer's code makes superfluous.

    Args:
        operators: In execution order; an operator that takes over a clamp's output is changed.
        outputs: The graph's outputs.
        codes: By identity of the tensor; the clamped tensors get the code of the result.
        float_sources: ONNX nodes that stay in float.
    """
    return _Folding(operators, outputs, codes, float_sources).run()


class _Folding:
    def __init__(
        self,
        operators: Sequence[Operator],
        outputs: Sequence[Tensor],
        codes: dict[int, Quantization],
        float_sources: Collection[str],
    ) -> None:
        self._operators = operators
        self._codes = codes
        self._float = float_sources
        self._producer = {id(tensor): op for op in operators for tensor in op.outputs}
        self._uses = Counter(id(t) for op in operators for t in op.inputs if t is not None)
        self._uses.update(id(tensor) for tensor in outputs)

    def run(self) -> list[Operator]:
        dropped = {id(op) for op in reversed(self._operators) if self._fold(op)}
        return [op for op in self._operators if id(op) not in dropped]

    def _fold(self, operator: Operator) -> bool:
        bounds = clamp_bounds(operator)
        code = self._codes.get(id(operator.outputs[0]))
        if bounds is None or code is None or operator.source in self._float:
            return False
        source = clamped_input(operator)
        if not saturates_at(code, bounds) or not self._can_write(source):
            return False
        self._write(source, code)
        maker = self._producer[id(source)]
        maker.outputs = [operator.outputs[0] if t is source else t for t in maker.outputs]
        self._producer[id(operator.outputs[0])] = maker
        return True

    def _can_write(self, tensor: Tensor) -> bool:
        """Whether what computes the tensor may write another code: nobody else reads it."""
        maker = self._producer.get(id(tensor))
        kernel = None if maker is None else KERNELS.get(maker.op)
        if maker is None or kernel is None or self._uses[id(tensor)] != 1:
            return False
        if maker.source in self._float or kernel.fixed is not None:
            return False
        if not kernel.shares_code or clamp_bounds(maker) is not None:
            return True
        if not kernel.moves_data and maker.op not in _COMMUTE:
            return False
        moved = [t for t in maker.inputs if t is not None and self._is_computed(t)]
        # Several parts of a whole are requantized where need be; a single one is passed on.
        return len(moved) > 1 or self._can_write(moved[0])

    @staticmethod
    def _is_computed(tensor: Tensor) -> bool:
        return tensor.data is None and tensor.dtype is DType.FLOAT32

    def _write(self, tensor: Tensor, code: Quantization) -> None:
        self._codes[id(tensor)] = code
        maker = self._producer[id(tensor)]
        if not KERNELS[maker.op].shares_code or clamp_bounds(maker) is not None:
            return
        for moved in maker.inputs:
            if moved is not None and self._is_computed(moved) and self._can_write(moved):
                self._write(moved, code)
