"""Runs emitted TFLite files in LiteRT itself, with and without its delegate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edgekit.artifact import Artifact

Tensors = Mapping[str, NDArray[Any]]

RESOLVERS = {
    "XNNPACK": OpResolverType.AUTO,
    "plain kernels": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}


def run_artifact(
    folder: Path,
    artifact: Artifact,
    feeds: Tensors,
    *,
    resolver: OpResolverType = OpResolverType.AUTO,
) -> dict[str, NDArray[Any]]:
    """Run an emitted file once; inputs and outputs are in ONNX's order of axes."""
    return run_all(folder, artifact, [feeds], resolver=resolver)[0]


def run_all(
    folder: Path,
    artifact: Artifact,
    feeds: Iterable[Tensors],
    *,
    resolver: OpResolverType = OpResolverType.AUTO,
) -> list[dict[str, NDArray[Any]]]:
    """Run an emitted file on each of the inputs, one after the other in one interpreter."""
    interpreter = open_artifact(folder, artifact, resolver=resolver)
    runner = interpreter.get_signature_runner()
    results = []
    for feed in feeds:
        stored = {}
        for spec in artifact.inputs:
            array = feed[spec.name]
            moved = array.transpose(spec.permutation) if spec.permutation else array
            stored[spec.name] = np.ascontiguousarray(moved).reshape(moved.shape)
        made = runner(**stored)
        results.append(
            {
                spec.name: made[spec.name].transpose(np.argsort(spec.permutation)).copy()
                if spec.permutation
                else made[spec.name].copy()
                for spec in artifact.outputs
            }
        )
    return results


def open_artifact(
    folder: Path, artifact: Artifact, *, resolver: OpResolverType = OpResolverType.AUTO
) -> Interpreter:
    """Return an interpreter with its tensors allocated."""
    interpreter = Interpreter(
        str(folder / artifact.files["model"]),
        num_threads=1,
        experimental_op_resolver_type=resolver,
    )
    interpreter.allocate_tensors()
    return interpreter


def count_partitions(folder: Path, artifact: Artifact) -> int:
    """Return how many parts of the graph XNNPACK takes; 1 is the whole graph."""
    interpreter = open_artifact(folder, artifact)
    # There is no public list of the operators as the delegate left them.
    details = interpreter._get_ops_details()
    return sum(item["op_name"] == "DELEGATE" for item in details)
