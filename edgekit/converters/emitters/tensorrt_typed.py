"""An int8 model for a strongly typed TensorRT network: float16 wherever it is not int8.

TensorRT 11 computes as the file says, and so does 10 in its strongly typed mode: float32
between Q/DQ pairs would be float32 on the device. Here pairs have float16 scales and give
float16; weights are int8 in the file. Softmax, norms and sums stay float32 (``type_half``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgekit.converters.passes.type_half import HALF_MAX, TYPED_PAIRS, type_half
from edgekit.converters.quantize.qdq import to_qdq
from edgekit.converters.quantize.scheme import Scheme
from edgekit.graph import Graph
from edgekit.quantized import Code, QuantizedGraph

OPSETS = (TYPED_PAIRS, 20, 24)
"""Float16 scales need 19; 20 and 24 are the newest that TensorRT 10.0 and 10.15 read."""
SMALLEST = 2.0**-14
"""Smallest normal float16 (IEEE 754-2008, binary16)."""
_MOST = 127
"""Largest integer of a symmetric int8 code."""


def half_pairs(quantized: QuantizedGraph, scheme: Scheme) -> Graph:
    """Return the Q/DQ graph whose scales float16 holds, weights as int8.

    Args:
        quantized: Its table is symmetric.
        scheme: Of TensorRT.
    """
    table = replace(quantized, codes=half_codes(quantized.codes))
    graph = to_qdq(table, replace(scheme, float_weights=False))
    # Operator set 19 adds attributes and types to 18 and changes no meaning.
    return replace(graph, opset=max(graph.opset, TYPED_PAIRS))


def half_codes(codes: Mapping[str, Code]) -> dict[str, Code]:
    """Return the codes with scales that float16 holds exactly, never smaller than they were.

    A larger scale still covers its range, at a step that is 1/1024 coarser at most. A code that
    lies above float16, or below its normal numbers, is left: its layer stays float32.
    """
    return {name: _half_code(code) for name, code in codes.items()}


def type_integers(graph: Graph, codes: Mapping[str, Code]) -> Graph:
    """Return the Q/DQ graph with float16 types where float16 holds the values.

    Args:
        graph: From ``half_pairs``, in one of ``OPSETS``.
        codes: The table: what writes a tensor that reaches beyond float16 stays float32.
    """
    too_large = {
        name
        for name, code in codes.items()
        if max(code.quantization.scale) * _MOST > HALF_MAX
    }  # fmt: skip
    full = {node.name for node in graph.nodes if too_large.intersection(node.outputs)}
    return type_half(graph, keep_full=full)


def _half_code(code: Code) -> Code:
    scales = np.asarray(code.quantization.scale)
    if not SMALLEST <= scales.max() <= HALF_MAX:
        return code
    half = scales.astype(np.float16)
    # Channels far below the others may be subnormal; they end a step of 2**-24 higher.
    above = np.nextafter(half, np.float16(HALF_MAX))
    rounded = np.where(half.astype(np.float64) < scales, above, half)
    scale = tuple(float(item) for item in rounded)
    return replace(code, quantization=replace(code.quantization, scale=scale))
