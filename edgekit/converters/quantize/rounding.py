"""Round each weight so that the layer's output stays, not so that the weight stays.

Rounding to nearest is best for each weight alone. Here a weight is rounded, and those of the
same output that are not rounded yet move to make up for its error, as the inputs' correlation
H = X^T X says: a closed form, seconds per layer in numpy, where AdaRound descends for minutes.

Source: Frantar et al. 2022, "GPTQ", section 3 (its order of columns by diagonal of H);
Nagel et al. 2020, "Up or Down? Adaptive Rounding", for the objective.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgekit.converters.quantize.layer import Floats, Layer, integer_layers, layer_inputs
from edgekit.converters.quantize.weights import (
    as_read,
    integer_limits,
    spread,
    to_integers,
    to_reals,
)
from edgekit.graph import Array
from edgekit.quantized import Code, QuantizedGraph

logger = logging.getLogger(__name__)

ROWS_PER_SAMPLE = 1024
"""Positions of a sample that enter H; more change the result by less than the next sample."""
DAMPING = 0.01
"""Of the mean diagonal of H, added to it (GPTQ, section 3.3)."""
BLOCK = 128
MAX_HESSIAN_BYTES = 256 << 20
QUICK_WORK = 2e11
"""Multiplications, some 10 s of a core: rounding that is tried without being asked for."""


def round_weights(
    quantized: QuantizedGraph,
    samples: Sequence[Mapping[str, Array]],
    *,
    nodes: Collection[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> QuantizedGraph:
    """Return the graph with weights on their grid, chosen for the layers' outputs.

    Args:
        quantized: With a table; its codes stay as they are.
        samples: Inputs by name, preprocessed; 16 to 64 of them.
        nodes: Names of the layers to do; None for all.
        progress: Told each layer's name.
    """
    layers = [x for x in integer_layers(quantized) if nodes is None or x.node.name in nodes]
    weights: dict[str, Array] = {}
    for batch in _batches(layers):
        hessians = _hessians(quantized, batch, samples)
        for layer in batch:
            if progress is not None:
                progress(layer.node.name)
            name = layer.node.inputs[1]
            code = quantized.codes[name]
            weights[name] = _best(layer, code, hessians.pop(layer.node.name))
    graph = quantized.graph
    return replace(quantized, graph=replace(graph, initializers={**graph.initializers, **weights}))


def rounding_work(quantized: QuantizedGraph, samples: int) -> float:
    """Return about how many multiplications ``round_weights`` takes with so many samples."""
    total = 0.0
    for layer in integer_layers(quantized):
        spec = quantized.graph.values.get(layer.node.outputs[0])
        sizes = () if spec is None or spec.shape is None else spec.shape
        # (N, C, H, W), or (N, C): positions that one sample has, where they are known.
        pixels = [size for size in sizes[2:] if isinstance(size, int)]
        is_known = bool(sizes) and len(pixels) == len(sizes[2:])
        positions = math.prod(pixels) if is_known else ROWS_PER_SAMPLE
        rows = samples * min(positions, ROWS_PER_SAMPLE)
        outputs = layer.weight.size / layer.groups / layer.depth
        # H, its inverse and factor, and what moves from column to column.
        total += layer.groups * layer.depth**2 * (rows + 2.0 * layer.depth + outputs)
    return total


def _batches(layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Yield layers whose matrices fit into memory together."""
    batch: list[Layer] = []
    size = 0
    for layer in layers:
        own = layer.groups * layer.depth**2 * 8
        if batch and size + own > MAX_HESSIAN_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(layer)
        size += own
    if batch:
        yield batch


def _hessians(
    quantized: QuantizedGraph, layers: Sequence[Layer], samples: Sequence[Mapping[str, Array]]
) -> dict[str, Floats]:
    """Return X^T X of each layer's quantized inputs: (groups, K, K) by node name."""
    sums: dict[str, Floats] = {}
    for inputs in layer_inputs(quantized.graph, layers, samples):
        read: dict[str, Array] = {}
        for layer in layers:
            source = layer.node.inputs[0]
            if source not in read:
                read[source] = as_read(inputs[source], quantized.codes.get(source))
            rows = layer.rows(read[source], limit=ROWS_PER_SAMPLE)
            product = np.matmul(rows.transpose(0, 2, 1), rows, dtype=np.float32)
            name = layer.node.name
            sums[name] = sums[name] + product if name in sums else product.astype(np.float64)
    return sums


def _best(layer: Layer, code: Code, hessian: Floats) -> Array:
    """Return weights on the grid: those with the smaller error of the layer's output."""
    nearest = layer.matrix(to_reals(to_integers(layer.weight, code), code)).astype(np.float64)
    weight = layer.matrix().astype(np.float64)
    scale = layer.matrix(np.broadcast_to(spread(code, layer.weight.shape)[0], layer.weight.shape))
    chosen = _rounded(weight, scale, hessian, integer_limits(code))
    before, after = (_loss(weight - item, hessian) for item in (nearest, chosen))
    logger.info("%s: output error %.3g, %.3g before", layer.node.name, after, before)
    return layer.from_matrix(chosen if after < before else nearest).astype(np.float32)


def _loss(error: Floats, hessian: Floats) -> float:
    """Return the squared error of the outputs, summed over the rows that made H."""
    return float(np.sum(np.matmul(error, hessian) * error))


def _rounded(weight: Floats, scale: Floats, hessian: Floats, limits: tuple[int, int]) -> Floats:
    """Return weights on the grid.

    Args:
        weight: (groups, outputs, K).
        scale: Of the grid, the same shape.
        hessian: (groups, K, K).
        limits: Smallest and largest integer.
    """
    depth = weight.shape[2]
    diagonal = np.einsum("gkk->gk", hessian)
    # Columns with the largest inputs first, while the others can still make up for them.
    order = np.argsort(-diagonal, axis=1, kind="stable")
    weight = np.take_along_axis(weight, order[:, None, :], axis=2)
    scale = np.take_along_axis(scale, order[:, None, :], axis=2)
    hessian = np.take_along_axis(hessian, order[:, :, None], axis=1)
    hessian = np.take_along_axis(hessian, order[:, None, :], axis=2)
    damping = DAMPING * diagonal.mean(axis=1) + 1e-12
    hessian += (damping[:, None] * np.ones(depth))[:, :, None] * np.eye(depth)
    # Rows of the upper factor of the inverse say how later columns make up for an error.
    factor = np.linalg.cholesky(np.linalg.inv(hessian)).transpose(0, 2, 1)
    result = np.empty_like(weight)
    for start in range(0, depth, BLOCK):
        stop = min(start + BLOCK, depth)
        errors = np.empty((*weight.shape[:2], stop - start))
        for column in range(start, stop):
            own, step = weight[:, :, column], scale[:, :, column]
            result[:, :, column] = np.clip(np.rint(own / step), *limits) * step
            error = (own - result[:, :, column]) / factor[:, None, column, column]
            errors[:, :, column - start] = error
            weight[:, :, column:stop] -= error[:, :, None] * factor[:, None, column, column:stop]
        weight[:, :, stop:] -= np.matmul(errors, factor[:, start:stop, stop:])
    back = np.argsort(order, axis=1)
    return np.take_along_axis(result, back[:, None, :], axis=2)
