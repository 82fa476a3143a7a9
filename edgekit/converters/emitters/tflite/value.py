"""How an ONNX tensor is held in the TFLite model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.converters.emitters.tflite.layout import Permutation, logical_shape
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.window import Window
from edgekit.tensor import DType


@dataclass(frozen=True)
class Value:
    """An ONNX tensor as the TFLite model holds it.

    Args:
        tensor: The TFLite tensor, stored shape.
        permutation: Stored axis ``i`` is logical axis ``permutation[i]``.
        is_non_negative: Whether no element can be below 0 (padding with 0 is then neutral
            for a maximum).
    """

    tensor: Tensor
    permutation: Permutation
    is_non_negative: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Logical (ONNX) shape."""
        return logical_shape(self.tensor.shape, self.permutation)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.permutation)

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.tensor.dtype

    def stored_axis(self, axis: int) -> int:
        """Return where logical ``axis`` (may be negative) is stored."""
        return self.permutation.index(axis % self.rank)


@dataclass(frozen=True)
class PooledMaxima:
    """What a MaxUnpool needs of the MaxPool whose indices it reads.

    Args:
        masks: One per place of the window, (N, H, W, C) of the pooled size: 1.0 where the
            window's first maximum is at that place.
        window: The pool's geometry.
        shape: Logical shape of the pool's input, (N, C, H, W).
    """

    masks: Sequence[Tensor]
    window: Window
    shape: tuple[int, ...]
