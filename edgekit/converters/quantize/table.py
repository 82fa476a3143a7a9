"""Ranges to codes: the table of a quantized graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgekit.converters.quantize.four_bits import has_four_bits
from edgekit.converters.quantize.groups import Plan
from edgekit.converters.quantize.operators import (
    Role,
    activations,
    constant_operands,
    results,
    weight_axis,
    weight_of,
)
from edgekit.converters.quantize.scheme import Scheme
from edgekit.converters.quantize.weights import weight_code
from edgekit.graph import Array, Graph, Node
from edgekit.quantization import Quantization
from edgekit.quantized import Code
from edgekit.ranges import Range
from edgekit.tensor import DType

MIN_SCALE = 1e-12
"""Below it the reciprocal and the product with a weight's scale leave float32."""


def activation_code(chosen: Range, scheme: Scheme, *, symmetric: bool = False) -> Code:
    """Return the code of an activation, the same numbers for every asymmetric target.

    Asymmetric int8: scale = (high - low) / 255, zero point = round(-128 - low / scale).
    Symmetric: scale = max(|low|, |high|) / 127 (32767 for int16), zero point 0.

    Args:
        chosen: The range to cover.
        scheme: Of the target.
        symmetric: Whether the zero point must be 0 in any scheme.

    Source: Jacob et al. 2018, section 2.1; LiteRT 8-bit quantization specification.
    """
    if scheme.symmetric or symmetric:
        wide = scheme.activations is DType.INT16
        scale = _stored(max(-chosen.low, chosen.high) / (32767 if wide else 127))
        return Code(DType.INT16 if wide else DType.INT8, Quantization((scale,), (0,)))
    scale = _stored((chosen.high - chosen.low) / 255)
    zero_point = int(np.clip(np.rint(-128 - chosen.low / scale), -128, 127))
    return Code(DType.INT8, Quantization((scale,), (zero_point,)))


def make_table(graph: Graph, plan: Plan, scheme: Scheme) -> dict[str, Code]:
    """Return the code of every tensor that an integer node reads or writes, and of weights."""
    codes: dict[str, Code] = {}
    if not scheme.is_weight_only:
        for name in _coded_tensors(graph, plan):
            chosen = plan.range_of(name)
            if chosen is not None:
                codes[name] = activation_code(chosen, scheme, symmetric=plan.is_symmetric(name))
    codes |= _weight_codes(graph, plan, codes, scheme)
    return codes


def _coded_tensors(graph: Graph, plan: Plan) -> Iterator[str]:
    for node in graph.nodes:
        if node.name in plan.roles:
            names = (*activations(node, graph), *constant_operands(node, graph))
            for name in (*names, *results(node, graph)):
                if name not in plan.interior:
                    yield name


def _weight_codes(
    graph: Graph, plan: Plan, codes: dict[str, Code], scheme: Scheme
) -> dict[str, Code]:
    found: dict[str, Code] = {}
    for node in graph.nodes:
        if plan.roles.get(node.name) is not Role.LAYER:
            continue
        name = weight_of(node, graph)
        if not name:
            continue
        weight = graph.initializers[name]
        axis = weight_axis(node, weight)
        if name in found and found[name].quantization.axis != axis:
            axis = None  # two layers disagree on the channels: one scale serves both
        source = codes.get(node.inputs[0])
        code = weight_code(
            weight,
            axis,
            bias=_bias(node, graph),
            bits=4 if axis is not None and has_four_bits(node, graph, scheme) else 8,
            block=scheme.block,
            input_scale=None if source is None else source.quantization.scale[0],
        )
        found[name] = _wider(found[name], code) if name in found else code
    return found


def _bias(node: Node, graph: Graph) -> Array | None:
    """Return the constant that the layer adds, in units of the product of its inputs."""
    bias = graph.initializers.get(node.input(2))
    if bias is None or node.op_type == "MatMul":
        return None
    if node.op_type == "Gemm":
        return bias * (node.attribute("beta", 1.0) / (node.attribute("alpha", 1.0) or 1.0))
    return bias


def _wider(first: Code, second: Code) -> Code:
    """Return the code that covers both, for weights that two layers share."""
    one, two = first.quantization, second.quantization
    if one.axis != two.axis or first.dtype is not second.dtype:
        return second
    scale = tuple(max(pair) for pair in zip(one.scale, two.scale, strict=True))
    return Code(first.dtype, replace(one, scale=scale))


def _stored(scale: float) -> float:
    """Return a scale as float32, which is what every format stores."""
    return float(np.float32(max(scale, MIN_SCALE)))
