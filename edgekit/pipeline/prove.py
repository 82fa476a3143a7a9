"""Show that every artifact gives the source's numbers, and keep the goldens that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.bundle import DEFAULT_TOLERANCES, Status, Tolerance
from edgekit.graph import Graph
from edgekit.pipeline.build import Built
from edgekit.pipeline.bundling import Proof
from edgekit.pipeline.check import BACKEND, Check, judge, measure, simulate
from edgekit.pipeline.half import rounding_figures, widened
from edgekit.pipeline.measured import measured_tolerance
from edgekit.pipeline.progress import Progress
from edgekit.pipeline.reference import Reference
from edgekit.pipeline.samples import Sample, noise_samples, sample_from_file
from edgekit.preprocess import Preprocess
from edgekit.runtimes.parity import OutputParity
from edgekit.tensor import TensorSpec


def prove(
    model: Path,
    source: Graph,
    graph: Graph,
    built: Sequence[Built],
    *,
    preprocess: Mapping[str, Preprocess],
    golden: Sequence[Path],
    real: Sequence[Sample] = (),
    progress: Progress,
) -> Proof:
    """Return what was shown about the artifacts.

    Each runs on two samples of noise and on the caller's own; the source runs on the same
    under ONNX Runtime. Quantized ones run on real samples alone, where there are some:
    their ranges do not cover noise.

    Args:
        model: The source file.
        source: The source as it was loaded.
        graph: The simplified source.
        built: The artifacts.
        preprocess: By input name.
        golden: The caller's samples; empty keeps the real ones, or one of noise.
        real: Samples that a quantized model was measured on.
        progress: Told what is being run.

    Raises:
        GateError: Something disagrees with the source.
    """
    from edgekit.converters.gate import check_step

    samples = _Noise(preprocess)
    strictest = _strictest(built)
    own = [sample_from_file(path, strictest.inputs, preprocess=preprocess) for path in golden]
    own = own or list(real)
    progress("check the simplified model")
    feeds = [sample.tensors for sample in samples.of(graph.inputs)]
    check_step("simplify", source, graph, feeds=feeds)

    judged = _Judge(Reference(model))
    checks: dict[str, Check] = {}
    for item in built:
        progress(f"check {item.artifact.name}")
        is_quantized = item.artifact.precision not in DEFAULT_TOLERANCES
        tried = own if is_quantized and own else [*samples.of(item.graph.inputs), *own]
        measured = measure(
            item.artifact,
            item.folder,
            samples=tried,
            reference=judged.reference,
            preprocess=preprocess,
        )
        judged.judge(item, measured, tried)
        if is_quantized and not measured.outputs:  # the device needs to know what to expect
            judged.expect(
                item.artifact.precision,
                simulate(
                    item.artifact,
                    item.folder,
                    samples=tried,
                    reference=judged.reference,
                    preprocess=preprocess,
                ),
            )
        checks[item.artifact.name] = measured
    kept = own or samples.of(strictest.inputs)[:1]
    goldens = [(sample, judged.reference(sample)) for sample in kept]
    return Proof(checks, goldens, judged.tolerances, tuple(judged.notes))


def claim_nothing(built: Sequence[Built]) -> Proof:
    """Return the proof of a conversion that ran nothing."""
    status = Status("unverified", "converted with --no-verify")
    return Proof({item.artifact.name: Check(status) for item in built})


class _Judge:
    """Holds artifacts to their tolerance, which is measured where float16 needs more.

    Args:
        reference: The source.

    Attributes:
        tolerances: For the manifest.
        notes: Which of them are wider than usual, and why.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.tolerances: dict[str, Mapping[str, Tolerance]] = dict(DEFAULT_TOLERANCES)
        self.notes: list[str] = []

    def judge(self, item: Built, check: Check, samples: Sequence[Sample]) -> None:
        precision = item.artifact.precision
        if precision not in DEFAULT_TOLERANCES:
            self.expect(precision, check.outputs)
            return
        is_usual = all(
            output.is_within(self.tolerances[precision][BACKEND]) for output in check.outputs
        )
        if precision == "fp16" and not is_usual:
            self._widen(item, samples)
        judge(item.artifact.name, check, self.tolerances[precision][BACKEND])

    def expect(self, precision: str, figures: Sequence[OutputParity]) -> None:
        """Allow what a quantized artifact was seen to give."""
        if figures:
            wide = measured_tolerance(figures, self.tolerances.get(precision, {}).get(BACKEND))
            self.tolerances[precision] = {"cpu": wide, "gpu": wide}

    def _widen(self, item: Built, samples: Sequence[Sample]) -> None:
        figures = rounding_figures(item.graph, samples, self.reference)
        wide = {name: widened(usual, figures) for name, usual in self.tolerances["fp16"].items()}
        self.tolerances["fp16"] = wide
        self.notes.append(
            f"{item.artifact.name}: float16 weights alone move the outputs by up to "
            f"{max(output.relative_error for output in figures):.0%} of their range (cosine "
            f"{min(output.cosine for output in figures):.5f}); check your own metric, or use fp32"
        )


def _strictest(built: Sequence[Built]) -> Graph:
    """Return the graph whose inputs every artifact takes: a static one, if there is one."""
    fixed = (item.graph for item in built if all(spec.is_static for spec in item.graph.inputs))
    return next(fixed, built[0].graph)


class _Noise:
    """The same samples for artifacts of the same inputs, so that the source runs them once."""

    def __init__(self, preprocess: Mapping[str, Preprocess]) -> None:
        self._preprocess = preprocess
        self._made: dict[tuple[TensorSpec, ...], list[Sample]] = {}

    def of(self, inputs: tuple[TensorSpec, ...]) -> list[Sample]:
        if inputs not in self._made:
            self._made[inputs] = noise_samples(inputs, preprocess=self._preprocess)
        return self._made[inputs]
