"""What an emitter writes: the graph itself, or its Q/DQ form in the target's scheme."""

from __future__ import annotations

from edgekit.converters.quantize.four_bits import pack_products
from edgekit.converters.quantize.qdq import to_qdq
from edgekit.converters.quantize.scheme import SCHEMES, pick_scheme
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.quantized import QuantizedGraph
from edgekit.target import Target


def written_graph(source: Graph | QuantizedGraph, target: Target) -> Graph:
    """Return the graph to write for a target.

    Args:
        source: The model; with a table where the target's precision is a quantized one.
        target: Its precision decides.

    Raises:
        UsageError: The precision needs a table that is not there, or the other way round.
    """
    if isinstance(source, QuantizedGraph):
        return to_qdq(pack_products(source), pick_scheme(target.format, target.precision))
    if f"{target.format}-{target.precision}" in SCHEMES:
        raise UsageError(
            f"target {target.name!r} in {target.precision} needs calibrated ranges; "
            "give --calibration or --ranges, or choose fp32 or fp16"
        )
    return source
