"""Put float16 types into a graph, for engines that compute exactly as typed.

Heavy layers (convolutions, matrix products, recurrent layers) run in float16, and with them
what only passes their results on. Float32 stay: the inputs and outputs of the model; sums
over many elements and steep functions (Softmax, norms, Reduce, Exp, Pow, ...); all that
follows the last heavy layer, where boxes and scores are decoded; and every layer with a
weight that float16 cannot hold. Q/DQ pairs take the type of what they read and give float16,
from opset 19 on: before, their scales are float32.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np

from edgekit.converters.onnx_model import infer_shapes
from edgekit.graph import Array, Graph, Node, captured_names
from edgekit.tensor import DType

_HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
_LIGHT = frozenset(
    {
        *("Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"),
        *("Elu", "Selu", "Celu", "Add", "Sub", "Mul", "Max", "Min", "Neg", "Abs", "Sum"),
        *("MaxPool", "GlobalMaxPool", "AveragePool", "Concat", "Split", "Slice", "Reshape"),
        *("Transpose", "Flatten", "Squeeze", "Unsqueeze", "Gather", "GatherElements", "Pad"),
        *("Resize", "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "Where", "Identity"),
        *("Mish", "Gelu", "Erf", "Dropout"),
    }
)
_FULL_INPUTS = {"Resize": (1, 2)}
"""Inputs that are float32 by definition, whatever the data's type."""
HALF_MAX = 65504.0
"""Largest finite float16 (IEEE 754-2008, binary16)."""
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
TYPED_PAIRS = 19
"""First operator set whose Q/DQ nodes take float16 scales."""
_INT8_REACH = 128


def type_half(graph: Graph, *, keep_full: Collection[str] = ()) -> Graph:
    """Return the graph with float16 inside; inputs and outputs keep their types.

    Args:
        graph: The untyped model.
        keep_full: Names of nodes that stay float32, whatever they compute.
    """
    half = _half_nodes(graph, frozenset(keep_full))
    if not half:
        return graph
    writer = _Writer(graph)
    for node in graph.nodes:
        writer.add(node, is_half=node.name in half)
    writer.finish()
    return infer_shapes(
        replace(graph.with_nodes(writer.nodes, initializers=writer.constants), values={})
    )


def _half_nodes(graph: Graph, keep_full: Collection[str]) -> set[str]:
    """Return names of the nodes that compute in float16."""
    captured = {name for node in graph.nodes for name in captured_names(node)}
    before_heavy = _leads_to_heavy(graph)
    half: set[str] = set()
    makers: dict[str, str] = {}
    beyond: set[str] = set()  # what a code says that float16 cannot
    for node in graph.nodes:
        makers.update(dict.fromkeys(node.outputs, node.name))
        if node.op_type == DEQUANTIZE and not _fits(node, graph):
            beyond.update(node.outputs)
        if node.domain or captured.intersection(node.outputs) or node.name in keep_full:
            continue
        if not _fits(node, graph):
            continue
        data = [name for name in _float_inputs(node, graph) if name not in graph.initializers]
        follows = bool(data) and all(makers.get(name) in half for name in data)
        is_light = node.op_type in _LIGHT or node.op_type == QUANTIZE
        # What it unpacks is as exact in float16, and heavy layers want it so.
        is_free = node.op_type == DEQUANTIZE or (is_light and follows)
        is_heavy = node.op_type in _HEAVY and not beyond.intersection(node.inputs)
        if is_heavy or (is_free and node.name in before_heavy):
            half.add(node.name)
    return half


def _leads_to_heavy(graph: Graph) -> set[str]:
    """Return names of the nodes whose results reach a heavy layer."""
    wanted: set[str] = set()
    names: set[str] = set()
    for node in reversed(graph.nodes):
        if node.op_type in _HEAVY or wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            if wanted.intersection(node.outputs):
                names.add(node.name)
    return names


def _float_inputs(node: Node, graph: Graph) -> list[str]:
    """Return the inputs that would change their type: float32, not fixed by definition."""
    fixed = _FULL_INPUTS.get(node.op_type, ())
    return [
        name
        for index, name in enumerate(node.inputs)
        if name and index not in fixed and _is_full(name, graph)
    ]


def _is_full(name: str, graph: Graph) -> bool:
    if name in graph.initializers:
        return graph.initializers[name].dtype == np.float32
    spec = graph.values.get(name)
    return spec is not None and spec.dtype is DType.FLOAT32


def _fits(node: Node, graph: Graph) -> bool:
    """Whether it computes in float32 now and float16 holds all its constants."""
    if node.op_type in (QUANTIZE, DEQUANTIZE):
        return graph.opset >= TYPED_PAIRS and _fits_pair(node, graph)
    if not all(_is_full(name, graph) for name in node.outputs[:1]):
        return False
    if not all(name in graph.values or name in graph.initializers for name in node.inputs if name):
        return False
    constants = [
        graph.initializers[name]
        for name in _float_inputs(node, graph)
        if name in graph.initializers
    ]
    # Clip's open end is written as the largest float32: infinity means the same.
    if node.op_type == "Clip":
        return True
    return all(float(np.abs(value).max(initial=0.0)) <= HALF_MAX for value in constants)


def _fits_pair(node: Node, graph: Graph) -> bool:
    """Whether float16 holds the scale exactly (a rounded one is another code) and all values."""
    scale = graph.initializers.get(node.input(1))
    if scale is None or scale.dtype != np.float32:
        return False
    if float(scale.max(initial=0.0)) * _INT8_REACH > HALF_MAX:
        return False
    return bool(np.array_equal(scale.astype(np.float16).astype(np.float32), scale))


@dataclass
class _Writer:
    """Builds the typed graph node by node.

    Args:
        graph: The untyped model.
    """

    graph: Graph
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.constants = dict(self.graph.initializers)
        self._halves: dict[str, str] = {}
        self._fulls: dict[str, str] = {}
        self._is_half: set[str] = set()

    def add(self, node: Node, *, is_half: bool) -> None:
        """Append the node with its inputs cast to what it computes in."""
        wanted = set(_float_inputs(node, self.graph)) if is_half else set()
        inputs = tuple(
            self._half(name) if name in wanted else self._full(name) if name else ""
            for name in node.inputs
        )
        outputs = node.outputs
        if is_half:
            floats = [name for name in node.outputs if name and _is_full(name, self.graph)]
            self._is_half.update(floats)
            # A model output keeps its name for the float32 value.
            ends = {name: f"{name}.half" for name in floats if name in self.graph.output_names}
            self._halves.update(ends)
            outputs = tuple(ends.get(name, name) for name in node.outputs)
        self.nodes.append(replace(node, inputs=inputs, outputs=outputs))

    def finish(self) -> None:
        """Give model outputs that are float16 inside their float32 type back."""
        for name in self.graph.output_names:
            if name in self._is_half and name not in self._fulls:
                self._cast(self._halves[name], name, DType.FLOAT32)

    def _half(self, name: str) -> str:
        if name in self._halves:
            return self._halves[name]
        if name in self._is_half:
            return name
        result = f"{name}.half"
        self._halves[name] = result
        if name in self.graph.initializers:
            with np.errstate(over="ignore"):
                self.constants[result] = self.graph.initializers[name].astype(np.float16)
        else:
            self._cast(name, result, DType.FLOAT16)
        return result

    def _full(self, name: str) -> str:
        if name not in self._is_half:
            return name
        if name not in self._fulls:
            source = self._halves.get(name, name)
            result = name if source != name else f"{name}.full"
            self._fulls[name] = result
            self._cast(source, result, DType.FLOAT32)
        return self._fulls[name]

    def _cast(self, source: str, result: str, dtype: DType) -> None:
        self.nodes.append(
            Node(
                "Cast",
                (source,),
                (result,),
                {"to": _ONNX_TYPES[dtype]},
                name=f"{result}/cast",
            )
        )


_ONNX_TYPES = {DType.FLOAT32: 1, DType.FLOAT16: 10}
"""TensorProto.DataType numbers, onnx.proto3."""
