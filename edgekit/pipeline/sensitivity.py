"""What each layer costs: rounded alone in ONNX Runtime, and the rest of the graph run after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from edgekit.calibration.layer_costs import LayerCosts, Tensors
from edgekit.calibration.sensitivity import Layer, Sensitivity
from edgekit.converters.evaluate import open_graph
from edgekit.converters.quantize.weights import to_integers, to_reals
from edgekit.graph import Array, Graph, Node, captured_names
from edgekit.metrics.pick import pick_metric
from edgekit.pipeline.layers import integer_units
from edgekit.pipeline.progress import Progress, ignore
from edgekit.pipeline.tap import GraphTap
from edgekit.pipeline.yardstick import Yardstick
from edgekit.quantized import QuantizedGraph
from edgekit.runtimes.session import Session
from edgekit.runtimes.validation import LabelledSample
from edgekit.tensor import TensorSpec

FIRST_SAMPLES = 2
"""With which every layer is measured, however long it takes."""

MOST_SAMPLES = 256
"""After which the metric of a layer alone says hardly more."""

LIMIT_S = 60.0
"""Time for more than the first samples, where the caller sets none."""

_MOST_BYTES = 512 << 20  # of activations that are kept at once
_MOST_AT_ONCE = 32
_WORTH_OPTIMIZING = 6  # samples, on which an engine is run
_TOLD_EVERY = 20


@dataclass(frozen=True)
class LayersAlone:
    """What each layer costs.

    Args:
        costs: The most worthwhile to keep float first.
        samples: How many were looked at.
        baseline: The float model's metric on these; NaN where it is not defined on them.
    """

    costs: tuple[Sensitivity, ...]
    samples: int
    baseline: float


def layers_alone(
    quantized: QuantizedGraph,
    yardstick: Yardstick,
    session: Session,
    *,
    limit_s: float | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> LayersAlone:
    """Return what quantizing each layer alone costs: noise, and the metric on some samples.

    Args:
        quantized: With every layer in integers that can be.
        yardstick: The samples and the metric.
        session: The float model, by which samples are fed and outputs are read.
        limit_s: No further samples are begun that would end later, beyond the first
            ``FIRST_SAMPLES``; None is ``LIMIT_S``.
        progress: Told how far it is.
        clock: Seconds, for tests.
    """
    tell, end = progress or ignore, clock() + (LIMIT_S if limit_s is None else limit_s)
    units, graph = integer_units(quantized), quantized.graph
    tell(f"measure what each of {len(units)} layers costs alone")
    kind = pick_metric(yardstick.metric).kind
    found = LayerCosts(units, graph.output_names, metric=lambda: pick_metric(yardstick.metric))
    parts = _Parts(quantized)
    samples = _spread(list(yardstick.samples.thinned(MOST_SAMPLES)))
    done = 0
    with GraphTap(graph, _tapped(graph)) as tap:
        size = FIRST_SAMPLES
        while done < len(samples):
            began = clock()
            chunk = samples[done : done + size]
            kept = [_keep(tap, yardstick.reading.feed(session, sample)) for sample in chunk]

            def read(
                index: int, outputs: Tensors, chunk: Sequence[LabelledSample] = chunk
            ) -> tuple[object, object]:
                sample = chunk[index]
                return (
                    yardstick.reading.read(session, sample, outputs, kind),
                    sample.expected,
                )

            def count(number: int, first: int = done + 1, last: int = done + len(chunk)) -> None:
                if number % _TOLD_EVERY == 0:
                    tell(
                        f"measure what layers cost: {number} of {len(units)} on samples {first} "
                        f"to {last} of up to {len(samples)}"
                    )

            alone = partial(parts.alone, optimize=len(chunk) >= _WORTH_OPTIMIZING)
            found.add(kept, alone, read=read, progress=count)
            done += len(chunk)
            each = max(sum(value.nbytes for value in one.values()) for one in kept)
            size = max(1, min(_MOST_AT_ONCE, len(samples) - done, _MOST_BYTES // max(each, 1)))
            cost_s = (clock() - began) / len(chunk)
            size = min(size, int((end - clock()) / max(cost_s, 1e-9)))
            if size < 1:
                break
    return LayersAlone(found.costs(), done, found.baseline)


def _spread(samples: list[LabelledSample]) -> list[LabelledSample]:
    """Return the samples so that the first few are from all over the set."""
    bits = max(len(samples) - 1, 1).bit_length()
    order = sorted(range(len(samples)), key=lambda index: f"{index:0{bits}b}"[::-1])
    return [samples[index] for index in order]


def _tapped(graph: Graph) -> list[str]:
    """Return every tensor of known type."""
    made = (name for node in graph.nodes for name in node.outputs if name in graph.values)
    return [*graph.input_names, *made]


def _keep(tap: GraphTap, inputs: Mapping[str, Array]) -> dict[str, Array]:
    return {name: value.copy() for name, value in tap(inputs)}


class _Parts:
    """One layer, and what follows it, as graphs of their own."""

    def __init__(self, quantized: QuantizedGraph) -> None:
        self._quantized = quantized
        self._graph = quantized.graph
        self._nodes = {node.name: node for node in self._graph.nodes}
        self._weights = {
            name: self._round(name, value)
            for name, value in self._graph.initializers.items()
            if name in quantized.codes
        }

    def alone(
        self, layer: Layer, *, optimize: bool
    ) -> Callable[[Tensors], tuple[Tensors, Tensors]]:
        """Return a function from a sample's activations to the layer's results and the outputs.

        The engines are made at the first sample, when the shapes are known.

        Args:
            layer: Which.
            optimize: Whether the engines take longer to make and less to run.
        """
        engines: dict[str, Callable[[Mapping[str, Array]], dict[str, Array]]] = {}

        def run(part: str, make: Callable[[], Graph], feed: Tensors) -> dict[str, Array]:
            shapes = ",".join(f"{name}{value.shape}" for name, value in sorted(feed.items()))
            key = f"{part} {shapes}"
            if key not in engines:
                engines[key] = open_graph(make(), optimize=optimize)
            return engines[key](feed)

        nodes = [self._nodes[name] for name in layer.nodes]
        made = {name for node in nodes for name in node.outputs}
        read = dict.fromkeys(name for node in nodes for name in node.inputs if name)

        def alone(kept: Tensors) -> tuple[Tensors, Tensors]:
            feed = {
                name: self._round(name, kept[name])
                for name in read
                if name in kept and name not in made
            }
            wanted = [name for name in nodes[-1].outputs if name in kept]
            results = run(
                "layer", lambda: self._part(nodes, feed, wanted, constants=self._weights), feed
            )
            results = {name: self._round(name, value) for name, value in results.items()}
            known = {**kept, **results}
            after, names, ends = self._rest(layer, results, known)
            changed: Tensors = {}
            if ends:
                rest = {name: known[name] for name in names}
                changed = run("rest", lambda: self._part(after, rest, ends), rest)
            outputs = self._graph.output_names
            return results, {name: changed.get(name, known[name]) for name in outputs}

        return alone

    def _rest(
        self, layer: Layer, results: Tensors, known: Tensors
    ) -> tuple[list[Node], set[str], list[str]]:
        """Return the nodes after the layer, what they read, and which outputs they make."""
        outputs = self._graph.output_names
        after = self._after(results)
        wanted = [name for node in after for name in node.outputs if name in outputs]
        needed = {
            name
            for node in after
            for name in (*node.inputs, *captured_names(node))
            if name and name not in self._graph.initializers
        }
        needed -= {name for node in after for name in node.outputs}
        if needed - known.keys():
            # A tensor of unknown type could not be kept: all is computed again.
            own = set(layer.nodes)
            after = [node for node in self._graph.nodes if node.name not in own]
            needed = {*self._graph.input_names, *results}
        return after, needed, wanted

    def _after(self, results: Tensors) -> list[Node]:
        """Return the nodes that the results reach, in order."""
        reached = set(results)
        found: list[Node] = []
        for node in self._graph.nodes:
            if reached & {*node.inputs, *captured_names(node)} and not reached >= set(node.outputs):
                reached.update(node.outputs)
                found.append(node)
        return found

    def _part(
        self,
        nodes: Sequence[Node],
        feed: Tensors,
        results: Sequence[str],
        *,
        constants: Mapping[str, Array] | None = None,
    ) -> Graph:
        part = replace(
            self._graph,
            inputs=tuple(_spec(name, self._graph, value) for name, value in feed.items()),
            outputs=tuple(self._graph.values[name] for name in results),
        )
        return part.with_nodes(
            nodes, initializers={**self._graph.initializers, **(constants or {})}
        )

    def _round(self, name: str, value: Array) -> Array:
        code = self._quantized.codes.get(name)
        return value if code is None else to_reals(to_integers(value, code), code)


def _spec(name: str, graph: Graph, value: Array) -> TensorSpec:
    spec = graph.values.get(name) or next(item for item in graph.inputs if item.name == name)
    return spec.with_shape(value.shape)
