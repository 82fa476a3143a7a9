"""What the hazard linter's findings can be treated with: ``Graph`` to an equal ``Graph``.

To add one: a file here with a function ``(graph, nodes) -> Graph`` that changes no float
result, a line in ``REWRITES`` that a rule's ``Hazard.rewrite`` names, and a test that runs
the graph before and after. ``equalize`` has more to decide and is called by ``quantize``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgekit.registry import Entry, pick

if TYPE_CHECKING:
    from edgekit.graph import Graph

_HERE = "edgekit.converters.passes"

REWRITES: dict[str, Entry] = {
    "separate_branches": Entry(
        f"{_HERE}.separate_branches:separate_branches",
        summary="join a detector's boxes and scores last, in float",
    ),
    "merge_padding": Entry(
        f"{_HERE}.merge_padding:merge_padding", summary="let a max pool pad by itself"
    ),
    "clamp_constants": Entry(
        f"{_HERE}.clamp_constants:clamp_constants", summary="mask a Softmax with a moderate number"
    ),
}


def rewrite(graph: Graph, treatments: Iterable[tuple[str, tuple[str, ...]]]) -> Graph:
    """Return the graph after some rewrites, all nodes of one treated at once.

    Args:
        graph: The float graph, shapes inferred.
        treatments: Name in ``REWRITES`` and node names, for each hazard; names of other
            remedies (``""``, ``"equalize"``) are passed over.

    Raises:
        UsageError: A node is not what the rewrite is for.
    """
    nodes: dict[str, list[str]] = {}
    for name, found in treatments:
        if name in REWRITES:
            nodes.setdefault(name, []).extend(found)
    for name, found_nodes in nodes.items():
        graph = pick(REWRITES, name, kind="rewrite").load()(graph, found_nodes)
    return graph
