"""What an artifact says about itself, in the place where its format keeps such facts.

Text keys, the same for every format that takes free text: ``edgekit.version``,
``edgekit.precision``, ``edgekit.preprocess`` (JSON by input name). A frontend or the
pipeline may put ``edgekit.preprocess`` and ``edgekit.labels`` (a JSON list) into
``Graph.metadata``; they travel on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from edgekit._version import __version__
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.target import Target

VERSION = "edgekit.version"
PRECISION = "edgekit.precision"
PREPROCESS = "edgekit.preprocess"
FUSED = "edgekit.fused_preprocess"
LABELS = "edgekit.labels"


def facts_of(
    graph: Graph, *, target: Target, fused: Mapping[str, Preprocess] | None = None
) -> dict[str, str]:
    """Return the artifact's facts as text by key.

    Args:
        graph: The model; its own metadata is kept.
        target: What is emitted.
        fused: Preprocessing inside the artifact, by input name.
    """
    facts = {**graph.metadata, VERSION: __version__, PRECISION: target.precision}
    if fused:
        facts[PREPROCESS] = json.dumps({name: item.to_json() for name, item in fused.items()})
        facts[FUSED] = json.dumps(list(fused))
    return facts


def preprocess_of(facts: Mapping[str, str]) -> dict[str, Preprocess]:
    """Return the preprocessing that the facts tell, by input name.

    Raises:
        ValueError: It is malformed.
    """
    data = json.loads(facts.get(PREPROCESS, "{}"))
    return {name: Preprocess.from_json(item) for name, item in data.items()}


def labels_of(facts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the class labels that the facts tell, in order."""
    return tuple(str(label) for label in json.loads(facts.get(LABELS, "[]")))
