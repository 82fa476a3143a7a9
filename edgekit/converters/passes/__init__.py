"""``Graph`` to an equivalent, simpler ``Graph``.

To add a pass: one file here with a function ``Graph -> Graph``, one line in ``PASSES``,
its name in ``DEFAULT_PASSES`` if every model should get it. A pass changes no input, no
output and no result; ``tests/test_passes.py`` runs every line of the table on real models.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.registry import Entry, pick

if TYPE_CHECKING:
    from edgekit.graph import Graph

logger = logging.getLogger(__name__)

_HERE = "edgekit.converters.passes"

PASSES: dict[str, Entry] = {
    "remove_identities": Entry(
        f"{_HERE}.remove_identities:remove_identities",
        summary="drop operators that change nothing: Identity, Dropout, no-op Cast and Reshape",
    ),
    "merge_moves": Entry(
        f"{_HERE}.merge_moves:merge_moves",
        summary="make one of two consecutive Transposes or Reshapes",
    ),
    "fold_constants": Entry(
        f"{_HERE}.fold_constants:fold_constants",
        ("onnx", "onnxruntime"),
        "convert",
        "compute what depends on constants and known shapes only",
    ),
    "fold_batchnorm": Entry(
        f"{_HERE}.fold_batchnorm:fold_batchnorm",
        summary="put BatchNormalization and constant scales into the layer before",
    ),
    "split_sums": Entry(f"{_HERE}.split_sums:split_sums", summary="write a Sum as Adds of two"),
    "merge_clips": Entry(
        f"{_HERE}.merge_clips:merge_clips",
        summary="make Max and Min by numbers one Clip, or Relu",
    ),
    "merge_hard_swish": Entry(
        f"{_HERE}.merge_hard_swish:merge_hard_swish",
        summary="make x * relu6(x + 3) / 6 and x * HardSigmoid(x) one HardSwish",
    ),
    "expand_hard_swish": Entry(
        f"{_HERE}.expand_hard_swish:expand_hard_swish",
        summary="write HardSwish as x * HardSigmoid(x)",
    ),
    "remove_dead": Entry(
        f"{_HERE}.remove_dead:remove_dead", summary="drop operators whose results nobody reads"
    ),
    "expand_unpool": Entry(
        f"{_HERE}.expand_unpool:expand_unpool",
        ("onnx",),
        "convert",
        "write max-unpooling in operators that every engine has",
    ),
    "slim": Entry(
        f"{_HERE}.slim:slim", ("onnx", "onnxslim"), "slim", "onnxslim's own clean-up, on request"
    ),
}

DEFAULT_PASSES = (
    "remove_identities",
    "fold_constants",
    "fold_batchnorm",
    "merge_clips",
    "merge_hard_swish",
    "remove_identities",
    "merge_moves",
    "remove_dead",
)


def simplify(graph: Graph, passes: Sequence[str] | None = None) -> Graph:
    """Return the graph after these passes, in order.

    Args:
        graph: The model; it is not changed.
        passes: Names in ``PASSES``; None for the default ones.

    Raises:
        UsageError: There is no pass of that name.
        MissingDependencyError: A pass needs a library that is not installed.
    """
    for name in DEFAULT_PASSES if passes is None else passes:
        before = len(graph.nodes)
        graph = pick(PASSES, name, kind="pass").load()(graph)
        if len(graph.nodes) != before:
            logger.info("%s: %d operators, %d before", name, len(graph.nodes), before)
    return graph
