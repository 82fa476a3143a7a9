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
from edgekit.converters.quantize import Scheme, quantize
from edgekit.converters.quantize.balance import balance_channels, can_balance
from edgekit.converters.quantize.bias import correct_bias
from edgekit.converters.quantize.layer import LayerCodes, layer_codes
from edgekit.converters.quantize.rounding import round_weights
from edgekit.converters.tap import Taps, find_taps
from edgekit.errors import CalibrationError, UsageError
from edgekit.graph import Array, Graph, Node
from edgekit.pipeline.calibration import examine, measure, ranges_of
from edgekit.pipeline.progress import Progress
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

USUAL, USUAL_OF_WEIGHTS = (EQUALIZE, BIAS), (ROUND,)
"""Fixes of the first recipe: of integers, and where activations stay float."""


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
    """

    graph: Graph
    ranges: Ranges
    taps: Taps
    samples: tuple[Mapping[str, Array], ...] = ()
    method: str = "auto"
    again: Callable[[Graph], Ranges] | None = None
    findings: tuple[Finding, ...] = ()
    skipped: tuple[str, ...] = ()


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
        ranges = _handed_in(terms.ranges, digest, taps)
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
        """Other methods that can be tried without another pass."""
        if not self._known.ranges.statistics:
            return ()
        return tuple(name for name in OBSERVERS if name != self._known.method)

    @property
    def fixes(self) -> tuple[str, ...]:
        """Fixes that can be tried: they need samples, and layers that they can change."""
        if not self._known.samples:
            return ()
        can_equalize = self._known.again is not None and can_balance(self._known.graph)
        return tuple(name for name in FIXES if name != EQUALIZE or can_equalize)

    def first(self, *, weights_only: bool, keep_float: tuple[str, ...] = ()) -> Recipe:
        """Return the first recipe; ``weights_only`` where activations stay float everywhere."""
        usual = USUAL_OF_WEIGHTS if weights_only else USUAL
        fixes = tuple(name for name in usual if name in self.fixes)
        return Recipe(self._known.method, fixes, keep_float)

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
        return _with_constants(made, self._fixed(made.graph, recipe, scheme))

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


def _with_constants(made: QuantizedGraph, fixed: QuantizedGraph) -> QuantizedGraph:
    """Return a graph whose integer layers have the weights and biases of another."""
    graph, other = made.graph, fixed.graph
    # A corrected bias has another name there.
    names = [
        name for name in made.codes if name in graph.initializers and name in other.initializers
    ]
    weights = {n: other.initializers[n] for n in names if fixed.codes.get(n) == made.codes[n]}
    constants = {**graph.initializers, **weights}
    makers, theirs = graph.producers(), {node.name: node for node in other.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        new = theirs.get(node.name, node)
        layer = node
        if node.op_type == "Add":  # the bias of a MatMul
            found = (makers.get(name) for name in node.inputs)
            layer = next((item for item in found if item and item.op_type == "MatMul"), node)
        if new.inputs == node.inputs or layer.input(1) not in made.codes:
            nodes.append(node)
            continue
        nodes.append(new)
        added = set(new.inputs) - set(node.inputs)
        constants.update({name: other.initializers[name] for name in added if name})
    return replace(made, graph=graph.with_nodes(nodes, initializers=constants))


def _by_method(known: Calibrated, method: str) -> Calibrated:
    if not known.ranges.statistics:
        raise UsageError(
            f"the ranges hold no statistics, so {method} ranges cannot be chosen from them; give "
            "--calibration, or leave --method out"
        )
    chosen = choose_ranges(known.ranges.statistics, method)
    chosen |= {name: chosen[root] for name, root in known.taps.aliases.items() if root in chosen}
    return replace(known, ranges=known.ranges.with_ranges(chosen), method=method)


def _handed_in(ranges: Path | Ranges, model: str, taps: Taps) -> Ranges:
    loaded = ranges if isinstance(ranges, Ranges) else Ranges.load(ranges)
    where = "the ranges" if isinstance(ranges, Ranges) else str(ranges)
    if loaded.model != model:
        raise CalibrationError(
            f"{where} belong to a model with SHA-256 {loaded.model[:12]}..., this one has "
            f"{model[:12]}...: calibrate this model"
        )
    if not any(name in loaded.ranges for name in taps.measured):
        raise CalibrationError(f"{where} hold no tensor of this model; calibrate it again")
    return loaded
