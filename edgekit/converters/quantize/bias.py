"""Take the mean error that quantization gives each output channel out of the layer's bias.

The mean of a layer's output is its weights times the mean of its inputs, so one pass that
averages inputs, as they are and as they are read, measures the error of every layer exactly.

Source: Nagel et al. 2019, "Data-Free Quantization", section 4.2, with measured means.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgekit.converters.quantize.layer import Floats, Layer, integer_layers, layer_inputs
from edgekit.converters.quantize.operators import interior
from edgekit.converters.quantize.weights import as_read, to_integers, to_reals
from edgekit.graph import Array, Graph, Node
from edgekit.quantized import QuantizedGraph

logger = logging.getLogger(__name__)


def correct_bias(
    quantized: QuantizedGraph,
    samples: Sequence[Mapping[str, Array]],
    *,
    nodes: Collection[str] | None = None,
) -> QuantizedGraph:
    """Return the graph with biases that cancel the mean errors.

    Args:
        quantized: With its final weights (after adaptive rounding).
        samples: Inputs by name, preprocessed; 16 to 64 of them.
        nodes: Names of the layers to correct; None for all.
    """
    graph = quantized.graph
    errors = mean_errors(quantized, samples)
    inside, readers = interior(graph), graph.consumers()
    changed: dict[str, Node] = {}
    constants: dict[str, Array] = dict(graph.initializers)
    for node in graph.nodes:
        error = errors.get(node.name)
        if error is None or (nodes is not None and node.name not in nodes):
            continue
        target = node
        if node.op_type == "MatMul":
            if node.outputs[0] not in inside or readers[node.outputs[0]][0].op_type != "Add":
                continue
            target = readers[node.outputs[0]][0]
        name = f"{target.name}.corrected_bias"
        changed[target.name], constants[name] = _with_bias(target, graph, error, name)
    kept = [changed.get(node.name, node) for node in graph.nodes]
    logger.info("corrected %d biases", len(changed))
    return replace(quantized, graph=graph.with_nodes(kept, initializers=constants))


def mean_errors(
    quantized: QuantizedGraph, samples: Sequence[Mapping[str, Array]]
) -> dict[str, Floats]:
    """Return, by node name, the mean over samples and positions of float minus integer output.

    Each layer alone: both get the float model's inputs. Shape (channels,).
    """
    layers = integer_layers(quantized)
    means: dict[str, list[tuple[Floats, Floats]]] = {layer.node.name: [] for layer in layers}
    for inputs in layer_inputs(quantized.graph, layers, samples):
        read: dict[str, Array] = {}
        for layer in layers:
            source = layer.node.inputs[0]
            if source not in read:
                read[source] = as_read(inputs[source], quantized.codes.get(source))
            pair = (layer.mean_row(inputs[source]), layer.mean_row(read[source]))
            means[layer.node.name].append(pair)
    return {
        layer.node.name: _error(layer, quantized, means[layer.node.name])
        for layer in layers
        if means[layer.node.name]
    }


def _error(
    layer: Layer, quantized: QuantizedGraph, means: Sequence[tuple[Floats, Floats]]
) -> Floats:
    code = quantized.codes[layer.node.inputs[1]]
    integers = to_reals(to_integers(layer.weight, code), code)
    value, read = (np.mean(items, axis=0) for items in zip(*means, strict=True))
    wanted = np.einsum("gok,gk->go", layer.matrix().astype(np.float64), value)
    made = np.einsum("gok,gk->go", layer.matrix(integers).astype(np.float64), read)
    difference: Floats = wanted - made
    if layer.node.op_type == "ConvTranspose":
        return _per_output_pixel(layer, difference, quantized.graph)
    if layer.node.op_type == "Gemm":
        difference = difference * layer.node.attribute("alpha", 1.0)
    return difference.reshape(-1)


def _per_output_pixel(layer: Layer, difference: Floats, graph: Graph) -> Floats:
    """Return the error per output channel of a transposed convolution.

    Each input pixel adds its kernel somewhere, so an output pixel gets the sum over the kernel
    times input pixels per output pixel; what falls outside the picture is left out of account.
    """
    kernel = layer.weight.shape[2:]
    # (groups, C_out / groups * taps) -> (C_out, taps)
    per_tap = difference.reshape(-1, int(np.prod(kernel)))
    strides = layer.node.attribute("strides", (1,) * len(kernel))
    total: Floats = per_tap.sum(axis=1)
    return total / float(np.prod(strides))


def _with_bias(node: Node, graph: Graph, error: Floats, name: str) -> tuple[Node, Array]:
    """Return the node that adds another constant, and the constant."""
    if node.op_type == "Add":
        index = next(i for i, item in enumerate(node.inputs) if item in graph.initializers)
        factor = 1.0
    else:
        index = 2
        factor = node.attribute("beta", 1.0) if node.op_type == "Gemm" else 1.0
    old = graph.initializers.get(node.input(index))
    inputs = [*node.inputs, "", ""][: max(len(node.inputs), index + 1)]
    inputs[index] = name
    start = np.zeros(error.size) if old is None else np.broadcast_to(old.reshape(-1), error.shape)
    corrected = (start + error / (factor or 1.0)).astype(np.float32)
    return replace(node, inputs=tuple(inputs)), corrected
