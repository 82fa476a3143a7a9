"""Write a quantized graph as ONNX with QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from edgekit.converters.quantize.operators import activations, weight_of
from edgekit.converters.quantize.placement import PLACEMENTS, Placement, view_of
from edgekit.converters.quantize.scheme import Scheme
from edgekit.converters.quantize.weights import to_integers
from edgekit.errors import UsageError
from edgekit.graph import Array, Attribute, Graph, Node
from edgekit.quantization import Quantization
from edgekit.quantized import Code, QuantizedGraph
from edgekit.tensor import DType, TensorSpec


def to_qdq(quantized: QuantizedGraph, scheme: Scheme) -> Graph:
    """Return the graph with Q/DQ pairs where the scheme's target wants them.

    The table may come from another scheme of the same symmetry: int8 and uint8 codes are the
    same numbers, 128 apart.

    Args:
        quantized: The float graph and its table.
        scheme: Of the target to write for.

    Raises:
        UsageError: The target does not read Q/DQ graphs, or the table is of another kind.
    """
    if not scheme.placement:
        raise UsageError(
            f"scheme {scheme.name!r} has no Q/DQ form; choose openvino, onnx or tensorrt"
        )
    _check_symmetry(quantized, scheme)
    return write_pairs(quantized, scheme, PLACEMENTS[scheme.placement](view_of(quantized)))


def write_pairs(quantized: QuantizedGraph, scheme: Scheme, placement: Placement) -> Graph:
    """Return the graph with Q/DQ pairs where the placement has them.

    Args:
        quantized: The float graph and its table.
        scheme: Types of the integers.
        placement: Where the pairs lie.
    """
    return _Writer(quantized, scheme, placement).graph()


def _check_symmetry(quantized: QuantizedGraph, scheme: Scheme) -> None:
    graph = quantized.graph
    if not scheme.symmetric:
        return
    for name, code in quantized.codes.items():
        if name not in graph.initializers and not code.quantization.is_symmetric:
            raise UsageError(
                f"{scheme.name} needs zero points of 0, {name!r} has "
                f"{code.quantization.zero_point[0]}; quantize with this scheme"
            )


@dataclass
class _Writer:
    """Builds the new nodes and constants."""

    quantized: QuantizedGraph
    scheme: Scheme
    placement: Placement
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    values: dict[str, TensorSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.quantized.graph
        self._taken = {*graph.initializers, *graph.values, *graph.input_names}
        self._taken |= {node.name for node in graph.nodes} | set(graph.producers())
        self._through: dict[str, str] = {}
        self._weights: dict[str, str] = {}

    def graph(self) -> Graph:
        graph = self.quantized.graph
        for spec in graph.inputs:
            self._add_pair(spec.name)
        for node in graph.nodes:
            self._add(node)
        constants = {**graph.initializers, **self.constants}
        written = replace(graph, values={**graph.values, **self.values})
        return written.with_nodes(self.nodes, initializers=constants)

    def _add(self, node: Node) -> None:
        graph = self.quantized.graph
        inputs = [self._read(name, node) for name in node.inputs]
        if node.name in self.placement.layers:
            weight = weight_of(node, graph)
            if weight:
                inputs[1] = self._weight(weight)
                inputs = self._with_bias(node, inputs)
        else:
            inputs = [
                self._weight(name) if name in self.placement.constants else name for name in inputs
            ]
        outputs = tuple(self._renamed_output(name) for name in node.outputs)
        self.nodes.append(replace(node, inputs=tuple(inputs), outputs=outputs))
        for name in node.outputs:
            self._add_pair(name)

    def _read(self, name: str, node: Node) -> str:
        readers = self.placement.pairs.get(name)
        if name in self._through and (readers is None or node.name in readers):
            return self._through[name]
        return name

    def _renamed_output(self, name: str) -> str:
        """Return the name under which a node makes a tensor; an output's pair keeps its own."""
        if name and self._is_output_pair(name):
            return self._fresh(f"{name}_float")
        return name

    def _is_output_pair(self, name: str) -> bool:
        graph = self.quantized.graph
        return (
            name in graph.output_names
            and self.placement.pairs.get(name, frozenset()) is None
            and name not in graph.input_names
        )

    def _add_pair(self, name: str) -> None:
        if name not in self.placement.pairs or name not in self.quantized.codes:
            return
        code = self._activation(name)
        is_output = self._is_output_pair(name)
        source = self.nodes[-1].outputs[self._index_of(name)] if is_output else name
        middle = self._fresh(f"{name}_quantized")
        result = name if is_output else self._fresh(f"{name}_dequantized")
        constants = self._code_constants(name, code)
        self.nodes += [
            self._node("QuantizeLinear", (source, *constants), middle, code),
            self._node("DequantizeLinear", (middle, *constants), result, code),
        ]
        spec = self.quantized.graph.values.get(name)
        shape = None if spec is None else spec.shape
        self.values[middle] = TensorSpec(middle, code.dtype, shape)
        for made in (source, result):
            self.values[made] = TensorSpec(made, DType.FLOAT32, shape)
        self._through[name] = result

    def _index_of(self, name: str) -> int:
        producer = self.quantized.graph.producers()[name]
        return producer.outputs.index(name)

    def _weight(self, name: str) -> str:
        """Return the float name of a constant that is stored as integers."""
        if name in self._weights:
            return self._weights[name]
        value = self.quantized.graph.initializers[name]
        code = self.quantized.codes[name]
        if code.quantization.axis is None:
            code = self._activation(name) if name in self.placement.constants else code
        constants = self._code_constants(name, code)
        result = self._fresh(f"{name}_dequantized")
        middle = self._fresh(f"{name}_quantized")
        if self.scheme.float_weights:
            self.nodes.append(self._node("QuantizeLinear", (name, *constants), middle, code))
        else:
            self.constants[middle] = to_integers(value, code)
        self.nodes.append(self._node("DequantizeLinear", (middle, *constants), result, code))
        self.values[middle] = TensorSpec(middle, code.dtype, value.shape)
        self.values[result] = TensorSpec(result, DType.FLOAT32, value.shape)
        self._weights[name] = result
        return result

    def _with_bias(self, node: Node, inputs: list[str]) -> list[str]:
        """Return the inputs with the bias on the grid of the layer's products.

        As int32 where the scheme wants that, else as floats that stand for the same integers:
        an engine that adds its bias in float then rounds as those do that add integers (on
        YuNet 0.001 % of OpenVINO's elements differ from ONNX Runtime's, else 0.2 %).

        Source: ONNX Runtime's integer kernels, and the LiteRT quantization specification:
        bias scale = input scale x weight scale, zero point 0.
        """
        graph, codes = self.quantized.graph, self.quantized.codes
        bias = graph.initializers.get(node.input(2))
        plain = node.attribute("alpha", 1.0) == 1.0 and node.attribute("beta", 1.0) == 1.0
        if self.scheme.symmetric or bias is None or bias.ndim != 1 or not plain:
            return inputs
        if self.scheme.is_weight_only:  # nothing is added to integers there
            return inputs
        source = codes[activations(node, graph)[0]].quantization.scale[0]
        weight = codes[weight_of(node, graph)].quantization
        # The engine multiplies the two in float32 and compares; so it is done here.
        scales = np.float32(source) * np.asarray(weight.scale, np.float32)
        scale = tuple(float(item) for item in scales)
        axis = None if len(scale) == 1 else 0
        code = Code(DType.INT32, Quantization(scale, (0,) * len(scale), axis))
        name, integers = f"{node.name}.bias", to_integers(bias, code)
        result = self._fresh(f"{name}_dequantized")
        if not self.scheme.bias:
            self.constants[result] = np.asarray(integers * scales, np.float32)
            return [*inputs[:2], result]
        constants, middle = self._code_constants(name, code), self._fresh(f"{name}_quantized")
        self.constants[middle] = integers
        self.nodes.append(self._node("DequantizeLinear", (middle, *constants), result, code))
        self.values[result] = TensorSpec(result, DType.FLOAT32, bias.shape)
        return [*inputs[:2], result]

    def _activation(self, name: str) -> Code:
        """Return a tensor's code in the scheme's own type; the numbers stay the same."""
        code = self.quantized.codes[name]
        if self.scheme.activations is not DType.UINT8 or code.dtype is not DType.INT8:
            return code
        if name in self.placement.signed and code.quantization.is_symmetric:
            return code
        points = tuple(point + 128 for point in code.quantization.zero_point)
        return Code(DType.UINT8, replace(code.quantization, zero_point=points))

    def _code_constants(self, name: str, code: Code) -> tuple[str, str]:
        scale, point = self._fresh(f"{name}_scale"), self._fresh(f"{name}_zero_point")
        per_channel = code.quantization.axis is not None
        shape = (len(code.quantization.scale),) if per_channel else ()
        self.constants[scale] = np.asarray(code.quantization.scale, np.float32).reshape(shape)
        self.constants[point] = np.asarray(
            code.quantization.zero_point, code.dtype.to_numpy()
        ).reshape(shape)
        return scale, point

    def _node(self, op_type: str, inputs: tuple[str, ...], output: str, code: Code) -> Node:
        axis = code.quantization.axis
        attributes: dict[str, Attribute] = {} if axis is None else {"axis": axis}
        name = self._fresh(f"{output}_{op_type}")
        return Node(op_type, inputs, (output,), attributes, name=name)

    def _fresh(self, name: str) -> str:
        """Return a name that nothing has."""
        candidate, count = name, 1
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate
