"""Which weights have 4 bits, and their products as ONNX Runtime's ``MatMulNBits``.

Only products of a matrix have kernels for such weights: LiteRT's FULLY_CONNECTED, OpenVINO's
FullyConnected, ONNX Runtime's MatMulNBits. All three round their input to int8 as they run.
Convolutions have none that is faster than float (measured, LiteRT 2.3), so they keep 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgekit.converters.quantize.operators import weight_of
from edgekit.converters.quantize.scheme import Scheme
from edgekit.converters.quantize.weights import to_integers
from edgekit.errors import UsageError
from edgekit.graph import Array, Graph, Node
from edgekit.quantized import Code, QuantizedGraph
from edgekit.tensor import DType

DOMAIN = "com.microsoft"
_PRODUCTS = ("MatMul", "Gemm")
_SMALLEST = 1024
"""Weights with fewer elements keep 8 bits: nothing is gained."""
# Computes in int8: the input is rounded block by block as it is read.
_ACCURACY_LEVEL = 4
_ZERO = 8


def has_four_bits(node: Node, graph: Graph, scheme: Scheme) -> bool:
    """Whether the scheme stores the node's weight in 4 bits."""
    weight = graph.initializers.get(weight_of(node, graph))
    if scheme.weight_bits != 4 or node.op_type not in _PRODUCTS or weight is None:
        return False
    if weight.ndim != 2 or weight.size < _SMALLEST:
        return False
    if node.attribute("alpha", 1.0) != 1.0 or node.attribute("beta", 1.0) != 1.0:
        return False
    depth = weight.shape[1 if node.attribute("transB", 0) else 0]
    return scheme.block is None or depth % scheme.block == 0


def check_products(graph: Graph, scheme: Scheme) -> None:
    """Refuse 4 bits for a model that would get none.

    Raises:
        UsageError: No product has a weight for them.
    """
    if scheme.weight_bits == 4 and not any(has_four_bits(n, graph, scheme) for n in graph.nodes):
        raise UsageError(
            f"{scheme.name}: no MatMul or Gemm of the model has a constant weight that gains from "
            f"4 bits, and convolutions have no such kernel; choose {scheme.format}:w8"
        )


def pack_products(quantized: QuantizedGraph) -> QuantizedGraph:
    """Return the graph with products of 4-bit weights as MatMulNBits; they leave the table.

    OpenVINO's ONNX frontend reads them too, as u4 constants that its CPU kernels unpack.

    Source: ONNX Runtime, ContribOperators.md, com.microsoft.MatMulNBits.
    """
    graph, codes = quantized.graph, dict(quantized.codes)
    constants = dict(graph.initializers)
    nodes: list[Node] = []
    for node in graph.nodes:
        name = weight_of(node, graph)
        code = codes.get(name)
        if code is None or code.dtype is not DType.INT4 or node.name in quantized.float_nodes:
            nodes.append(node)
            continue
        packed = _packed(graph.initializers[name], code)
        places = {f"{name}.{key}": value for key, value in packed.items()}
        constants |= places
        nodes += _product(node, graph, code, tuple(places))
    kept = {name: code for name, code in codes.items() if code.dtype is not DType.INT4}
    if len(kept) == len(codes):
        return quantized
    opsets = {**graph.extra_opsets, DOMAIN: 1}
    packed_graph = replace(graph.with_nodes(nodes, initializers=constants), extra_opsets=opsets)
    return replace(quantized, graph=packed_graph, codes=kept)


def _packed(weight: Array, code: Code) -> dict[str, Array]:
    """Return (channels, blocks, block / 2) bytes, the lower element in the lower half; scales."""
    quantization = code.quantization
    integers = to_integers(weight, code).astype(np.int8)
    rows = integers if quantization.axis == 0 else integers.T  # (channels, depth)
    block = quantization.block or rows.shape[1]
    parts = (rows + _ZERO).astype(np.uint8).reshape(rows.shape[0], -1, block)
    return {
        "bits": parts[:, :, 0::2] | (parts[:, :, 1::2] << 4),
        "scales": np.asarray(quantization.scale, np.float32),
    }


def _product(node: Node, graph: Graph, code: Code, constants: tuple[str, ...]) -> Iterator[Node]:
    weight = graph.initializers[node.inputs[1]]
    axis = code.quantization.axis or 0
    attributes = {
        "K": weight.shape[1 - axis],
        "N": weight.shape[axis],
        "bits": 4,
        "block_size": code.quantization.block or weight.shape[1 - axis],
        "accuracy_level": _ACCURACY_LEVEL,
    }
    bias = node.input(2)
    result = f"{node.outputs[0]}.product" if bias else node.outputs[0]
    inputs = (node.inputs[0], *constants)
    yield Node("MatMulNBits", inputs, (result,), attributes, name=node.name, domain=DOMAIN)
    if bias:
        yield Node("Add", (result, bias), node.outputs, name=f"{node.name}.bias")
