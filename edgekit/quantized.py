"""A float graph and the table that says how each of its tensors becomes integers.

This is the one representation of a quantized model: nothing in the graph changes, no Q/DQ
node is in it. Emitters write Q/DQ ONNX or integer kernels from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.graph import Graph
from edgekit.quantization import Quantization
from edgekit.tensor import DType


@dataclass(frozen=True)
class Code:
    """How one tensor is stored as integers.

    Args:
        dtype: ``INT8`` or ``UINT8`` for activations and weights.
        quantization: Scale and zero point; for a weight, ``axis`` is an axis of the ONNX
            tensor (0 for Conv, 1 for ConvTranspose, the output axis for Gemm and MatMul).
    """

    dtype: DType
    quantization: Quantization


@dataclass(frozen=True)
class QuantizedGraph:
    """A float graph with its table.

    Args:
        graph: The float graph. Weights that were adapted (equalized, rounded adaptively)
            hold their new float values; a rounded one lies on its own grid.
        codes: By tensor name, activations and weights. A tensor without a code is float.
        float_nodes: Names of nodes that compute in float although they could be quantized.
        scheme: Name of the scheme that made the table.
    """

    graph: Graph
    codes: Mapping[str, Code]
    float_nodes: frozenset[str] = field(default_factory=frozenset)
    scheme: str = ""
