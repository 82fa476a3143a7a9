"""A model that other tools quantized, as the float graph and its table.

What ONNX Runtime, NNCF and Model Optimizer write is read: pairs of QuantizeLinear and
DequantizeLinear on activations and weights, or integers with a DequantizeLinear. Each pair
goes, its code is the tensor's in the table, and a constant becomes the reals that its
integers stand for.

    read_codes.py   what one node says
    read_qdq.py     the walk
    read_widen.py   float32 in place of float16
    read_fold.py    batch norms and per-channel activation scales put into weights
    read_table.py   the codes of tensors that the tool wrote none for
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from edgekit.converters.passes import simplify
from edgekit.converters.passes.rewire import renamed
from edgekit.converters.quantize.read_codes import as_signed, code_of, integers_by, refusal
from edgekit.converters.quantize.read_fold import fold_channels, fold_norms
from edgekit.converters.quantize.read_table import complete, tidy
from edgekit.converters.quantize.read_widen import widened
from edgekit.converters.quantize.weights import to_reals
from edgekit.graph import Array, Graph, Node, captured_names
from edgekit.quantized import Code, QuantizedGraph
from edgekit.tensor import DType, TensorSpec

logger = logging.getLogger(__name__)

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_SIX = 6.0
_NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "Softmax", "HardSigmoid", "Abs", "Exp", "Sqrt"})
_PASSES_SIGN = frozenset(
    {
        *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Reshape", "Flatten"),
        *("Transpose", "Squeeze", "Unsqueeze", "Concat", "Slice", "Split", "Identity", "Pad"),
        *("Add", "Mul", "Resize", "Gather", "Expand", "DepthToSpace", "SpaceToDepth", "ReduceMean"),
    }
)
_MAY_CLIP = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "BatchNormalization"})


def has_integers(graph: Graph) -> bool:
    """Whether the model is quantized already: it holds a Q or DQ node."""
    return any(node.op_type in (QUANTIZE, DEQUANTIZE) for node in graph.nodes)


def has_integer_activations(graph: Graph) -> bool:
    """Whether more than weights is quantized."""
    constants = graph.initializers
    return any(node.op_type == QUANTIZE and node.input(0) not in constants for node in graph.nodes)


def read_qdq(graph: Graph) -> QuantizedGraph:
    """Return a quantized model as its float graph and table.

    A code that cuts at 0 (or at 0 and 6) what a layer makes is a Relu that the tool left out;
    it is written again. Float16 becomes float32.

    Args:
        graph: As it was loaded, or simplified.

    Raises:
        UnsupportedOperatorError: A node stores something else than 8 bits with one scale per
            tensor or channel, its scale is computed, or integers reach another operator.
    """
    read = _Reader(widened(graph)).read()
    cleaned = simplify(read.graph, ("fold_constants", "remove_dead"))
    read = tidy(replace(read, graph=cleaned))
    read = fold_channels(fold_norms(read))
    return complete(read)


class _Reader:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = dict(graph.initializers)
        self._codes: dict[str, Code] = {}
        self._values: dict[str, TensorSpec] = dict(graph.values)
        # By integer tensor: the float one that it stands for, and its code.
        self._pending: dict[str, tuple[str, Code]] = {}
        self._stored: dict[str, tuple[Array, Code]] = {}
        self._same: dict[str, str] = {}
        self._clipped: dict[str, str] = {}
        self._makers = graph.producers()

    def read(self) -> QuantizedGraph:
        for node in self._graph.nodes:
            if node.op_type == QUANTIZE:
                self._quantize(node)
            elif node.op_type == DEQUANTIZE:
                self._dequantize(node)
            elif node.op_type == "Transpose" and node.inputs[0] in self._codes_of_constants():
                self._transpose(node)
            else:
                self._keep(node)
        self._name_outputs()
        graph = replace(self._graph, values=self._values)
        nodes = tuple(renamed(self._nodes, self._same))
        return QuantizedGraph(
            graph.with_nodes(nodes, initializers=self._constants), self._codes, scheme="read"
        )

    def _codes_of_constants(self) -> frozenset[str]:
        return frozenset(name for name in self._codes if name in self._constants)

    def _keep(self, node: Node) -> None:
        for name in (*node.inputs, *captured_names(node)):
            if name in self._pending or name in self._stored:
                raise refusal(node, f"it reads the integers {name!r}; only a DequantizeLinear may")
        if self._changes_nothing(node) and node.outputs[0] not in self._graph.output_names:
            self._same[node.outputs[0]] = self._root(node.inputs[0])
        else:
            self._nodes.append(node)

    def _changes_nothing(self, node: Node) -> bool:
        """Whether it is a Cast around float16 that became one to what its input is."""
        spec = self._values.get(node.input(0))
        is_float = spec is not None and spec.dtype is DType.FLOAT32
        return node.op_type == "Cast" and node.attribute("to", 0) == 1 and is_float

    def _quantize(self, node: Node) -> None:
        name = self._root(node.inputs[0])
        code = code_of(node, self._graph, self._constants, rank=self._rank(name))
        result = node.outputs[0]
        if result in self._graph.output_names:
            raise refusal(node, f"it makes the output {result!r}; outputs must be float")
        if name in self._constants:
            self._stored[result] = (integers_by(node, self._constants[name], code), code)
        else:
            self._pending[result] = (self._with_clip(name, code), code)

    def _dequantize(self, node: Node) -> None:
        source, result = node.inputs[0], node.outputs[0]
        if source in self._stored:
            integers, code = self._stored[source]
            self._constant(result, integers, code)
        elif source in self._constants:
            integers = self._constants[source]
            code = code_of(node, self._graph, self._constants, rank=integers.ndim)
            self._constant(result, as_signed(integers), code)
        elif source in self._pending:
            name, code = self._pending[source]
            own = code_of(node, self._graph, self._constants, rank=self._rank(name))
            if own != code:
                raise refusal(node, f"its code is not that of the {QUANTIZE} before it")
            if code.quantization.is_per_channel:
                name = self._own(name, code)
            self._set(name, code)
            self._same[result] = name
        else:
            raise refusal(node, f"its integers {source!r} come from no {QUANTIZE} and no constant")

    def _constant(self, name: str, integers: Array, code: Code) -> None:
        self._constants[name] = to_reals(integers, code)
        self._values[name] = TensorSpec(name, DType.FLOAT32, integers.shape)
        if code.dtype is not DType.INT32:
            self._codes[name] = code

    def _transpose(self, node: Node) -> None:
        """Turn a constant, and the axis of its scales with it."""
        source, result = node.inputs[0], node.outputs[0]
        value, code = self._constants[source], self._codes[source]
        order = node.attribute("perm", tuple(reversed(range(value.ndim))))
        self._constants[result] = np.ascontiguousarray(value.transpose(order))
        axis = code.quantization.axis
        turned = None if axis is None else order.index(axis)
        self._codes[result] = replace(code, quantization=replace(code.quantization, axis=turned))

    def _set(self, name: str, code: Code) -> None:
        """Give a tensor its code; of two, the one that reaches further."""
        old = self._codes.get(name)
        if old is not None and old != code:
            logger.info("%s has two codes; the wider one serves all that read it", name)
            if max(old.quantization.scale) >= max(code.quantization.scale):
                return
        self._codes[name] = code

    def _own(self, name: str, code: Code) -> str:
        """Return a tensor of its own, of the same values; ``fold_channels`` takes it up."""
        key = f"{name}/channels"
        while key in self._codes and self._codes[key] != code:
            key += "_"
        if key not in self._codes:
            self._nodes.append(Node("Identity", (name,), (key,), name=key))
            if name in self._values:
                self._values[key] = replace(self._values[name], name=key)
        return key

    def _with_clip(self, name: str, code: Code) -> str:
        """Return the tensor that the code is of: behind the Relu that its ends stand for."""
        if any(point != -128 for point in code.quantization.zero_point):
            return name
        maker = self._makers.get(name)
        if maker is None or maker.op_type not in _MAY_CLIP or self._is_never_negative(name):
            return name
        if name not in self._clipped:
            self._clipped[name] = self._add_clip(name, code)
        return self._clipped[name]

    def _add_clip(self, name: str, code: Code) -> str:
        result = f"{name}/clipped"
        highest = [255 * scale for scale in code.quantization.scale]
        if all(abs(high - _SIX) < 1e-3 for high in highest):
            ends = (f"{result}/low", f"{result}/high")
            for end, number in zip(ends, (0.0, _SIX), strict=True):
                self._constants[end] = np.asarray(number, np.float32)
            node = Node("Clip", (name, *ends), (result,), name=result)
        else:
            node = Node("Relu", (name,), (result,), name=result)
        self._nodes.append(node)
        if name in self._values:
            self._values[result] = replace(self._values[name], name=result)
        return result

    def _is_never_negative(self, name: str) -> bool:
        waiting, seen = [name], set()
        while waiting:
            tensor = self._root(waiting.pop())
            if tensor in seen:
                continue
            seen.add(tensor)
            if tensor in self._constants and not np.any(self._constants[tensor] < 0):
                continue
            if tensor in self._clipped.values():
                continue
            maker = self._makers.get(tensor)
            if maker is None:
                return False
            if maker.op_type in _NEVER_NEGATIVE or self._is_clip_from_zero(maker):
                continue
            if maker.op_type not in _PASSES_SIGN:
                return False
            both = maker.op_type in ("Add", "Mul", "Concat")
            waiting += maker.inputs if both else maker.inputs[:1]
        return True

    def _is_clip_from_zero(self, node: Node) -> bool:
        low = self._constants.get(node.input(1))
        return node.op_type == "Clip" and low is not None and low.size == 1 and low.item() >= 0

    def _root(self, name: str) -> str:
        while name in self._same:
            name = self._same[name]
        return name

    def _rank(self, name: str) -> int:
        if name in self._constants:
            return self._constants[name].ndim
        spec = self._values.get(name)
        return 4 if spec is None or spec.shape is None else len(spec.shape)

    def _name_outputs(self) -> None:
        """Let what makes an output take its name over; the pair made it before."""
        fixed = {*self._graph.input_names, *self._constants, *self._graph.output_names}
        for name in self._graph.output_names:
            root = self._root(name)
            if root == name:
                continue
            del self._same[name]
            if root in fixed:
                self._nodes.append(Node("Identity", (root,), (name,), name=f"{name}/read"))
                continue
            self._same[root] = name
            fixed.add(name)
            if root in self._codes:
                self._codes[name] = self._codes.pop(root)
