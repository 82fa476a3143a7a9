"""The rungs of ``edgekit compare``: source, simplified, and every artifact on its runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.bundle import DEFAULT_TOLERANCES, Bundle, Golden
from edgekit.converters.bisect import truncate
from edgekit.converters.compare import Ladder, Step, climb
from edgekit.converters.evaluate import evaluate
from edgekit.converters.onnx_model import read_graph
from edgekit.converters.passes import simplify
from edgekit.graph import Array, Graph
from edgekit.pipeline.build import emit, load_source
from edgekit.pipeline.check import (
    BACKEND,
    native_runtime,
    open_emitted,
    why_not_here,
)
from edgekit.pipeline.progress import Progress, ignore
from edgekit.pipeline.reference import Reference
from edgekit.pipeline.samples import Sample, noise_samples
from edgekit.pipeline.stage import stage_folder
from edgekit.preprocess import Preprocess
from edgekit.runtimes.codec import logical_spec
from edgekit.runtimes.plain import is_model_file, open_plain
from edgekit.runtimes.select import load
from edgekit.runtimes.session import Session
from edgekit.target import Target
from edgekit.tensor import TensorSpec

_EXACT = DEFAULT_TOLERANCES["fp32"][BACKEND]


def compare(
    model: Path,
    other: Path,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    progress: Progress | None = None,
) -> Ladder:
    """Return how a bundle, or another model file, compares with the source model.

    Args:
        model: The source, an ONNX file.
        other: A bundle, or an ``.onnx``, ``.tflite`` or ``.xml`` file of the same model.
        shapes: Fixed sizes by input name, where the model has dynamic ones; None takes
            the bundle's.
        progress: Told the name of each stage as it starts.

    Raises:
        ModelError: The source cannot be read.
        BundleError: The bundle cannot be read.
        SessionError: A rung does not load or run.
    """
    tell = progress or ignore
    bundle = None if is_model_file(other) else Bundle.open(other)
    tell(f"load {model.name}")
    source = load_source(model, shapes=shapes or _shapes_of(bundle))
    graph = simplify(source)
    with ExitStack() as stack:
        if bundle is None:
            samples = noise_samples(graph.inputs, preprocess={})
            steps = [_file_step(other, stack)]
        else:
            samples = _samples_of(bundle, graph)
            steps = [_artifact_step(bundle, item, graph, stack) for item in bundle.artifacts]
        tell(f"run {len(samples)} inputs on {len(steps) + 2} rungs")
        right = _GraphRun(source)
        reference = Step("source", _EXACT, Reference(model), right.probe, right.knows)
        return climb(reference, [_graph_step("simplified", graph), *steps], samples, graph=graph)


class _GraphRun:
    """A graph under ONNX Runtime, whole or cut off at a tensor."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._made = graph.producers()

    def run(self, sample: Sample) -> dict[str, Array]:
        return evaluate(self._graph, sample.tensors)

    def probe(self, name: str, sample: Sample) -> Array:
        return evaluate(truncate(self._graph, [name]), sample.tensors)[name]

    def knows(self, name: str) -> bool:
        return name in self._made and name in self._graph.values


class _ArtifactRun:
    """An artifact on its runtime; cut off at a tensor, it is emitted again up to there."""

    def __init__(self, artifact: Artifact, session: Session, graph: Graph) -> None:
        self._artifact = artifact
        self._session = session
        self._graph = graph
        self._target = Target(artifact.name, artifact.format, artifact.precision)

    def run(self, sample: Sample) -> dict[str, Array]:
        return self._session.run(sample.feed(self._artifact))

    def probe(self, name: str, sample: Sample) -> Array:
        with stage_folder() as stage:
            part = truncate(self._graph, [name])
            built = emit(part, self._target, stage, fused={}, progress=ignore)
            with open_emitted(built.artifact, built.folder, preprocess={}) as session:
                return session.run(sample.tensors)[name]


def _graph_step(name: str, graph: Graph) -> Step[Sample]:
    runner = _GraphRun(graph)
    return Step(name, _EXACT, runner.run, runner.probe, runner.knows)


def _artifact_step(
    bundle: Bundle, artifact: Artifact, graph: Graph, stack: ExitStack
) -> Step[Sample]:
    tolerance = bundle.manifest.tolerance(artifact.precision, backend=BACKEND)
    reason = why_not_here(artifact.format)
    if reason:
        return Step(artifact.name, tolerance, why_not=reason)
    device = native_runtime(artifact.format) or "auto"
    session = stack.enter_context(load(bundle, device=device, artifact=artifact.name))
    runner = _ArtifactRun(artifact, session, graph)
    return Step(f"{artifact.name} on {device}", tolerance, runner.run, runner.probe)


def _file_step(path: Path, stack: ExitStack) -> Step[Sample]:
    """Return the rung of a plain file; only ONNX can be looked into."""
    artifact, _ = open_plain(path)
    reason = why_not_here(artifact.format)
    if reason:
        return Step(path.name, _EXACT, why_not=reason)
    if artifact.format == "onnx":
        runner = _GraphRun(read_graph(path))
        return Step(path.name, _EXACT, runner.run, runner.probe, runner.knows)
    session = stack.enter_context(load(path, device=native_runtime(artifact.format) or "auto"))
    return Step(path.name, _EXACT, lambda sample: session.run(sample.tensors))


def _shapes_of(bundle: Bundle | None) -> dict[str, tuple[int, ...]]:
    """Return the input shapes that the bundle was converted with."""
    if bundle is None:
        return {}
    return {spec.name: spec.static_shape for spec in bundle.manifest.inputs if spec.is_static}


def _samples_of(bundle: Bundle, graph: Graph) -> list[Sample]:
    """Return the bundle's goldens and two inputs of noise, in the shapes that it takes."""
    inputs = _strictest(bundle, graph.inputs)
    preprocess = bundle.manifest.preprocess
    goldens = [_sample_of(golden, inputs, preprocess) for golden in bundle.goldens()]
    return [*goldens, *noise_samples(inputs, preprocess=preprocess)]


def _strictest(bundle: Bundle, inputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Return the inputs, dynamic sizes as the artifact that fixes them has them."""
    fixed = {
        spec.name: logical_spec(spec).shape
        for artifact in bundle.artifacts
        for spec in artifact.inputs
        if spec.is_static and spec.name not in artifact.fused_preprocess
    }
    return [
        spec if spec.is_static else spec.with_shape(fixed.get(spec.name, spec.shape))
        for spec in inputs
    ]


def _sample_of(
    golden: Golden, inputs: Sequence[TensorSpec], preprocess: Mapping[str, Preprocess]
) -> Sample:
    frames = {
        spec.name: golden.inputs[spec.name]
        for spec in inputs
        if spec.name in preprocess and golden.inputs[spec.name].ndim in (2, 3)
    }
    made = {
        spec.name: preprocess[spec.name].apply(frames[spec.name], spec)
        for spec in inputs
        if spec.name in frames
    }
    return Sample(golden.origin, {**golden.inputs, **made}, frames)
