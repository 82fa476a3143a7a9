"""Integer weights in the form that ONNX Runtime is fast with.

Where activations are float (``fold_at_load``): a DequantizeLinear in front of a MatMul becomes ONNX
Runtime's product with 8-bit weights. In front of any other layer it runs each time the model does
(1.32: 6 times the latency of MobileFace), since constant folding leaves it alone for the sake of
Q/DQ pairs. A Cast and a Mul mean the same and are folded when the model is loaded.

Where they are integers (``keep_apart``): a MatMul and its bias become a Gemm, which is float for
float biases, and unpacks its weights each time (1.32: 11 times the latency of a ViT). A bias of
rank 3 means the same and is left alone, so that the MatMul is an integer one; a product of rank 2
becomes the Gemm itself, its bias in int32, which is an integer one too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgekit.graph import Array, Graph, Node

_RANK = 3
"""Of a bias that ONNX Runtime does not make part of a Gemm."""
_MOST = 2**30
"""Largest integer of a bias: half of int32, room for the sum."""
_FLOAT = 1
"""TensorProto.DataType, onnx.proto3."""


def fold_at_load(graph: Graph) -> Graph:
    """Return the graph with weights unpacked by Cast and Mul, but for those of MatMul.

    Args:
        graph: With a DequantizeLinear behind each integer weight, zero points 0.
    """
    readers = graph.consumers()
    constants: dict[str, Array] = dict(graph.initializers)
    nodes: list[Node] = []
    for node in graph.nodes:
        integers = constants.get(node.input(0))
        is_weight = node.op_type == "DequantizeLinear" and integers is not None
        users = readers.get(node.outputs[0], ())
        if integers is None or not is_weight or _is_product(integers, users):
            nodes.append(node)
            continue
        scale = constants[node.inputs[1]]
        sizes = [1] * integers.ndim
        if scale.ndim:
            sizes[node.attribute("axis", 1)] = scale.size
        result, whole, factor = node.outputs[0], f"{node.outputs[0]}.whole", f"{node.name}.scale"
        constants[factor] = np.ascontiguousarray(scale.reshape(sizes))
        cast = {"to": _FLOAT}
        nodes.append(Node("Cast", node.inputs[:1], (whole,), cast, name=f"{node.name}.cast"))
        nodes.append(Node("Mul", (whole, factor), (result,), name=f"{node.name}.mul"))
    return graph.with_nodes(nodes, initializers=constants)


def keep_apart(graph: Graph) -> Graph:
    """Return the graph whose products of integers with a bias are such when they are loaded."""
    makers, readers = graph.producers(), graph.consumers()
    constants: dict[str, Array] = dict(graph.initializers)
    made: dict[str, list[Node]] = {}
    for node in graph.nodes:
        place = _bias_place(node, graph, makers)
        if place is None:
            continue
        bias = graph.initializers[node.inputs[place]]
        if _rank(node.outputs[0], graph) >= _RANK:
            name, inputs = f"{node.name}.bias", list(node.inputs)
            constants[name] = bias.reshape(1, 1, -1)
            inputs[place] = name
            made[node.name] = [replace(node, inputs=tuple(inputs))]
            continue
        product = makers[node.inputs[1 - place]]
        scale = _bias_scale(product, graph, makers)
        if scale is None or len(readers[product.outputs[0]]) > 1:
            continue
        steps = np.rint(bias / scale.astype(np.float64))
        if product.outputs[0] in graph.output_names or np.abs(steps).max(initial=0) > _MOST:
            continue
        names = [f"{node.name}.{key}" for key in ("bias", "scale", "zero", "unpacked")]
        values = (steps.astype(np.int32), scale, np.zeros(scale.shape, np.int32))
        constants |= dict(zip(names, values, strict=False))
        made[product.name] = []
        made[node.name] = [
            Node("DequantizeLinear", tuple(names[:3]), (names[3],), {"axis": 0}, name=names[3]),
            Node("Gemm", (*product.inputs, names[3]), node.outputs, name=product.name),
        ]
    nodes = [item for node in graph.nodes for item in made.get(node.name, [node])]
    return graph.with_nodes(nodes, initializers=constants)


def _bias_scale(product: Node, graph: Graph, makers: Mapping[str, Node]) -> Array | None:
    """Return input scale x weight scale, one a column; None where the input is float."""
    unpacked = [makers.get(name) for name in product.inputs]
    scales = [
        graph.initializers.get(node.input(1))
        for node in unpacked
        if node is not None and node.op_type == "DequantizeLinear"
    ]
    weight = graph.initializers.get(unpacked[1].input(0)) if unpacked[1] is not None else None
    if len(scales) != len(unpacked) or weight is None or weight.ndim != 2:
        return None
    source, own = scales
    if source is None or own is None or source.ndim:
        return None
    # The engine multiplies the two in float32 and compares; so it is done here.
    product_scale: Array = np.float32(source) * np.broadcast_to(own, weight.shape[1:])
    return np.ascontiguousarray(product_scale, np.float32)


def _bias_place(node: Node, graph: Graph, makers: Mapping[str, Node]) -> int | None:
    """Return which input of an Add is the bias of a product of integers."""
    if node.op_type != "Add" or _rank(node.outputs[0], graph) < _RANK - 1:
        return None
    for place, name in enumerate(node.inputs):
        bias = graph.initializers.get(name)
        product = makers.get(node.inputs[1 - place])
        if bias is None or bias.ndim != 1 or product is None or product.op_type != "MatMul":
            continue
        unpacked = makers.get(product.inputs[1])
        if unpacked is not None and unpacked.op_type == "DequantizeLinear":
            return place
    return None


def _rank(name: str, graph: Graph) -> int:
    outputs = {spec.name: spec for spec in graph.outputs}
    spec = outputs.get(name) or graph.values.get(name)
    return 0 if spec is None or spec.shape is None else len(spec.shape)


def _is_product(integers: Array, users: Sequence[Node]) -> bool:
    """Whether only products of this matrix read it."""
    return integers.ndim == 2 and all(node.op_type == "MatMul" for node in users)
