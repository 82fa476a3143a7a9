"""Put what was built and shown into one bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.bundle import (
    DEFAULT_TOLERANCES,
    Bundle,
    Contract,
    Golden,
    GoldenFiles,
    Manifest,
    Source,
    pack_golden,
    write_bundle,
)
from edgekit.bundle.hashing import file_sha256
from edgekit.bundle.tolerance import Tolerances
from edgekit.converters.emitters.facts import LABELS, PREPROCESS
from edgekit.errors import UsageError
from edgekit.graph import Array, Graph
from edgekit.pipeline.build import Built
from edgekit.pipeline.check import Check
from edgekit.pipeline.samples import Sample
from edgekit.preprocess import Preprocess
from edgekit.ranges import Ranges
from edgekit.tensor import TensorSpec

RANGES_FILE = "ranges.json"

# Distributions whose version decides what comes out, by artifact format.
_TOOLS = {
    "onnx": ("onnx",),
    "openvino": ("onnx", "openvino"),
    "tflite": ("onnx", "flatbuffers"),
    "tensorrt": ("onnx",),
    "tensorrt-rtx": ("onnx", "tensorrt-rtx"),
}
_RUNTIME_TOOLS = {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert", "openvino": "openvino"}


@dataclass(frozen=True)
class Proof:
    """What was shown about the artifacts.

    Args:
        checks: By artifact name.
        goldens: Samples to replay, each with the source's outputs.
        tolerances: How far artifacts may be from them.
        notes: What a reader should know, one line each.
    """

    checks: Mapping[str, Check]
    goldens: Sequence[tuple[Sample, Mapping[str, Array]]] = ()
    tolerances: Tolerances = field(default_factory=lambda: DEFAULT_TOLERANCES)
    notes: tuple[str, ...] = ()


def read_labels(path: str | Path | None) -> tuple[str, ...]:
    """Return the class names of a file, one a line.

    Raises:
        UsageError: It is not text, or holds no name.
    """
    if path is None:
        return ()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text; expected one class name a line") from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise UsageError(f"{path} holds no label; expected one class name a line")
    return labels


def with_facts(
    graph: Graph, *, preprocess: Mapping[str, Preprocess], labels: Sequence[str]
) -> Graph:
    """Return the graph with its preprocessing and labels as metadata, for other tools to see."""
    facts = dict(graph.metadata)
    if preprocess:
        facts[PREPROCESS] = json.dumps({name: item.to_json() for name, item in preprocess.items()})
    if labels:
        facts[LABELS] = json.dumps(list(labels))
    return replace(graph, metadata=facts)


def write_model_bundle(
    output: Path,
    *,
    model: Path,
    graph: Graph,
    built: Sequence[Built],
    proof: Proof,
    preprocess: Mapping[str, Preprocess],
    labels: Sequence[str],
    folder: bool,
    ranges: Ranges | None = None,
    contract: Contract | None = None,
) -> Bundle:
    """Write the bundle; the old one at ``output`` stays until the new one is whole.

    Args:
        output: Where to.
        model: The source file.
        graph: The simplified model.
        built: The artifacts.
        proof: What was shown about them.
        preprocess: By input name.
        labels: Class names by index.
        folder: Whether to write a folder instead of one zip file.
        ranges: That integers were made from; they are stored as ``RANGES_FILE``.
        contract: What was promised of them.
    """
    files: dict[str, bytes | Path] = {}
    artifacts: list[Artifact] = []
    for item in built:
        placed = {
            role: f"{item.artifact.name}/{name}" for role, name in item.artifact.files.items()
        }
        files.update({placed[role]: item.folder / item.artifact.files[role] for role in placed})
        artifacts.append(replace(item.artifact, files=placed))
    goldens: list[GoldenFiles] = []
    for number, (sample, outputs) in enumerate(proof.goldens):
        # The frame, where there is one: it replays the preprocessing, and feeds fused artifacts.
        golden = Golden(sample.origin, {**sample.tensors, **sample.frames}, outputs)
        record, content = pack_golden(golden, index=number)
        goldens.append(record)
        files.update(content)
    if ranges is not None:
        files[RANGES_FILE] = json.dumps(ranges.to_json(), indent=1).encode("utf-8") + b"\n"
    manifest = Manifest(
        name=model.stem,
        source=Source(model.name, file_sha256(model), framework="onnx", opset=graph.opset),
        inputs=tuple(_with_layout(spec, preprocess) for spec in graph.inputs),
        outputs=graph.outputs,
        artifacts=tuple(artifacts),
        preprocess=preprocess,
        labels=tuple(labels),
        goldens=tuple(goldens),
        tolerances=proof.tolerances,
        parity=tuple(
            figures for name, check in proof.checks.items() for figures in check.to_parity(name)
        ),
        status={name: check.status for name, check in proof.checks.items()},
        tools=_tools(artifacts, proof.checks),
        calibration=None if ranges is None else ranges.fingerprint,
        contract=contract,
    )
    return write_bundle(output, manifest, files, folder=folder)


def _with_layout(spec: TensorSpec, preprocess: Mapping[str, Preprocess]) -> TensorSpec:
    if spec.name not in preprocess:
        return spec
    return replace(spec, layout=preprocess[spec.name].layout)


def _tools(artifacts: Sequence[Artifact], checks: Mapping[str, Check]) -> dict[str, str]:
    names = {"numpy"}
    for artifact in artifacts:
        names.update(_TOOLS.get(artifact.format, ()))
    ran = {check.runtime for check in checks.values() if check.runtime}
    names.update(_RUNTIME_TOOLS[runtime] for runtime in ran if runtime in _RUNTIME_TOOLS)
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # comes with the system, without metadata
            continue
    return found
