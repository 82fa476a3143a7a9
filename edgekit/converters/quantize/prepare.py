"""The float graph that is calibrated and quantized: one for both, so that names agree."""

from __future__ import annotations

from edgekit.converters.passes import simplify
from edgekit.converters.quantize.whole_pools import name_whole_pools
from edgekit.graph import Graph

INTEGER_PASSES = ("split_sums",)
"""What makes more of a model integers and does not pay in float."""


def prepare_for_integers(graph: Graph) -> Graph:
    """Return the graph to calibrate and to quantize.

    Ranges are by tensor name: whoever measures them and whoever uses them starts from this.

    Args:
        graph: Simplified.
    """
    return name_whole_pools(simplify(graph, INTEGER_PASSES))
