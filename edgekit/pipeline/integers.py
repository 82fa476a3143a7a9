"""The quantized targets of a conversion: calibrate, keep the promise, and say so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgekit.bundle import Contract, ContractFigure, ContractStep, Status
from edgekit.bundle.contract import MEASURED, SIMULATED
from edgekit.calibration.contract import Figure, Scale
from edgekit.calibration.lint import Hazard, lint
from edgekit.graph import Array, Graph
from edgekit.pipeline.advice import Advice, Worth, advise
from edgekit.pipeline.build import Built
from edgekit.pipeline.bundling import RANGES_FILE
from edgekit.pipeline.check import Check
from edgekit.pipeline.contract import Kept, keep_promise, quantize_once
from edgekit.pipeline.prepared import is_weights_only, prepare
from edgekit.pipeline.progress import Progress
from edgekit.pipeline.quantize import Calibrated
from edgekit.pipeline.samples import Sample
from edgekit.pipeline.terms import Terms
from edgekit.pipeline.typed import typed_notes
from edgekit.pipeline.yardstick import Yardstick
from edgekit.preprocess import Preprocess
from edgekit.ranges import Ranges
from edgekit.runtimes.evaluate import Measured, drop
from edgekit.runtimes.session import Session
from edgekit.target import Target

FLOAT_REFERENCE = "onnx-fp32"
"""The artifact that is the float model as it was measured before the search."""

_GOLDENS = 2
_MOST_HAZARDS = 50
UNPROMISED = (
    "only weights were quantized, which needs no data; nothing is promised about the loss: "
    "give --validation, with --max-drop or --metric, to have it measured"
)


@dataclass(frozen=True)
class Integers:
    """What came of the quantized targets.

    Args:
        built: Their artifacts.
        ranges: That they were made from.
        contract: What was promised and measured; None where nothing was run.
        samples: Real inputs, to replay as goldens.
        figures: What each artifact measured, by name.
        notes: What was decided, and what the doctor says.
    """

    built: tuple[Built, ...]
    ranges: Ranges
    contract: Contract | None
    samples: tuple[Sample, ...]
    figures: Mapping[str, Figure]
    notes: tuple[str, ...]

    def status(self, name: str, check: Check) -> Check:
        """Return the check, called simulated where another runtime stood in for its own."""
        figure = self.figures.get(name)
        if figure is None or not figure.is_simulated:
            return check
        reason = f"{check.status.reason}; its accuracy is that of its graph in {figure.runtime}"
        return replace(check, status=Status(SIMULATED, reason))


def build_integers(
    model: Path,
    source: Graph,
    graph: Graph,
    *,
    targets: Sequence[Target],
    terms: Terms,
    stage: Path,
    preprocess: Mapping[str, Preprocess],
    fused: Mapping[str, Preprocess],
    labels: Sequence[str],
    output: Path,
    verify: bool,
    progress: Progress,
) -> Integers:
    """Return the quantized artifacts, their loss measured unless ``verify`` is off.

    Args:
        model: The source file.
        source: As it was loaded.
        graph: Simplified, with its facts.
        targets: Quantized ones.
        terms: What is promised.
        stage: Where artifacts are put together.
        preprocess: By input name.
        fused: Preprocessing inside the artifacts.
        labels: Class names.
        output: Where the bundle will be; states of what takes long lie beside it.
        verify: Whether they are run.
        progress: Told each step.

    Raises:
        ContractError: No recipe that was found keeps the promise.
        CalibrationError: The data or the ranges cannot be used.
        UsageError: Something that is needed is not given.
    """
    weights_only = is_weights_only(targets)
    is_promised = verify and not (weights_only and terms.asks_nothing)
    ready = prepare(
        model,
        source,
        graph,
        targets=targets,
        terms=terms,
        preprocess=preprocess,
        labels=labels,
        is_measured=is_promised,
        resume=output.with_name(f"{output.name}.calibration") if terms.resume else None,
        progress=progress,
    )
    known, yard, notes = ready.known, ready.yard, ready.notes
    if verify and not is_promised:
        notes += (UNPROMISED,)
    if yard is None:
        built = quantize_once(known, targets, terms, stage, fused=fused, progress=progress)
        return Integers(built, known.ranges, None, (), {}, notes)
    kept = keep_promise(
        known,
        targets,
        terms,
        stage,
        samples=yard,
        preprocess=preprocess,
        fused=fused,
        labels=labels,
        state=output.with_name(f"{output.name}.search"),
        progress=progress,
    )
    samples = _samples(kept.yardstick, known.graph)
    notes += typed_notes(kept.built, samples)
    advice = _advice(kept, known, stage, preprocess, progress) if terms.advise else Advice()
    return Integers(
        kept.built,
        kept.ranges,
        _record(kept, advice, lint(known.graph, known.ranges.statistics or None)),
        samples,
        kept.outcome.figures,
        notes,
    )


def _advice(
    kept: Kept,
    known: Calibrated,
    stage: Path,
    preprocess: Mapping[str, Preprocess],
    progress: Progress,
) -> Advice:
    sample = next(iter(kept.yardstick.samples))

    def feed(session: Session) -> dict[str, Array]:
        return kept.yardstick.reading.feed(session, sample)

    def value(session: Session) -> float:
        return kept.yardstick.measure(session).value

    known_values = {name: figure.value for name, figure in kept.outcome.figures.items()}
    if not any(item.artifact.fused_preprocess for item in kept.built):
        known_values[FLOAT_REFERENCE] = kept.yardstick.float_model.value
    return advise(
        kept.built,
        known.graph,
        feed,
        stage,
        worth=Worth(value, known=known_values, budget=kept.budget),
        preprocess=preprocess,
        progress=progress,
    )


def _record(kept: Kept, advice: Advice, hazards: Sequence[Hazard]) -> Contract:
    outcome, yardstick = kept.outcome, kept.yardstick
    scale, promise = outcome.scale, outcome.scale.promise
    steps = tuple(
        ContractStep(
            str(trial.recipe),
            {
                name: scale.lost(figure)
                for name, figure in trial.figures.items()
                if np.isfinite(scale.lost(figure))
            },
            trial.int8_share,
            trial.seconds,
        )
        for trial in outcome.trials
    )
    figures = tuple(
        ContractFigure(
            name,
            figure.runtime,
            SIMULATED if figure.is_simulated else MEASURED,
            figure.value,
            scale.lost(figure),
            figure.latency_ms,
            _interval(scale, yardstick.float_model, kept.measured[name]),
        )
        for name, figure in outcome.figures.items()
    )
    return Contract(
        limit=promise.limit,
        is_relative=promise.is_relative,
        metric=yardstick.name,
        samples=yardstick.samples.description,
        baseline=scale.baseline,
        figures=figures,
        higher_is_better=scale.higher_is_better,
        recipe=outcome.reason.removeprefix("kept by: "),
        float_nodes={
            name: recipe.keep_float for name, recipe in outcome.recipes.items() if recipe.keep_float
        },
        steps=steps,
        sensitivity=tuple(cost.to_json() for cost in kept.layers.costs),
        sensitivity_on=kept.layers.on,
        advice=advice.lines,
        ranges=RANGES_FILE,
        points=advice.points,
        hazards=tuple(hazard.to_json() for hazard in hazards[:_MOST_HAZARDS]),
    )


def _interval(
    scale: Scale, float_model: Measured, measured: Measured
) -> tuple[float, float] | None:
    """Return where the loss lies on other samples, in the promise's unit; None unknown."""
    lost = drop(float_model, measured)
    unit = abs(scale.baseline) if scale.promise.is_relative else 1.0
    ends = (lost.low, lost.high)
    if not unit or not all(map(math.isfinite, ends)):
        return None
    return ends[0] / unit, ends[1] / unit


def _samples(yardstick: Yardstick, graph: Graph) -> tuple[Sample, ...]:
    """Return some of the samples that were measured on."""
    steps = yardstick.reading.preprocess
    specs = {spec.name: spec for spec in graph.inputs}
    found: list[Sample] = []
    for sample in yardstick.samples.thinned(_GOLDENS):
        frames = {
            name: value.astype(np.uint8, copy=False)
            for name, value in sample.inputs.items()
            if name in steps and value.dtype == np.uint8 and value.ndim in (2, 3)
        }
        made = {name: steps[name].apply(frame, specs[name]) for name, frame in frames.items()}
        found.append(Sample(sample.origin, {**sample.inputs, **made}, frames))
    return tuple(found)
