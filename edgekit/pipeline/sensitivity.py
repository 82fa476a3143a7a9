"""What each layer costs: rounded alone in ONNX Runtime, and the rest of the graph run after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgekit.calibration.sensitivity import Layer, Sensitivity, Tensors, measure_sensitivity
from edgekit.converters.evaluate import evaluate
from edgekit.converters.quantize.weights import to_integers, to_reals
from edgekit.graph import Array, Graph, Node, captured_names
from edgekit.pipeline.layers import integer_units
from edgekit.pipeline.progress import Progress, ignore
from edgekit.pipeline.tap import GraphTap
from edgekit.quantized import QuantizedGraph
from edgekit.tensor import TensorSpec

SAMPLES = 2
"""Whose activations are kept; each layer runs once for each of them."""

_TOLD_EVERY = 20


def sensitivity(
    quantized: QuantizedGraph,
    samples: Sequence[Mapping[str, Array]],
    *,
    progress: Progress | None = None,
) -> tuple[Sensitivity, ...]:
    """Return what quantizing each layer alone costs, the most worthwhile to keep float first.

    Args:
        quantized: With every layer in integers that can be.
        samples: Inputs by name; a few, such as ``SAMPLES``.
        progress: Told how far it is.
    """
    tell = progress or ignore
    units = integer_units(quantized)
    tell(f"measure what each of {len(units)} layers costs alone")
    parts = _Parts(quantized)

    def count(number: int) -> None:
        if number % _TOLD_EVERY == 0:
            tell(f"measure what layers cost: {number} of {len(units)}")

    return measure_sensitivity(
        units,
        keep_activations(quantized.graph, samples),
        rounded=parts.rounded,
        rest=parts.rest,
        outputs=quantized.graph.output_names,
        progress=count,
    )


def keep_activations(
    graph: Graph, samples: Sequence[Mapping[str, Array]]
) -> list[dict[str, Array]]:
    """Return every tensor of known type by name, for each sample."""
    names = [
        *graph.input_names,
        *(name for node in graph.nodes for name in node.outputs if name in graph.values),
    ]
    with GraphTap(graph, names) as tap:
        return [{name: value.copy() for name, value in tap(sample)} for sample in samples]


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

    def rounded(self, layer: Layer, kept: Tensors) -> dict[str, Array]:
        """Return the layer's results, its inputs, weights and results rounded."""
        nodes = [self._nodes[name] for name in layer.nodes]
        made = {name for node in nodes for name in node.outputs}
        read = dict.fromkeys(name for node in nodes for name in node.inputs if name)
        feed = {
            name: self._round(name, kept[name])
            for name in read
            if name in kept and name not in made
        }
        results = [name for name in nodes[-1].outputs if name in kept]
        part = self._part(nodes, feed, results, constants=self._weights)
        return {name: self._round(name, value) for name, value in evaluate(part, feed).items()}

    def rest(self, layer: Layer, results: Tensors, kept: Tensors) -> dict[str, Array]:
        """Return the model's outputs where the layer gave these results."""
        after = self._after(results)
        known = {**kept, **results}
        needed = {
            name
            for node in after
            for name in (*node.inputs, *captured_names(node))
            if name and name not in self._graph.initializers
        }
        needed -= {name for node in after for name in node.outputs}
        wanted = [name for node in after for name in node.outputs if name in self._outputs()]
        if not wanted:
            return {name: known[name] for name in self._outputs()}
        if needed - known.keys():
            # A tensor of unknown type could not be kept: all is computed again.
            own = set(layer.nodes)
            after = [node for node in self._graph.nodes if node.name not in own]
            needed = {*self._graph.input_names, *results}
        feed = {name: known[name] for name in needed}
        outputs = evaluate(self._part(after, feed, wanted), feed)
        return {name: outputs.get(name, known[name]) for name in self._outputs()}

    def _outputs(self) -> tuple[str, ...]:
        return self._graph.output_names

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


__all__ = ["SAMPLES", "keep_activations", "sensitivity"]
