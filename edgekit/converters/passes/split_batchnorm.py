"""Write a BatchNormalization that no layer took up as Mul and Add by constant vectors.

Integer kernels have those two and no batch norm. DenseNet and ESPNet keep theirs: behind a
Concat, or behind a result that others read too. Float engines compute it in one step, so it
is for models that become integers only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.converters.passes.fold_batchnorm import Affine, batchnorm_affine
from edgekit.graph import Array, Graph, Node
from edgekit.tensor import TensorSpec


def split_batchnorm(graph: Graph) -> Graph:
    """Return the graph with each constant BatchNormalization as ``x * scale + shift``."""
    splitter = _Splitter(graph)
    nodes = [part for node in graph.nodes for part in splitter.parts(node)]
    if not splitter.count:
        return graph
    split = graph.with_nodes(nodes, initializers=splitter.constants)
    return replace(split, values={**graph.values, **splitter.values})


class _Splitter:
    """Holds the new constants, and names that are free.

    Args:
        graph: The model.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._taken = {*graph.values, *graph.producers(), *graph.consumers(), *graph.initializers}
        self._taken.update(node.name for node in graph.nodes)
        self.constants: dict[str, Array] = dict(graph.initializers)
        self.values: dict[str, TensorSpec] = {}

    @property
    def count(self) -> int:
        """How many batch norms were split."""
        return len(self.values)

    def parts(self, node: Node) -> tuple[Node, ...]:
        """Return what to write instead of the node, or the node."""
        spec = self._graph.values.get(node.inputs[0]) if node.inputs else None
        if node.op_type != "BatchNormalization" or node.domain:
            return (node,)
        if spec is None or spec.shape is None or len(spec.shape) < 2:
            return (node,)
        affine = batchnorm_affine(node, self.constants)
        rounded = None if affine is None else self._rounded(node, affine, len(spec.shape))
        if rounded is None:
            return (node,)
        scale, shift = rounded
        source, output = node.inputs[0], node.outputs[0]
        scaled = self._free(f"{output}/scaled")
        self.values[scaled] = replace(spec, name=scaled)
        return (
            Node(
                "Mul",
                inputs=(source, self._store(scale, node, "scale")),
                outputs=(scaled,),
                name=self._free(f"{node.name}/scale"),
            ),
            replace(
                node,
                op_type="Add",
                inputs=(scaled, self._store(shift, node, "shift")),
                outputs=(output,),
                attributes={},
            ),
        )

    def _rounded(self, node: Node, affine: Affine, rank: int) -> tuple[Array, Array] | None:
        """Return scale and shift as the model's numbers, None where one is not finite."""
        dtype = self.constants[node.inputs[1]].dtype
        shape = (-1, *(1,) * (rank - 2))
        with np.errstate(over="ignore"):
            scale = affine.scale.reshape(shape).astype(dtype)
            shift = affine.shift.reshape(shape).astype(dtype)
        finite = np.all(np.isfinite(scale)) and np.all(np.isfinite(shift))
        return (scale, shift) if finite else None

    def _store(self, value: Array, node: Node, word: str) -> str:
        name = self._free(f"{node.outputs[0]}/{word}")
        self.constants[name] = value
        return name

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name
