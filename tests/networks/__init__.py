"""The networks that must convert to every target and agree with ONNX Runtime.

``NETWORKS`` is the table of those made here, ``real_models()`` lists the trained ones found
beside the repository. To add one: write a function that returns a ModelProto in the file
of its family (``NetBuilder`` seeds the weights, ``settle`` its batch norms) and add a
``NetworkCase`` to the family's ``CASES``. Tests and the table in docs/conversion.md take it
from there.
"""

from __future__ import annotations

from pathlib import Path

from networks import (
    attention,
    classifiers,
    detection,
    efficientnet,
    espnet,
    light,
    segmentation,
    sequences,
    video,
)
from networks.case import NetworkCase, graph_inputs, sample_inputs

FAMILIES = (
    light,
    classifiers,
    efficientnet,
    sequences,
    segmentation,
    espnet,
    detection,
    video,
    attention,
)
NETWORKS: dict[str, NetworkCase] = {case.name: case for family in FAMILIES for case in family.CASES}
# Trained models are kept beside the repository, never in it.
REAL_FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def real_models(folder: Path = REAL_FOLDER) -> dict[str, Path]:
    """Return the trained ONNX models under a folder by name; empty where there are none."""
    return {path.stem: path for path in sorted(folder.rglob("*.onnx"))}


REAL_MODELS = real_models()

__all__ = [
    "NETWORKS",
    "REAL_FOLDER",
    "REAL_MODELS",
    "NetworkCase",
    "graph_inputs",
    "real_models",
    "sample_inputs",
]
