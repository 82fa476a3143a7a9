"""The Q/DQ pairs of a graph, each with what it stores and what reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgekit.graph import Array, Graph, Node

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Pair:
    """A DequantizeLinear, and the QuantizeLinear before it.

    Args:
        source: The tensor that is rounded; the stored integers where there is no Q.
        quantize: None where a constant is stored as integers.
        dequantize: The DQ node.
        scale: Its scale, shape () or (C,); None where it is computed.
        zero_point: Of the same shape; zeros where there is none.
        axis: Along which the scales run; None per tensor.
        dtype: Of the stored integers, by its numpy name.
        stored: Integers of a constant, else None.
        real: The constant as floats where the file holds them, else None.
    """

    source: str
    quantize: Node | None
    dequantize: Node
    scale: Array | None
    zero_point: Array | None
    axis: int | None
    dtype: str
    stored: Array | None = None
    real: Array | None = None

    @property
    def result(self) -> str:
        """The float tensor that readers get."""
        return self.dequantize.outputs[0]

    @property
    def name(self) -> str:
        """The node that stands for the pair."""
        return (self.quantize or self.dequantize).name

    @property
    def is_constant(self) -> bool:
        """Whether a constant is rounded."""
        return self.stored is not None or self.real is not None

    @property
    def amax(self) -> Array | None:
        """Largest absolute value that the code holds, shape () or (C,)."""
        if self.scale is None:
            return None
        limits = np.iinfo(self.dtype) if self.dtype in ("int8", "uint8") else np.iinfo("int8")
        point = np.float64(0) if self.zero_point is None else self.zero_point.astype(np.float64)
        ends = (limits.min - point) * self.scale, (limits.max - point) * self.scale
        return np.asarray(np.maximum(np.abs(ends[0]), np.abs(ends[1])))

    @property
    def is_clipped_at_zero(self) -> bool:
        """Whether the code begins at 0, so that nothing below comes through."""
        if self.dtype not in ("int8", "uint8"):
            return False
        points = np.zeros(1, self.dtype) if self.zero_point is None else self.zero_point
        return bool((points == np.iinfo(self.dtype).min).all())

    def values(self) -> Array:
        """Return the constant's real values, float32; those of its integers where it is stored."""
        if self.real is not None:
            return self.real.astype(np.float32)
        assert self.stored is not None and self.scale is not None  # asked of constants only
        shape = [1] * self.stored.ndim
        if self.axis is not None and self.scale.ndim:
            shape[self.axis] = -1
        point = 0 if self.zero_point is None else self.zero_point.reshape(shape)
        return ((self.stored.astype(np.float32) - point) * self.scale.reshape(shape)).astype(
            np.float32
        )


class PairView:
    """A quantized graph as the rules look at it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producers = graph.producers()
        self.readers = graph.consumers()
        self.pairs: dict[str, Pair] = {pair.result: pair for pair in _pairs(self)}

    @cached_property
    def layers(self) -> tuple[Node, ...]:
        """Nodes whose products TensorRT computes in integers."""
        return tuple(node for node in self.graph.nodes if node.op_type in LAYERS)

    def weight(self, layer: Node) -> Pair | None:
        """Return the pair of a layer's weight, seen through a Transpose, or None."""
        for name in (layer.input(1), layer.input(0)):
            pair = self.pairs.get(self.through_transpose(name))
            if pair is not None and pair.is_constant:
                return pair
        return None

    def through_transpose(self, name: str) -> str:
        """Return what a Transpose of a constant reads, or the name itself."""
        maker = self.producers.get(name)
        return maker.inputs[0] if maker is not None and maker.op_type == "Transpose" else name

    def constant(self, name: str) -> Array | None:
        """Return a constant by name."""
        return self.graph.initializers.get(name)


def _pairs(view: PairView) -> Iterator[Pair]:
    for node in view.graph.nodes:
        if node.op_type == DEQUANTIZE:
            yield _pair(view, node)


def _pair(view: PairView, dequantize: Node) -> Pair:
    integers = dequantize.input(0)
    maker = view.producers.get(integers)
    quantize = maker if maker is not None and maker.op_type == QUANTIZE else None
    scale, point = view.constant(dequantize.input(1)), view.constant(dequantize.input(2))
    stored = view.constant(integers)
    source = integers if quantize is None else quantize.input(0)
    real = None if quantize is None else view.constant(source)
    axis = None
    rank = next((value.ndim for value in (stored, real) if value is not None), None)
    if scale is not None and scale.size > 1:
        axis = dequantize.attribute("axis", 1)
        axis += rank if axis < 0 and rank is not None else 0
    return Pair(
        source, quantize, dequantize, scale, point, axis, _dtype(view, stored, point), stored, real
    )


def _dtype(view: PairView, stored: Array | None, point: Array | None) -> str:
    for value in (stored, point):
        if value is not None:
            return str(value.dtype.name)
    return "uint8"  # QuantizeLinear without a zero point
