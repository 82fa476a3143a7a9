"""Quantize for every target and keep the promise, measured on the runtimes of this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit._version import __version__
from edgekit.calibration.budget import Budget
from edgekit.calibration.contract import Outcome, Scale
from edgekit.calibration.lint import lint
from edgekit.calibration.search import Ladder, search
from edgekit.calibration.trials import Memory
from edgekit.converters.quantize.operators import Role, role_of
from edgekit.errors import ContractError
from edgekit.pipeline.build import Built, artifact_name
from edgekit.pipeline.layers import is_integer
from edgekit.pipeline.order import Found, LayerOrder, judged_scheme
from edgekit.pipeline.prepared import is_weights_only, measure_float
from edgekit.pipeline.progress import Progress
from edgekit.pipeline.quantize import GIVEN, Calibrated, Maker
from edgekit.pipeline.terms import Terms
from edgekit.pipeline.workbench import Workbench, Workshop
from edgekit.pipeline.yardstick import Yardstick
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.ranges import Ranges
from edgekit.runtimes.evaluate import Measured
from edgekit.runtimes.validation import Validation
from edgekit.target import Target

_AFTERWARDS_S = 10.0  # for what layers cost, where the search did not ask
_PART_FOR_LAYERS = 0.2  # of a search's time, for the metric of layers alone
_RULES_OF_ENDS = ("mixed-concat", "dfl", "exponential", "score-end")


@dataclass(frozen=True)
class Kept:
    """A promise that was kept.

    Args:
        built: The artifacts, as they were measured.
        outcome: How the search went.
        yardstick: What it measured by.
        ranges: Of the source's tensors, by the method that the integers were made with.
        layers: What each costs alone; empty where that was not needed.
        measured: By artifact name, what it measured, with what intervals are drawn from.
        budget: The time of the search, of which the advice takes what is left.
    """

    built: tuple[Built, ...]
    outcome: Outcome
    yardstick: Yardstick
    ranges: Ranges
    layers: Found
    measured: Mapping[str, Measured]
    budget: Budget


def quantize_once(
    known: Calibrated,
    targets: Sequence[Target],
    terms: Terms,
    stage: Path,
    *,
    fused: Mapping[str, Preprocess],
    progress: Progress,
) -> tuple[Built, ...]:
    """Return the artifacts by the first recipe, unmeasured."""
    maker = Maker(known, progress=progress)
    workshop = Workshop(maker, stage, fused=fused)
    recipe = maker.first(weights_only=is_weights_only(targets), keep_float=terms.keep_float)
    return tuple(workshop.build(target, recipe)[0] for target in targets)


def keep_promise(
    known: Calibrated,
    targets: Sequence[Target],
    terms: Terms,
    stage: Path,
    *,
    samples: Validation,
    preprocess: Mapping[str, Preprocess],
    fused: Mapping[str, Preprocess],
    labels: Sequence[str],
    state: Path | None,
    progress: Progress,
) -> Kept:
    """Return artifacts that lose no more than was promised.

    Args:
        known: The calibrated model.
        targets: Quantized ones.
        terms: What was promised, and how it is measured.
        stage: Where artifacts are put together.
        samples: What is measured on, from ``open_yard``.
        preprocess: By input name.
        fused: Preprocessing inside the artifacts.
        labels: Class names, where known.
        state: File that keeps the search; removed once the promise is kept.
        progress: Told each step with its figures.

    Raises:
        ContractError: Nothing that was found keeps it; the message shows the frontier.
        UsageError: The samples or the metric do not fit the model.
        CalibrationError: The state that is to be resumed is of another search.
    """
    float_path = stage / "float.onnx"
    yardstick = measure_float(
        known,
        terms,
        float_path,
        samples=samples,
        preprocess=preprocess,
        labels=labels,
        progress=progress,
    )
    measured = yardstick.float_model
    maker = Maker(known, progress=progress)
    workshop = Workshop(maker, stage, fused=fused)
    memory = _memory(state, _key(known, targets, terms, yardstick), resume=terms.resume)
    scale = Scale(terms.promise, measured.value, measured.higher_is_better)
    bench = Workbench(workshop, targets, yardstick, scale, preprocess=preprocess)
    scheme = judged_scheme(targets)
    order = LayerOrder(
        workshop,
        targets,
        scheme,
        yardstick,
        float_model=float_path,
        stage=stage,
        preprocess=preprocess,
        fused=fused,
        limit_s=None if terms.time_s is None else _PART_FOR_LAYERS * terms.time_s,
        memory=memory,
        progress=progress,
    )
    weights_only = is_weights_only(targets)
    budget = Budget(terms.time_s)  # the first recipe is part of the search
    start = maker.first(weights_only=weights_only, keep_float=terms.keep_float)
    outcome = search(
        bench.measure,
        Ladder(
            start,
            # Ranges are of activations.
            () if weights_only or terms.method is not None else maker.methods,
            tuple(name for name in maker.fixes if name not in start.fixes),
            order,
            float_ends(maker(maker.graph(start), start, scheme), maker.ranges(start)),
            order_s=order.least_s,
        ),
        scale,
        artifacts=[artifact_name(target) for target in targets],
        budget=budget,
        memory=memory,
        tell=progress,
    )
    if outcome.is_kept:
        outcome = bench.finish(outcome)
    if not outcome.is_kept:
        raise refusal(outcome, yardstick)
    recipe = next(iter(outcome.recipes.values()))
    integers = replace(recipe, keep_float=terms.keep_float)
    if terms.advise and not order.found.costs and budget.fits(order.least_s(integers)):
        order(integers, limit_s=min(_AFTERWARDS_S, budget.left_s))
    memory.forget()
    ready = {name: bench.ready[name] for name in map(artifact_name, targets)}
    built = tuple(item.built for item in ready.values())
    # Of the source's own tensors, so that they serve another conversion of the same model.
    ranges = maker.ranges(replace(recipe, fixes=()))
    figures = {name: item.measured for name, item in ready.items()}
    return Kept(built, outcome, yardstick, ranges, order.found, figures, budget)


def float_ends(quantized: QuantizedGraph, ranges: Ranges) -> tuple[str, ...]:
    """Return integer nodes that the linter would keep in float and that multiply nothing.

    Args:
        quantized: The model with all in integers that can be; empty is returned where that
            leaves these nodes in float anyway.
        ranges: Of its tensors; with their statistics more is known.
    """
    graph = quantized.graph
    found: set[str] = set()
    for hazard in lint(graph, ranges.statistics or None, rules=_RULES_OF_ENDS):
        found |= hazard.keep_float
    ends = [
        node
        for node in graph.nodes
        if node.name in found and role_of(node, graph) is not Role.LAYER
    ]
    if not any(is_integer(node, quantized) for node in ends):
        return ()
    return tuple(node.name for node in ends)


def refusal(outcome: Outcome, yardstick: Yardstick) -> ContractError:
    """Return the error that says what was found instead."""
    scale, promise = outcome.scale, outcome.scale.promise
    lines = [f"  {'lost':>9}  {'int8':>5}  {'ms':>8}  recipe"]
    rows: list[dict[str, Any]] = []
    for trial in outcome.frontier:
        lost, latency = scale.worst(trial), trial.latency_ms
        shown = "" if latency is None else f"{latency:.3f}"
        words = promise.in_words(lost) if trial.is_whole else f">={promise.in_words(lost)}"
        lines.append(f"  {words:>9}  {trial.int8_share:>5.0%}  {shown:>8}  {trial.recipe}")
        rows.append({"lost": lost, "latency_ms": latency, **trial.to_json()})
    advice = (
        "allow more with --max-drop, or give the search longer with --time and --resume"
        if outcome.is_out_of_time
        else "allow more with --max-drop, give more calibration data, or take fp16"
    )
    return ContractError(
        f"a drop of {promise} in {yardstick.name} (float: {scale.baseline:.4f}) is not kept: "
        f"{outcome.reason}; nothing was written. The best of {len(outcome.trials)} steps:\n"
        + "\n".join(lines)
        + f"\n{advice}",
        frontier=tuple(rows),
    )


def _memory(state: Path | None, key: str, *, resume: bool) -> Memory:
    if state is not None and not resume:
        state.unlink(missing_ok=True)
    return Memory() if state is None else Memory.load(state, key=key)


def _key(known: Calibrated, targets: Sequence[Target], terms: Terms, yardstick: Yardstick) -> str:
    """Return the hash of all that a measurement depends on."""
    facts = {
        "edgekit": __version__,
        "model": known.ranges.model,
        "calibration": known.ranges.fingerprint,
        "ranges": _digest(known.ranges) if known.method == GIVEN else "",
        "method": known.method,
        "keep_float": sorted(terms.keep_float),
        "targets": sorted(artifact_name(target) for target in targets),
        "metric": yardstick.name,
        "samples": yardstick.samples.description,
        "float": yardstick.float_model.value,
        "options": [terms.decoder, terms.output],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _digest(ranges: Ranges) -> str:
    chosen = {name: (item.low, item.high) for name, item in ranges.ranges.items()}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
