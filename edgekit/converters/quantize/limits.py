"""Operators that a target computes better in float than in integers."""

from __future__ import annotations

import math

from edgekit.converters.quantize.operators import weight_of
from edgekit.converters.quantize.scheme import Scheme
from edgekit.graph import Graph, Node
from edgekit.tensor import DType

MIN_TENSORRT_GEMM = 16
"""Below it in depth or width TensorRT's integer product does not pay.

Source: NVIDIA Model Optimizer, ONNX quantization, exclusion of small GEMM and of GEMV.
"""

MIN_HYBRID_WEIGHTS = 1024
"""Below it a layer that reads float activations stays float: it saves at most 3 kB, and rounding
its few weights, of a first or depthwise layer, costs as much as that of large ones.

Source: ``kWeightsMinNumElementsDefault`` of TensorFlow Lite's quantize_weights.cc.
"""

NO_INT16 = frozenset({"DepthToSpace", "Elu", "Gelu", "HardSwish", "PRelu", "SpaceToDepth"})
"""Operators without a 16x8 kernel in LiteRT 2.3, or with one that is wrong (each was run)."""


def refused_by(graph: Graph, scheme: Scheme) -> dict[str, str]:
    """Return, by node name, why the scheme's target does better with it in float."""
    if scheme.activations is DType.INT16:
        return {
            node.name: f"LiteRT has no int16 kernel of {node.op_type} that is exact"
            for node in graph.nodes
            if node.op_type in NO_INT16
        }
    if scheme.name == "tflite-w8a32":
        return {
            node.name: f"{weight.size} weights are too few for integers to pay"
            for node in graph.nodes
            if (weight := graph.initializers.get(weight_of(node, graph))) is not None
            and weight.size < MIN_HYBRID_WEIGHTS
        }
    if not scheme.format.startswith("tensorrt"):
        return {}
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type in ("Gemm", "MatMul"):
            reason = _small_product(node, graph)
            if reason:
                found[node.name] = reason
    return found


def _small_product(node: Node, graph: Graph) -> str:
    weight = graph.initializers.get(weight_of(node, graph))
    if weight is not None and weight.ndim == 2 and min(weight.shape) < MIN_TENSORRT_GEMM:
        rows, columns = weight.shape
        return f"a {rows} x {columns} product is too small for TensorRT's integer kernels"
    spec = graph.values.get(node.outputs[0])
    if weight is None or spec is None or not spec.is_static:
        return ""
    if math.prod(spec.static_shape[:-1]) == 1:
        return "one row times a matrix: TensorRT reads the weights and computes nothing"
    return ""
