"""Changes to a quantized graph, gathered and then made at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from edgekit.converters.passes.remove_dead import remove_dead
from edgekit.converters.passes.rewire import bypassed
from edgekit.converters.qdq_lint.pairs import Pair
from edgekit.graph import Array, Graph, Node
from edgekit.tensor import DType

_NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax", "HardSigmoid"})
_LEAST_SCALE = np.float32(2.0**-60)


@dataclass
class Edit:
    """What is to change.

    Args:
        graph: As it is.
    """

    graph: Graph
    _nodes: dict[str, Node] = field(default_factory=dict)
    _constants: dict[str, Array] = field(default_factory=dict)
    _bypassed: dict[str, tuple[str, str]] = field(default_factory=dict)
    _before: dict[str, list[Node]] = field(default_factory=dict)
    _integers: set[str] = field(default_factory=set)
    _read_float: dict[str, dict[str, str]] = field(default_factory=dict)

    def set_symmetric(self, pair: Pair, amax: Array) -> None:
        """Give an activation's pair a symmetric int8 code.

        A code that began at 0 did the work of a Relu, and tools leave the Relu out then: it is
        written again.

        Args:
            pair: With a Q node.
            amax: Largest absolute value to hold, shape ().
        """
        assert pair.quantize is not None  # asked of activations only
        source = self._floats(pair)
        scale = self._constant(f"{pair.result}_scale", _scale_of(amax))
        point = self._constant(f"{pair.result}_zero_point", np.zeros((), np.int8))
        self._integers.add(pair.quantize.outputs[0])
        for node in (pair.quantize, pair.dequantize):
            first = source if node is pair.quantize else node.input(0)
            self._nodes[node.name] = replace(node, inputs=(first, scale, point), attributes={})

    def set_weight(self, pair: Pair, values: Array, axis: int) -> None:
        """Store a weight as symmetric int8 with one scale per slice along the axis.

        Args:
            pair: Of a constant.
            values: Real values, float32.
            axis: Of the layer's output channels.
        """
        others = tuple(index for index in range(values.ndim) if index != axis)
        scale = _scale_of(np.abs(values).max(axis=others))
        shape = [1] * values.ndim
        shape[axis] = -1
        integers = np.clip(np.rint(values / scale.reshape(shape)), -127, 127).astype(np.int8)
        names = (
            self._constant(f"{pair.result}_int8", integers),
            self._constant(f"{pair.result}_scales", scale),
            self._constant(f"{pair.result}_zero_points", np.zeros(scale.shape, np.int8)),
        )
        node = pair.dequantize
        self._nodes[node.name] = replace(node, inputs=names, attributes={"axis": axis})

    def match_dequantize(self, pair: Pair) -> None:
        """Give a DQ the scale and zero point of its Q."""
        assert pair.quantize is not None
        inputs = (pair.dequantize.input(0), *pair.quantize.inputs[1:])
        self._nodes[pair.dequantize.name] = replace(
            pair.dequantize, inputs=inputs, attributes=dict(pair.quantize.attributes)
        )

    def to_float_constant(self, pair: Pair) -> None:
        """Put a constant's real values in the place of its DQ."""
        constant = self._constant(f"{pair.result}_float", pair.values())
        self._bypassed[pair.dequantize.name] = (constant, pair.result)

    def read_float(self, pair: Pair, reader: Node) -> None:
        """Let one reader of an activation's pair read the float tensor in front of it."""
        self._read_float.setdefault(reader.name, {})[pair.result] = self._floats(pair)

    def remove(self, pair: Pair) -> None:
        """Let all that read an activation's pair read the float tensor in front of it."""
        self._bypassed[pair.dequantize.name] = (self._floats(pair), pair.result)

    def apply(self) -> Graph:
        """Return the changed graph; what nothing reads any more is gone."""
        nodes = []
        for node in self.graph.nodes:
            changed = self._nodes.get(node.name, node)
            direct = self._read_float.get(node.name, {})
            inputs = tuple(direct.get(name, name) for name in changed.inputs)
            nodes += self._before.get(node.name, [])
            nodes.append(replace(changed, inputs=inputs))
        constants = {**self.graph.initializers, **self._constants}
        typed = {
            name: replace(spec, dtype=DType.INT8) if name in self._integers else spec
            for name, spec in self.graph.values.items()
        }
        graph = replace(self.graph, nodes=tuple(nodes), values=typed, initializers=constants)
        return remove_dead(bypassed(graph, self._bypassed))

    def _floats(self, pair: Pair) -> str:
        """Return the float tensor in front of a pair, clipped where the code did that."""
        if pair.quantize is None or not pair.is_clipped_at_zero:
            return pair.source
        maker = self.graph.producers().get(pair.source)
        if maker is not None and maker.op_type in _NEVER_NEGATIVE:
            return pair.source
        name = self._free(f"{pair.source}_relu")
        relu = Node("Relu", (pair.source,), (name,), name=name)
        self._before.setdefault(pair.quantize.name, []).append(relu)
        return name

    def _constant(self, name: str, value: Array) -> str:
        name = self._free(name)
        self._constants[name] = value
        return name

    def _free(self, name: str) -> str:
        taken = {*self.graph.initializers, *self.graph.values, *self._constants}
        while name in taken:
            name += "_"
        return name


def _scale_of(amax: Array) -> Array:
    return np.asarray(np.maximum(np.asarray(amax, np.float32) / 127, _LEAST_SCALE), np.float32)
