"""From ranges to quantized graphs, by recipe: ``calibrated`` once, then ``Maker`` at each try.

To add a fix of the weights: its name in ``FIXES``, cheapest first, what it does in
``Maker.__call__``, and a test that it helps a model that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.bundle.hashing import file_sha256
from edgekit.calibration.collect import Collected
from edgekit.calibration.contract import Recipe
from edgekit.calibration.doctor import look_back
from edgekit.calibration.finding import Finding
from edgekit.calibration.lint import lint
from edgekit.calibration.observers import OBSERVERS, choose_ranges
from edgekit.calibration.samples import open_samples
from edgekit.converters.gate import check_step
from edgekit.converters.passes.rewrites import REWRITES, rewrite
from edgekit.converters.quantize import Scheme, pick_scheme, quantize, to_qdq
from edgekit.converters.quantize.adopt import adopt_constants
from edgekit.converters.quantize.balance import balance_channels, can_balance
from edgekit.converters.quantize.bias import correct_bias
from edgekit.converters.quantize.layer import LayerCodes, layer_codes
from edgekit.converters.quantize.rounding import QUICK_WORK, round_weights, rounding_work
from edgekit.converters.tap import Taps, find_taps
from edgekit.errors import UsageError
from edgekit.graph import Array, Graph
from edgekit.pipeline.calibration import examine, measure, ranges_of
from edgekit.pipeline.handed_in import handed_in
from edgekit.pipeline.helpful import MIN_SAMPLES, Yard, helpful_steps, nearest
from edgekit.pipeline.progress import Progress, ignore
from edgekit.pipeline.terms import Terms
from edgekit.preprocess import Preprocess
from edgekit.quantized import QuantizedGraph
from edgekit.ranges import Ranges

GIVEN = "given"
"""The method of ranges that were handed in as they are."""

FIX_SAMPLES = 32
"""Calibration samples that fixes of the weights look at."""

BIAS, EQUALIZE, ROUND = "bias_correction", "equalization", "adaptive_rounding"
FIXES = (BIAS, EQUALIZE, ROUND)
"""Cheapest first: the order of the ladder."""

USUAL, USUAL_OF_WEIGHTS = (EQUALIZE, ROUND, BIAS), (ROUND,)
"""Fixes that the first recipe tries, in the order in which they are made; and those that it takes
untried, where activations stay float."""


@dataclass(frozen=True)
class Calibrated:
    """A float model with what is known of its tensors.

    Args:
        graph: Simplified.
        ranges: By the first method.
        taps: What was measured, and what holds the same values.
        samples: Some of the calibration data for the fixes; empty where ranges were handed in.
        method: Of ``ranges``.
        again: Measures another graph of the same tensors on the same data; None where ranges
            were handed in without data.
        findings: What the doctor says.
        skipped: Samples that could not be read.
        is_method_open: Whether another method may be better: nobody asked for this one.
    """

    graph: Graph
    ranges: Ranges
    taps: Taps
    samples: tuple[Mapping[str, Array], ...] = ()
    method: str = "auto"
    again: Callable[[Graph], Ranges] | None = None
    findings: tuple[Finding, ...] = ()
    skipped: tuple[str, ...] = ()
    is_method_open: bool = False


def calibrated(
    model: Path,
    source: Graph,
    graph: Graph,
    terms: Terms,
    *,
    preprocess: Mapping[str, Preprocess],
    classes: int | None = None,
    weights_only: bool = False,
    resume: Path | None = None,
    progress: Progress,
) -> Calibrated:
    """Return the model with its ranges: as handed in, or from one pass over the data.

    Args:
        model: The source file.
        source: As it was loaded.
        graph: Simplified.
        terms: Where the data or ranges are.
        preprocess: By input name.
        classes: Number of the model's class names, where known.
        weights_only: Whether no target needs ranges.
        resume: File that keeps the state of the pass.
        progress: Told what is being done.

    Raises:
        UsageError: Neither data nor ranges are given.
        CalibrationError: The ranges are of another model, or the data cannot be used.
    """
    taps, digest = find_taps(graph), file_sha256(model)
    if terms.ranges is not None:
        ranges = handed_in(terms.ranges, digest, taps)
        known = Calibrated(graph, ranges, taps, method=GIVEN)
        return known if terms.method is None else _by_method(known, terms.method)
    if terms.calibration is None and weights_only:
        nothing = Ranges(digest, samples=0, fingerprint="", ranges={})
        return Calibrated(graph, nothing, taps, method=GIVEN)
    if terms.calibration is None:
        raise UsageError(
            "a quantized target needs some of the data that the model will see: give "
            "--calibration PATH, or --ranges FILE of an earlier edgekit calibrate"
        )
    opened = open_samples(
        terms.calibration, source.inputs, preprocess=preprocess, limit=terms.samples
    )
    method = terms.method or "auto"
    progress("look at the calibration samples")
    findings = examine(source, opened, preprocess=preprocess, classes=classes)

    def passed(measured: Graph, state: Path | None = None) -> tuple[Collected, Ranges]:
        collected, found = measure(measured, opened, model=digest, resume=state, progress=progress)
        return collected, ranges_of(collected, found, model=digest, method=method)

    collected, ranges = passed(graph, resume)
    skipped = tuple(opened.skipped)
    findings += look_back(collected, ranges.ranges, method=method)
    return Calibrated(
        graph,
        ranges,
        taps,
        tuple(opened.first(FIX_SAMPLES)),
        method,
        again=lambda other: passed(other)[1],
        findings=tuple(findings),
        skipped=skipped,
        is_method_open=terms.method is None,
    )


def treated(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Return the graph after the linter's rewrites, which change no float result, and notes.

    Raises:
        GateError: A rewrite changed the result after all.
    """
    hazards = [hazard for hazard in lint(graph) if hazard.rewrite in REWRITES]
    if not hazards:
        return graph, ()
    changed = rewrite(graph, [(hazard.rewrite, hazard.nodes) for hazard in hazards])
    check_step("rewrite", graph, changed)
    return changed, tuple(f"{hazard.rewrite} at {hazard.node}" for hazard in hazards)


class Maker:
    """Makes quantized graphs by recipe; what recipes share is computed once.

    Args:
        known: The calibrated model.
        progress: Told what takes long.
    """

    def __init__(self, known: Calibrated, *, progress: Progress) -> None:
        self._known = known
        self._tell = progress
        self._ranges: dict[tuple[bool, str], Ranges] = {(False, known.method): known.ranges}
        self._equal: Calibrated | None = None
        self._weights: dict[tuple[Recipe, tuple[str, ...], LayerCodes], QuantizedGraph] = {}

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods that can be tried without another pass."""
        return tuple(OBSERVERS) if self._known.ranges.statistics else ()

    @property
    def fixes(self) -> tuple[str, ...]:
        """Fixes that can be tried: they need samples, and layers that they can change."""
        if not self._known.samples:
            return ()
        can_equalize = self._known.again is not None and can_balance(self._known.graph)
        return tuple(name for name in FIXES if name != EQUALIZE or can_equalize)

    def first(self, *, weights_only: bool, keep_float: tuple[str, ...] = ()) -> Recipe:
        """Return the first recipe: what helps on samples that it was not made from.

        Args:
            weights_only: Whether activations stay float everywhere.
            keep_float: Names of nodes that stay float.
        """
        usual = USUAL_OF_WEIGHTS if weights_only else USUAL
        fixes = tuple(name for name in usual if name in self.fixes)
        recipe = Recipe(self._known.method, fixes, keep_float)
        return recipe if weights_only else self._tried(recipe)

    def graph(self, recipe: Recipe) -> Graph:
        """Return the float graph that the recipe quantizes: equalized, or as it is."""
        return self._base(recipe).graph

    def ranges(self, recipe: Recipe) -> Ranges:
        """Return the ranges of the recipe."""
        key = (EQUALIZE in recipe.fixes, recipe.method)
        if key not in self._ranges:
            self._ranges[key] = _by_method(self._base(recipe), recipe.method).ranges
        return self._ranges[key]

    def __call__(self, graph: Graph, recipe: Recipe, scheme: Scheme) -> QuantizedGraph:
        """Return the graph quantized by the recipe.

        Args:
            graph: That of ``Maker.graph``, or the same with a target's fixed shapes.
            recipe: What to do.
            scheme: Of the target.
        """
        there = {node.name for node in graph.nodes}
        # What fixed shapes turned into constants is not there to be kept.
        kept = [name for name in recipe.keep_float if name in there]
        made = quantize(graph, self.ranges(recipe), scheme, keep_float=kept)
        if not {ROUND, BIAS} & set(recipe.fixes):
            return made
        return adopt_constants(made, self._fixed(made.graph, recipe, scheme))

    def _tried(self, recipe: Recipe) -> Recipe:
        seen, unseen = self._known.samples[::2], self._known.samples[1::2]
        if len(unseen) < MIN_SAMPLES:
            return replace(recipe, fixes=tuple(n for n in recipe.fixes if n != ROUND))
        scheme = pick_scheme("onnx")  # runs wherever models are converted
        half = Maker(replace(self._known, samples=seen), progress=ignore)
        measure = Yard(self._known.graph, unseen)

        def made(changed: Recipe) -> Graph:
            if EQUALIZE in changed.fixes and half._equal is None:
                # By all samples: it takes their peaks alone, and measuring again takes a pass.
                half._equal = replace(self._base(changed), samples=seen)
            return to_qdq(half(half.graph(changed), changed, scheme), scheme)

        plain = replace(recipe, fixes=())
        if self._known.is_method_open:
            self._tell("try the ways to choose ranges")
            plain = nearest(
                [replace(plain, method=n) for n in dict.fromkeys((plain.method, *self.methods))],
                made, Yard(self._known.graph, self._known.samples), progress=self._tell,
            )  # fmt: skip
        self._tell("try the fixes of the weights")
        work = rounding_work(half(half.graph(plain), plain, scheme), len(self._known.samples))
        fixes = tuple(n for n in recipe.fixes if n != ROUND or work <= QUICK_WORK)
        steps = helpful_steps(
            fixes, lambda names: made(replace(plain, fixes=names)), measure, progress=self._tell
        )
        return replace(plain, fixes=steps)

    def _base(self, recipe: Recipe) -> Calibrated:
        if EQUALIZE not in recipe.fixes or self._known.again is None:
            return self._known
        if self._equal is None:
            self._tell("equalize channels, and measure again")
            graph = balance_channels(self._known.graph, self._known.samples)
            self._equal = replace(self._known, graph=graph, ranges=self._known.again(graph))
        return self._equal

    def _fixed(self, graph: Graph, recipe: Recipe, scheme: Scheme) -> QuantizedGraph:
        """Return the graph with its weights fixed, every layer being an integer.

        Which layers are float then changes little for the others, and this takes long.
        """
        whole = quantize(graph, self.ranges(recipe), scheme)
        # Schemes whose layers read the same numbers share the result.
        names = tuple(node.name for node in graph.nodes)
        key = (replace(recipe, keep_float=()), names, layer_codes(whole))
        if key not in self._weights:
            self._tell(f"fix the weights for {scheme.name}")
            if ROUND in recipe.fixes:
                whole = round_weights(whole, self._known.samples)
            if BIAS in recipe.fixes:  # for the weights as they are in the end
                whole = correct_bias(whole, self._known.samples)
            self._weights[key] = whole
        return self._weights[key]


def _by_method(known: Calibrated, method: str) -> Calibrated:
    if not known.ranges.statistics:
        raise UsageError(
            f"the ranges hold no statistics, so {method} ranges cannot be chosen from them; give "
            "--calibration, or leave --method out"
        )
    chosen = choose_ranges(known.ranges.statistics, method)
    chosen |= {name: chosen[root] for name, root in known.taps.aliases.items() if root in chosen}
    return replace(known, ranges=known.ranges.with_ranges(chosen), method=method)
