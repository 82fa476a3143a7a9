"""A float graph and calibrated ranges to a quantized graph, and that to Q/DQ ONNX.

    prepare_for_integers -> the float graph to calibrate and quantize    (prepare.py)
    plan -> which nodes are integers, which tensors share a code   (groups.py, operators.py)
    table -> scale and zero point of every tensor                  (table.py, weights.py)
    to_qdq -> an ONNX graph with Q/DQ pairs where a target is fast (qdq.py, placement.py)

What makes integers lose less: ``balance_channels`` with samples or ``equalize`` without (before
calibration), ``correct_bias`` and ``round_weights`` (after ``quantize``). To add an operator: one
line in ``operators._ROLES``.
"""

from __future__ import annotations

from collections.abc import Collection

from edgekit.converters.quantize.balance import balance_channels
from edgekit.converters.quantize.bias import correct_bias
from edgekit.converters.quantize.equalize import equalize
from edgekit.converters.quantize.four_bits import check_products
from edgekit.converters.quantize.groups import Plan, make_plan
from edgekit.converters.quantize.limits import refused_by
from edgekit.converters.quantize.prepare import prepare_for_integers
from edgekit.converters.quantize.qdq import to_qdq
from edgekit.converters.quantize.rounding import round_weights
from edgekit.converters.quantize.saturate import without_saturated
from edgekit.converters.quantize.scheme import SCHEMES, Scheme, pick_scheme
from edgekit.converters.quantize.table import make_table
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.quantized import QuantizedGraph
from edgekit.ranges import Ranges
from edgekit.registry import unknown_name
from edgekit.tensor import DType

__all__ = [
    "SCHEMES",
    "Plan",
    "Scheme",
    "balance_channels",
    "correct_bias",
    "equalize",
    "pick_scheme",
    "plan_quantization",
    "prepare_for_integers",
    "quantize",
    "round_weights",
    "to_qdq",
]


def quantize(
    graph: Graph, ranges: Ranges, scheme: Scheme, *, keep_float: Collection[str] = ()
) -> QuantizedGraph:
    """Return the graph with the table that makes it integers.

    Args:
        graph: The float model, from ``prepare_for_integers``.
        ranges: From calibration; a tensor that is not in it stays float.
        scheme: Of the target.
        keep_float: Names of nodes that stay float.

    Raises:
        UsageError: ``keep_float`` names a node that is not there, or the scheme stores 4-bit
            weights and the model has none for it.
    """
    check_products(graph, scheme)
    plan = plan_quantization(graph, ranges, scheme, keep_float=keep_float)
    return QuantizedGraph(
        graph=graph,
        codes=make_table(graph, plan, scheme),
        float_nodes=frozenset(plan.reasons),
        scheme=scheme.name,
    )


def plan_quantization(
    graph: Graph, ranges: Ranges, scheme: Scheme, *, keep_float: Collection[str] = ()
) -> Plan:
    """Return what ``quantize`` would do, with the reason for each node that stays float.

    Raises:
        UsageError: ``keep_float`` names a node that is not there.
    """
    names = {node.name: node for node in graph.nodes}
    for name in keep_float:
        if name not in names:
            raise UsageError(unknown_name(name, tuple(names), kind="node"))
    known = ranges.ranges
    if scheme.activations is not DType.INT16:  # it has steps enough to tell the ends apart
        known = without_saturated(graph, known)
    return make_plan(
        graph,
        known,
        keep_float=keep_float,
        weights_only=scheme.is_weight_only,
        refused=refused_by(graph, scheme),
        codes_layers=scheme.codes_layers,
    )
