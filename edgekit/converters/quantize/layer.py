"""A layer as a matrix product, whatever operator it is: rows of inputs times its weights.

Grouped and depthwise convolutions are one product per group. A transposed convolution is a
product too, from an input pixel to all that its kernel makes of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgekit.converters.passes.remove_dead import remove_dead
from edgekit.converters.quantize.operators import Role, role_of, weight_of
from edgekit.graph import Array, Graph, Node
from edgekit.quantized import Code, QuantizedGraph

Floats = NDArray[np.float64]

_MOST_BYTES = 512 << 20  # of weights that are copied into an engine


@dataclass(frozen=True)
class Layer:
    """A node with constant weights.

    Args:
        node: Conv, ConvTranspose, Gemm or MatMul.
        weight: Its weights, float32.
    """

    node: Node
    weight: Array

    @property
    def groups(self) -> int:
        """How many independent products it is."""
        return self.node.attribute("group", 1) if self._is_convolution else 1

    @property
    def depth(self) -> int:
        """K: how many inputs one output sums over."""
        return int(self.matrix().shape[2])

    @property
    def _is_convolution(self) -> bool:
        return self.node.op_type in ("Conv", "ConvTranspose")

    def matrix(self, weight: Array | None = None) -> Array:
        """Return weights (or anything of their shape) as (groups, outputs, K)."""
        weight = self.weight if weight is None else weight
        if self.node.op_type == "Conv":
            return weight.reshape(self.groups, weight.shape[0] // self.groups, -1)
        if self.node.op_type == "ConvTranspose":
            inputs = weight.shape[0] // self.groups
            rows: Array = weight.reshape(self.groups, inputs, -1).transpose(0, 2, 1)
            return rows
        rows = weight if self.node.attribute("transB", 0) else weight.T
        return rows[np.newaxis]

    def from_matrix(self, matrix: Array) -> Array:
        """Return what ``matrix`` took apart, in the shape of the weights."""
        if self.node.op_type == "Conv":
            return np.ascontiguousarray(matrix).reshape(self.weight.shape)
        if self.node.op_type == "ConvTranspose":
            return np.ascontiguousarray(matrix.transpose(0, 2, 1)).reshape(self.weight.shape)
        rows = matrix[0]
        return np.ascontiguousarray(rows if self.node.attribute("transB", 0) else rows.T)

    def rows(self, value: Array, *, limit: int) -> Array:
        """Return inputs of the product, at most about ``limit`` positions spread evenly.

        Args:
            value: The layer's input, such as (N, C, H, W).
            limit: How many rows are wanted.

        Returns:
            float32 of shape (groups, rows, K).
        """
        if self.node.op_type == "Conv":
            return self._windows(value, limit)
        if self.node.op_type == "ConvTranspose":
            # (N, C, H, W) -> (groups, N*H*W, C / groups)
            pixels = value.reshape(value.shape[0], self.groups, -1, *value.shape[2:])
            flat = np.moveaxis(pixels, 2, -1).swapaxes(0, 1)
            flat = flat.reshape(self.groups, -1, flat.shape[-1])
        else:
            flat = value.reshape(1, -1, value.shape[-1])
        thin: Array = flat[:, :: max(1, flat.shape[1] // limit)]
        return thin

    def mean_row(self, value: Array) -> Floats:
        """Return the mean over all positions of ``rows``: shape (groups, K)."""
        if self.node.op_type != "Conv":
            mean: Floats = self.rows(value, limit=1 << 62).mean(axis=1, dtype=np.float64)
            return mean
        padded, sizes, strides, dilations = self._padded(value)
        channels = padded.shape[1]
        kernel = self.weight.shape[2:]
        means = np.empty((channels, int(np.prod(kernel))))
        for index, tap in enumerate(itertools.product(*map(range, kernel))):
            window = _at(padded, self._slices(tap, sizes, strides, dilations))
            axes = (0, *range(2, window.ndim))
            means[:, index] = window.mean(axis=axes, dtype=np.float64)
        return means.reshape(self.groups, -1)

    def _windows(self, value: Array, limit: int) -> Array:
        padded, sizes, strides, dilations = self._padded(value)
        kernel = self.weight.shape[2:]
        # Fewer positions along the last axes first: a whole picture is more than is needed.
        steps = [1] * len(sizes)
        while np.prod([-(-size // step) for size, step in zip(sizes, steps, strict=True)]) > limit:
            axis = int(np.argmax([size / step for size, step in zip(sizes, steps, strict=True)]))
            steps[axis] += 1
        taps = []
        for tap in itertools.product(*map(range, kernel)):
            places = self._slices(tap, sizes, strides, dilations)
            thin = tuple(
                slice(place.start, place.stop, place.step * step)
                for place, step in zip(places, steps, strict=True)
            )
            taps.append(_at(padded, thin))
        # (taps, N, C, *out) -> (C, taps, N*out) -> (groups, N*out, C / groups * taps)
        stacked = np.stack(taps).transpose(2, 0, 1, *range(3, len(sizes) + 3))
        product = stacked.reshape(self.groups, -1, int(np.prod(stacked.shape[2:])))
        rows: Array = product.transpose(0, 2, 1)
        return rows

    def _padded(
        self, value: Array
    ) -> tuple[Array, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return the padded input, and the output's sizes, strides and dilations."""
        kernel = self.weight.shape[2:]
        rank = len(kernel)
        strides: tuple[int, ...] = self.node.attribute("strides", (1,) * rank)
        dilations: tuple[int, ...] = self.node.attribute("dilations", (1,) * rank)
        reach = [(size - 1) * step for size, step in zip(kernel, dilations, strict=True)]
        pads: tuple[int, ...] = self.node.attribute("pads", (0,) * (2 * rank))
        auto = self.node.attribute("auto_pad", "NOTSET")
        if auto.startswith("SAME"):
            totals = [
                max((-(-size // step) - 1) * step + far + 1 - size, 0)
                for size, step, far in zip(value.shape[2:], strides, reach, strict=True)
            ]
            before = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in totals]
            pads = (*before, *(t - b for t, b in zip(totals, before, strict=True)))
        width = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
        padded = np.pad(value, width) if any(pads) else value
        sizes = tuple(
            (size - far - 1) // step + 1
            for size, far, step in zip(padded.shape[2:], reach, strides, strict=True)
        )
        return padded, sizes, strides, dilations

    @staticmethod
    def _slices(
        tap: tuple[int, ...],
        sizes: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
    ) -> tuple[slice, ...]:
        return tuple(
            slice(at * far, at * far + (size - 1) * step + 1, step)
            for at, far, size, step in zip(tap, dilations, sizes, strides, strict=True)
        )


def _at(value: Array, places: tuple[slice, ...]) -> Array:
    """Return a window over all samples and channels."""
    index = (slice(None), slice(None), *places)
    window: Array = value[index]
    return window


def integer_layers(quantized: QuantizedGraph) -> list[Layer]:
    """Return the layers whose weights are integers and belong to no other layer."""
    graph = quantized.graph
    readers = graph.consumers()
    found = []
    for node in graph.nodes:
        weight = weight_of(node, graph) if role_of(node, graph) is Role.LAYER else ""
        if (
            weight in quantized.codes
            and node.name not in quantized.float_nodes
            and len(readers[weight]) == 1
            and graph.initializers[weight].ndim >= 2
            and (node.op_type != "MatMul" or graph.initializers[weight].ndim == 2)
        ):
            found.append(Layer(node, graph.initializers[weight]))
    return found


LayerCodes = tuple[tuple[str, Code | None, Code], ...]


def layer_codes(quantized: QuantizedGraph) -> LayerCodes:
    """Return each integer layer's name and the codes of its input and weights.

    All that ``correct_bias`` and ``round_weights`` depend on beside the float graph.
    """
    return tuple(
        (
            layer.node.name,
            quantized.codes.get(layer.node.inputs[0]),
            quantized.codes[layer.node.inputs[1]],
        )
        for layer in integer_layers(quantized)
    )


def layer_inputs(
    graph: Graph, layers: Sequence[Layer], samples: Sequence[Mapping[str, Array]]
) -> Iterator[dict[str, Array]]:
    """Yield, for each sample, the layers' inputs by tensor name, computed in float."""
    # It loads ONNX Runtime, which a conversion that quantizes nothing can do without.
    from edgekit.converters.evaluate import evaluate, open_graph

    names = list(dict.fromkeys(layer.node.inputs[0] for layer in layers))
    taps = tuple(graph.values[name] for name in names if name not in graph.input_names)
    tapped = remove_dead(replace(graph, outputs=taps)) if taps else graph
    run: Callable[[Mapping[str, Array]], dict[str, Array]]
    run = partial(evaluate, tapped, optimize=True)
    if sum(value.nbytes for value in tapped.initializers.values()) < _MOST_BYTES:
        # Opening it takes about as long as running it; but all weights are copied for that.
        run = open_graph(tapped)
    for sample in samples:
        made = run(_needed(tapped, sample)) if taps else {}
        yield {name: sample[name] if name in sample else made[name] for name in names}


def _needed(graph: Graph, sample: Mapping[str, Array]) -> dict[str, Array]:
    return {name: sample[name] for name in graph.input_names}
