"""Put what a quantizing tool left beside the weights into them, integers unchanged.

A scale that goes into a channel of weights goes into that channel's scale too, so that the
integers stay what the tool wrote.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekit.converters.passes.fold_batchnorm import fold_batchnorm
from edgekit.converters.passes.rewire import renamed
from edgekit.converters.quantize.operators import weight_axis, weight_of
from edgekit.converters.quantize.read_codes import per_tensor, refusal
from edgekit.graph import Array, Node
from edgekit.quantization import Quantization
from edgekit.quantized import Code, QuantizedGraph

_MIN_SCALE = 1e-30
_LAYERS = ("Conv", "ConvTranspose", "Gemm")
# a * f(x) = f(a * x) for a > 0, channel by channel.
_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "Identity"})


def fold_norms(read: QuantizedGraph) -> QuantizedGraph:
    """Return the model with batch norms in the weights; NNCF quantizes without folding them."""
    folded = fold_batchnorm(read.graph)
    if folded is read.graph:
        return read
    before = {node.name: node for node in read.graph.nodes}
    codes = dict(read.codes)
    for node in folded.nodes:
        old = before.get(node.name)
        if old is None or node.op_type not in _LAYERS:
            continue
        name, source = weight_of(node, folded), weight_of(old, read.graph)
        if not name or source not in read.codes:
            continue
        weight, value = folded.initializers[name], read.graph.initializers[source]
        if name == source and np.array_equal(weight, value):
            continue
        axis = weight_axis(node, weight)
        if axis is not None:
            codes[name] = _scaled(read.codes[source], _ratios(value, weight, axis), axis)
    return replace(read, graph=folded, codes=codes)


def _ratios(before: Array, after: Array, axis: int) -> NDArray[np.float64]:
    """Return what each channel was multiplied by."""
    rows = np.moveaxis(before.astype(np.float64), axis, 0).reshape(before.shape[axis], -1)
    made = np.moveaxis(after.astype(np.float64), axis, 0).reshape(rows.shape)
    power = (rows * rows).sum(axis=1)
    return np.where(power > 0, (rows * made).sum(axis=1) / np.where(power > 0, power, 1.0), 1.0)


def _scaled(code: Code, ratios: NDArray[np.float64], axis: int) -> Code:
    scale = np.resize(np.asarray(code.quantization.scale), ratios.size) * np.abs(ratios)
    scale = np.maximum(scale.astype(np.float32), np.float32(_MIN_SCALE))
    quantization = Quantization(tuple(map(float, scale)), (0,) * scale.size, axis)
    return Code(code.dtype, quantization)


def fold_channels(read: QuantizedGraph) -> QuantizedGraph:
    """Return the model with one scale per activation.

    NNCF gives the input of a depthwise convolution a scale per channel. The layer before takes
    it up, or where another operator stands between, a Mul; the depthwise layer gives it back.

    Raises:
        UnsupportedOperatorError: Something else than depthwise layers reads the tensor.
    """
    constants = read.graph.initializers
    wide = [
        name
        for name, code in read.codes.items()
        if name not in constants and code.quantization.is_per_channel
    ]
    for name in wide:
        read = _Channels(read, name, read.codes[name]).folded()
    return read


class _Channels:
    """One activation with a scale per channel, and the layers that can take it up.

    The walk gave it a name of its own, behind an Identity: others may read it by another code.
    """

    def __init__(self, read: QuantizedGraph, name: str, code: Code) -> None:
        self._read = read
        self._name = name
        self._code = code
        self._makers = read.graph.producers()
        self._readers = read.graph.consumers()

    def folded(self) -> QuantizedGraph:
        quantization = self._code.quantization
        ratios = np.asarray(quantization.scale) / max(quantization.scale)
        if quantization.axis != 1:
            raise self._refused(f"they run along axis {quantization.axis}")
        readers = self._depthwise_after(self._name)
        layer = self._layer_before()
        constants, codes = dict(self._read.graph.initializers), dict(self._read.codes)
        changed = {
            node.name: _with_ratios(node, ratios, constants, codes, with_bias=False)
            for node in readers
        }
        codes[self._name] = _normalised(self._code)
        entry = self._makers[self._name]
        scaled = frozenset[str]()
        if layer is not None:
            changed[layer.name] = _with_ratios(layer, 1 / ratios, constants, codes, with_bias=True)
        else:
            factor = f"{self._name}/factor"
            shape = (-1,) + (1,) * (len(self._shape()) - 2)
            constants[factor] = (1 / ratios).astype(np.float32).reshape(shape)
            changed[entry.name] = replace(
                entry, op_type="Mul", inputs=(entry.inputs[0], factor), attributes={}
            )
            codes.setdefault(entry.inputs[0], _covering(self._code))
            scaled = frozenset({entry.name})
        nodes = [changed.get(node.name, node) for node in self._read.graph.nodes]
        graph = self._read.graph.with_nodes(nodes, initializers=constants)
        kept = self._read.float_nodes | scaled
        read = replace(self._read, graph=graph, codes=codes, float_nodes=kept)
        return read if layer is None else self._without(entry, read)

    def _without(self, entry: Node, read: QuantizedGraph) -> QuantizedGraph:
        """Return the model without the Identity; what it reads has the code now."""
        codes = dict(read.codes)
        codes[entry.inputs[0]] = codes.pop(self._name)
        nodes = [node for node in read.graph.nodes if node.name != entry.name]
        graph = read.graph.with_nodes(renamed(nodes, {self._name: entry.inputs[0]}))
        return replace(read, graph=graph, codes=codes)

    def _shape(self) -> tuple[object, ...]:
        spec = self._read.graph.values.get(self._name)
        return (0,) * 4 if spec is None or spec.shape is None else spec.shape

    def _layer_before(self) -> Node | None:
        """Return the convolution that makes the channels for these readers alone, if one does."""
        if len(set(self._code.quantization.zero_point)) != 1:
            return None
        name = self._name
        while True:
            maker = self._makers.get(name)
            alone = len(self._readers.get(name, ())) == 1 or name == self._name
            if maker is None or not alone or name in self._read.graph.output_names:
                return None
            if name != self._name and name in self._read.codes:
                return None
            if maker.op_type == "Conv" and self._is_constant(maker):
                return maker
            if maker.op_type not in _HOMOGENEOUS:
                return None
            name = maker.inputs[0]

    def _depthwise_after(self, name: str) -> list[Node]:
        """Return the depthwise convolutions that read the channels."""
        found: list[Node] = []
        for reader in self._readers.get(name, ()):
            if self._is_depthwise(reader, name):
                found.append(reader)
            elif reader.op_type in _HOMOGENEOUS and not self._is_taken(reader):
                found += self._depthwise_after(reader.outputs[0])
            else:
                raise self._refused(f"{reader.name!r} ({reader.op_type}) reads it")
        return found

    def _is_constant(self, node: Node) -> bool:
        return all(name in self._read.graph.initializers for name in node.inputs[1:] if name)

    def _is_taken(self, node: Node) -> bool:
        """Whether a node's result is the caller's, or has a code of its own."""
        return node.outputs[0] in {*self._read.graph.output_names, *self._read.codes}

    def _is_depthwise(self, node: Node, name: str) -> bool:
        weight = self._read.graph.initializers.get(node.input(1))
        return (
            node.op_type == "Conv"
            and weight is not None
            and node.inputs[0] == name
            and node.attribute("group", 1) == len(self._code.quantization.scale)
        )

    def _refused(self, reason: str) -> Exception:
        node = self._makers.get(self._name) or self._read.graph.nodes[0]
        return refusal(node, f"its result {self._name!r} has one scale per channel, and {reason}")


def _normalised(code: Code) -> Code:
    """Return the one code of channels that were brought to the largest scale."""
    scale, points = max(code.quantization.scale), code.quantization.zero_point
    if len(set(points)) == 1:
        return per_tensor(code, scale, points[0])
    return _from_ends(code, (-128 - max(points)) * scale, (127 - min(points)) * scale)


def _covering(code: Code) -> Code:
    """Return the one code that reaches as far as every channel's."""
    pairs = zip(code.quantization.scale, code.quantization.zero_point, strict=True)
    ends = [((-128 - point) * scale, (127 - point) * scale) for scale, point in pairs]
    return _from_ends(code, min(low for low, _ in ends), max(high for _, high in ends))


def _from_ends(code: Code, low: float, high: float) -> Code:
    if code.quantization.is_symmetric:
        return per_tensor(code, high / 127, 0)
    scale = float(np.float32((high - low) / 255))
    return per_tensor(code, scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def _with_ratios(
    node: Node,
    ratios: NDArray[np.float64],
    constants: dict[str, Array],
    codes: dict[str, Code],
    *,
    with_bias: bool,
) -> Node:
    """Return a convolution with its channels multiplied, in constants of its own."""
    inputs = list(node.inputs)
    name = inputs[1]
    weight = constants[name]
    # A depthwise layer may make several channels of one.
    ratios = np.repeat(ratios, weight.shape[0] // ratios.size)
    inputs[1] = f"{node.name}/{name}/scaled"
    shape = (-1,) + (1,) * (weight.ndim - 1)
    constants[inputs[1]] = (weight * ratios.reshape(shape)).astype(np.float32)
    if name in codes:
        codes[inputs[1]] = _scaled(codes[name], ratios, 0)
    if with_bias and node.input(2):
        inputs[2] = f"{node.name}/{node.input(2)}/scaled"
        constants[inputs[2]] = (constants[node.input(2)] * ratios).astype(np.float32)
    return replace(node, inputs=tuple(inputs))
