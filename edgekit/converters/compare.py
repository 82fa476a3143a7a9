"""The parity ladder: source, simplified, each artifact; where is the first step that parts?

Every rung runs the same inputs and is held against the source model under ONNX Runtime.
Where a rung parts, its graph is bisected: cut off at a tensor, emitted again, run again,
until the first operator is found whose result differs. Names are the ONNX model's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edgekit.bundle import Tolerance
from edgekit.converters.bisect import first_parting
from edgekit.errors import EdgeKitError
from edgekit.graph import Array, Graph, Node
from edgekit.metrics import cosine
from edgekit.runtimes.parity import OutputParity, compare_outputs, worst

logger = logging.getLogger(__name__)

Feed = TypeVar("Feed")
"""One set of inputs, in whatever form the steps take them."""


@dataclass(frozen=True)
class Step(Generic[Feed]):
    """One rung to climb.

    Args:
        name: Shown to the user: ``"simplified"``, ``"tflite-fp32 on litert"``.
        tolerance: How far it may be from the source.
        run: Runs the whole model; None where this machine cannot.
        probe: Runs it up to one tensor; None where it cannot be looked into.
        knows: Whether it has a tensor of that name to probe.
        why_not: Without ``run``: what is needed to run it.
    """

    name: str
    tolerance: Tolerance
    run: Callable[[Feed], Mapping[str, Array]] | None = None
    probe: Callable[[str, Feed], Array] | None = None
    knows: Callable[[str], bool] = lambda name: True
    why_not: str = ""


@dataclass(frozen=True)
class Culprit:
    """The first operator whose result differs.

    Args:
        node: Its ONNX name.
        op_type: ONNX operator.
        figures: Of its result.
    """

    node: str
    op_type: str
    figures: OutputParity


@dataclass(frozen=True)
class Rung:
    """What was found on one rung.

    Args:
        name: As in its step.
        status: ``"agrees"``, ``"parts"`` or ``"unverified"``.
        outputs: Figures of every output, the worst over all inputs that were tried.
        culprit: Where it parts: the first operator that differs, if one was found.
        reason: Why it is unverified, or why no operator could be named.
    """

    name: str
    status: str
    outputs: tuple[OutputParity, ...] = ()
    culprit: Culprit | None = None
    reason: str = ""


@dataclass(frozen=True)
class Ladder:
    """All rungs, in order; the first is the source itself and is not among them."""

    rungs: tuple[Rung, ...] = field(default_factory=tuple)

    @property
    def first_parting(self) -> Rung | None:
        """The first rung that parts from the source."""
        return next((rung for rung in self.rungs if rung.status == "parts"), None)


def climb(
    source: Step[Feed], steps: Sequence[Step[Feed]], feeds: Sequence[Feed], *, graph: Graph
) -> Ladder:
    """Return how every step compares with the source.

    Args:
        source: What is right; it has both ``run`` and ``probe``.
        steps: The rungs, in order.
        feeds: Inputs to try, at least one.
        graph: The simplified graph, whose operators are named.
    """
    if source.run is None:
        raise ValueError("the source step must run: it is what the others are held against")
    expected = [source.run(feed) for feed in feeds]
    return Ladder(tuple(_climb_one(source, step, feeds, expected, graph) for step in steps))


def _climb_one(
    source: Step[Feed],
    step: Step[Feed],
    feeds: Sequence[Feed],
    expected: Sequence[Mapping[str, Array]],
    graph: Graph,
) -> Rung:
    if step.run is None:
        return Rung(step.name, "unverified", reason=step.why_not)
    actual = [step.run(feed) for feed in feeds]
    outputs = worst(map(compare_outputs, actual, expected))
    bad = [figures for figures in outputs if not figures.is_within(step.tolerance)]
    if not bad:
        return Rung(step.name, "agrees", outputs)
    feed = _worst_feed(bad[0].name, feeds, actual, expected)
    culprit, reason = _find_culprit(source, step, feed, bad[0], graph)
    return Rung(step.name, "parts", outputs, culprit, reason)


def _worst_feed(
    name: str,
    feeds: Sequence[Feed],
    actual: Sequence[Mapping[str, Array]],
    expected: Sequence[Mapping[str, Array]],
) -> Feed:
    cosines = [
        cosine(ours[name], right[name]) for ours, right in zip(actual, expected, strict=True)
    ]
    return feeds[cosines.index(min(cosines))]


def _find_culprit(
    source: Step[Feed], step: Step[Feed], feed: Feed, output: OutputParity, graph: Graph
) -> tuple[Culprit | None, str]:
    if step.probe is None or source.probe is None:
        return None, "this file cannot be looked into; compare a bundle to get the operator"
    prober = _Prober(source.probe, step.probe, feed, step.tolerance)
    try:
        if prober.figures(output.name).is_within(step.tolerance):
            return None, (
                f"emitted again from the model, {step.name} agrees: "
                "the file in the bundle is not what this EdgeKit makes of the model"
            )
        node = first_parting(
            graph,
            output.name,
            parts=lambda name: not prober.figures(name).is_within(step.tolerance),
            probed=[name for name in _cuts(graph) if source.knows(name) and step.knows(name)],
        )
        return (None, "no operator makes this output") if node is None else (prober.blame(node), "")
    except EdgeKitError as error:
        logger.info("bisecting %s stopped", step.name, exc_info=True)
        return None, f"bisecting stopped: {error}"


def _cuts(graph: Graph) -> list[str]:
    """Return the float tensors of known type, which can be cut off at and compared."""
    return [
        name
        for node in graph.nodes
        for name in node.outputs
        if name in graph.values and graph.values[name].dtype.is_float
    ]


class _Prober(Generic[Feed]):
    """Remembers what was asked, so that no cut is emitted and run twice."""

    def __init__(
        self,
        source: Callable[[str, Feed], Array],
        step: Callable[[str, Feed], Array],
        feed: Feed,
        tolerance: Tolerance,
    ) -> None:
        self._source = source
        self._step = step
        self._feed = feed
        self._tolerance = tolerance
        self._known: dict[str, OutputParity] = {}

    def figures(self, name: str) -> OutputParity:
        if name not in self._known:
            actual, right = self._step(name, self._feed), self._source(name, self._feed)
            (self._known[name],) = compare_outputs({name: actual}, {name: right})
            logger.info("at %s: %s", name, self._known[name])
        return self._known[name]

    def blame(self, node: Node) -> Culprit:
        asked = [self._known[name] for name in node.outputs if name in self._known]
        bad = next(figures for figures in asked if not figures.is_within(self._tolerance))
        return Culprit(node.name, node.op_type, bad)
