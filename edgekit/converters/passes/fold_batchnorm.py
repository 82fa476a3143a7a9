"""Put BatchNormalization, and constant scales and shifts, into the layer before.

A convolution followed by ``y = a * x + b`` per channel is a convolution with weights
``a * W`` and bias ``a * bias + b``. The same holds for Gemm, and for a BatchNormalization
that comes first. Scales are computed in double precision and rounded once.

Source: Jacob et al. 2018, section 3.2 (equation 14), without its moving averages.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekit.graph import Array, Graph, Node
from edgekit.tensor import TensorSpec

logger = logging.getLogger(__name__)

_PRODUCERS = ("Conv", "ConvTranspose", "Gemm", "BatchNormalization")
_SCALERS = ("Mul", "Div", "Add", "Sub")


@dataclass(frozen=True)
class Affine:
    """``y = scale * x + shift`` per channel; both float64 of shape (C,)."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    @property
    def is_finite(self) -> bool:
        """Whether all of it is a number."""
        return bool(np.all(np.isfinite(self.scale)) and np.all(np.isfinite(self.shift)))


def fold_batchnorm(graph: Graph) -> Graph:
    """Return the graph with constant per-channel scales and shifts folded."""
    folder = _Folder(graph)
    for node in graph.nodes:
        folder.add(node)
    if not folder.count:
        return graph
    logger.info("folded %d batch norms, scales and shifts", folder.count)
    return graph.with_nodes(folder.nodes.values(), initializers=folder.constants)


class _Folder:
    """Takes the nodes in order and merges each affine one into the node that feeds it.

    Args:
        graph: The model.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._readers = {name: len(nodes) for name, nodes in graph.consumers().items()}
        self._outputs = set(graph.output_names)
        self._makers: dict[str, str] = {}
        self.constants: dict[str, Array] = dict(graph.initializers)
        self.nodes: dict[str, Node] = {}
        self.count = 0

    def add(self, node: Node) -> None:
        """Keep the node, or merge it into its producer."""
        merged = self._merged(node)
        if merged is None:
            self.nodes[node.name] = node
        else:
            self.nodes[merged.name] = merged
            self.count += 1
        maker = node if merged is None else merged
        self._makers.update(dict.fromkeys(filter(None, maker.outputs), maker.name))

    def _merged(self, node: Node) -> Node | None:
        source = self._source(node)
        if source is None:
            return None
        producer = self.nodes[self._makers[source]]
        channels = self._channels(producer)
        if channels is None:
            return None
        affine = self._affine(node, source, channels)
        if affine is None or not affine.is_finite:
            return None
        return self._apply(producer, affine, node.outputs[0])

    def _source(self, node: Node) -> str | None:
        """Return the node's input that a foldable producer makes for it alone."""
        if node.domain or node.op_type not in ("BatchNormalization", *_SCALERS):
            return None
        for name in node.inputs[:2] if node.op_type in ("Mul", "Add") else node.inputs[:1]:
            maker = self.nodes.get(self._makers.get(name, ""))
            if (
                maker is not None
                and maker.op_type in _PRODUCERS
                and not maker.domain
                and self._readers.get(name) == 1
                and name not in self._outputs
            ):
                return name
        return None

    def _channels(self, producer: Node) -> int | None:
        """Return the producer's output channels, where its parameters are constants."""
        if producer.op_type == "BatchNormalization":
            if not _is_inference(producer):
                return None
        elif not self._is_rounded(producer):
            return None
        names = [name for name in producer.inputs[1:] if name]
        if not names or not all(name in self.constants for name in names):
            return None
        weight = self.constants[names[0]]
        if producer.op_type == "Conv":
            return int(weight.shape[0])
        if producer.op_type == "ConvTranspose":
            return int(weight.shape[1]) * producer.attribute("group", 1)
        if producer.op_type == "Gemm":
            return int(weight.shape[0 if producer.attribute("transB", 0) else 1])
        return int(weight.size)

    def _is_rounded(self, producer: Node) -> bool:
        weight = self.constants.get(producer.input(1))
        return weight is not None and weight.dtype.kind == "f" and weight.ndim >= 2

    def _affine(self, node: Node, source: str, channels: int) -> Affine | None:
        if node.op_type == "BatchNormalization":
            return self._batchnorm(node, channels)
        other = node.inputs[1] if node.inputs[0] == source else node.inputs[0]
        rank = _rank(self._graph.values.get(source))
        value = self.constants.get(other)
        if value is None or rank is None or value.dtype.kind != "f":
            return None
        vector = _per_channel(value, rank=rank, channels=channels)
        if vector is None:
            return None
        one, zero = np.ones(channels), np.zeros(channels)
        with np.errstate(divide="ignore", over="ignore"):
            return {
                "Mul": lambda: Affine(vector, zero),
                "Div": lambda: Affine(1.0 / vector, zero),
                "Add": lambda: Affine(one, vector),
                "Sub": lambda: Affine(one, -vector),
            }[node.op_type]()

    def _batchnorm(self, node: Node, channels: int) -> Affine | None:
        affine = batchnorm_affine(node, self.constants)
        return affine if affine is not None and affine.scale.size == channels else None

    def _apply(self, producer: Node, affine: Affine, output: str) -> Node | None:
        """Return the producer with the affine inside, None where rounding would overflow."""
        if producer.op_type == "BatchNormalization":
            own = self._batchnorm(producer, affine.scale.size)
            if own is None:
                return None
            return self._rewrite_batchnorm(producer, affine, output)
        weight = self.constants[producer.inputs[1]]
        factor = affine.scale * (
            producer.attribute("alpha", 1.0) if producer.op_type == "Gemm" else 1.0
        )
        scaled = _scaled(weight, _along_output(factor, producer, weight))
        bias = self._bias(producer, affine)
        if bias is None or not (np.all(np.isfinite(scaled)) and np.all(np.isfinite(bias))):
            return None
        attributes = {
            key: value for key, value in producer.attributes.items() if key not in ("alpha", "beta")
        }
        return replace(
            producer,
            inputs=(
                producer.inputs[0],
                self._store(producer.inputs[1], producer, scaled),
                self._store(producer.input(2), producer, bias),
            ),
            outputs=(output,),
            attributes=attributes,
        )

    def _bias(self, producer: Node, affine: Affine) -> Array | None:
        weight = self.constants[producer.inputs[1]]
        channels = affine.scale.size
        old = np.zeros(channels)
        if producer.input(2):
            value = self.constants[producer.input(2)].astype(np.float64)
            if value.size not in (1, channels) or (value.ndim > 1 and value.shape[-1] != channels):
                return None  # Gemm may add a whole matrix.
            old = np.broadcast_to(value.reshape(-1), (channels,)).copy()
            old *= producer.attribute("beta", 1.0) if producer.op_type == "Gemm" else 1.0
        with np.errstate(over="ignore"):
            bias: Array = (old * affine.scale + affine.shift).astype(weight.dtype)
        return bias

    def _rewrite_batchnorm(self, producer: Node, affine: Affine, output: str) -> Node | None:
        gamma, beta = (self.constants[name] for name in producer.inputs[1:3])
        with np.errstate(over="ignore"):
            new_gamma = (gamma.astype(np.float64) * affine.scale).astype(gamma.dtype)
            new_beta = (beta.astype(np.float64) * affine.scale + affine.shift).astype(beta.dtype)
        if not (np.all(np.isfinite(new_gamma)) and np.all(np.isfinite(new_beta))):
            return None
        inputs = (
            producer.inputs[0],
            self._store(producer.inputs[1], producer, new_gamma),
            self._store(producer.inputs[2], producer, new_beta),
            *producer.inputs[3:],
        )
        return replace(producer, inputs=inputs, outputs=(output,))

    def _store(self, old: str, producer: Node, value: Array) -> str:
        """Keep a constant under its old name, or under a new one where others read the old."""
        if old and self._readers.get(old, 1) == 1 and old not in self._outputs:
            self.constants[old] = value
            return old
        name = f"{producer.name}.{old or 'bias'}"
        while name in self.constants or name in self._readers or name in self._outputs:
            name += "_"
        self.constants[name] = value
        return name


def batchnorm_affine(node: Node, constants: Mapping[str, Array]) -> Affine | None:
    """Return what a BatchNormalization computes; None in training, or of computed figures.

    Args:
        node: The BatchNormalization.
        constants: By name.
    """
    if not _is_inference(node) or not all(name in constants for name in node.inputs[1:5]):
        return None
    gamma, beta, mean, variance = (
        constants[name].astype(np.float64).reshape(-1) for name in node.inputs[1:5]
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = gamma / np.sqrt(variance + node.attribute("epsilon", 1e-5))
        return Affine(scale, beta - mean * scale)


def _is_inference(node: Node) -> bool:
    return not node.attribute("training_mode", 0) and not any(node.outputs[1:])


def _rank(spec: TensorSpec | None) -> int | None:
    return None if spec is None or spec.shape is None else len(spec.shape)


def _per_channel(value: Array, *, rank: int, channels: int) -> NDArray[np.float64] | None:
    """Return a constant as one number per channel, None where it varies along other axes.

    Args:
        value: The constant, as it broadcasts against a tensor (N, C, ...).
        rank: Rank of that tensor.
        channels: C.
    """
    if value.ndim > rank:
        return None
    shape = (1,) * (rank - value.ndim) + value.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    if shape[1] not in (1, channels):
        return None
    vector: NDArray[np.float64] = np.empty(channels)
    vector[:] = value.reshape(-1)
    return vector


def _along_output(
    factor: NDArray[np.float64], producer: Node, weight: Array
) -> NDArray[np.float64]:
    """Return per-channel factors of shape (C,) shaped to multiply the weight."""
    if producer.op_type == "Gemm":
        return factor[:, None] if producer.attribute("transB", 0) else factor[None, :]
    if producer.op_type == "Conv":
        return factor.reshape(-1, *(1,) * (weight.ndim - 1))
    # ConvTranspose weights are (C_in, C_out / group, ...), the groups stacked along C_in.
    group = producer.attribute("group", 1)
    rows = np.repeat(factor.reshape(group, -1), weight.shape[0] // group, axis=0)
    return rows.reshape(*rows.shape, *(1,) * (weight.ndim - 2))


def _scaled(weight: Array, factor: NDArray[np.float64]) -> Array:
    """Return weight * factor, computed in double precision without a double-sized copy."""
    out = np.empty_like(weight)
    with np.errstate(over="ignore"):
        np.multiply(weight, factor, out=out, dtype=np.float64, casting="same_kind")
    return out
