"""Write max-unpooling in operators that every engine has.

MaxUnpool puts each value where its pooling found it. OpenVINO has no such operator and
TensorRT no pooling with indices, so the place is found again: within each pooling window
the first largest element is marked, and the mark is multiplied by the value::

    pooled tensor X (N, C, H, W) -> windows (N, C, H/k, W/k, k*k) -> ArgMax -> mark 0 or 1
    value (N, C, H/k, W/k, 1) * mark -> (N, C, H, W)

The result is exact, ties included: pooling and ArgMax both take the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from edgekit.converters.onnx_model import infer_shapes
from edgekit.graph import Array, Attribute, Graph, Node
from edgekit.tensor import DType


def expand_unpool(graph: Graph) -> Graph:
    """Return the graph without MaxUnpool where it undoes a pooling without overlap.

    Others stay: with overlapping windows, padding, dynamic heights or widths, or another
    size than that before the pooling.
    """
    producers = graph.producers()
    nodes: list[Node] = []
    constants: dict[str, Array] = dict(graph.initializers)
    for node in graph.nodes:
        window = _window(node, producers.get(node.input(1)), graph)
        if window is None:
            nodes.append(node)
            continue
        chain = window.expand(node)
        nodes += chain.nodes
        constants |= chain.constants
    if len(nodes) == len(graph.nodes):
        return graph
    expanded = graph.with_nodes(nodes, initializers=constants)
    return infer_shapes(_without_unread_indices(expanded))


@dataclass
class _Chain:
    """Nodes that follow one another, named after what they replace.

    Args:
        prefix: Name of the replaced node.
    """

    prefix: str
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def add(self, op_type: str, *inputs: str | Array, output: str = "", **given: Attribute) -> str:
        """Append a node and return its output."""
        name = f"{self.prefix}/{len(self.nodes)}"
        values = {f"{name}/{i}": item for i, item in enumerate(inputs) if not isinstance(item, str)}
        self.constants |= values
        names = [item if isinstance(item, str) else f"{name}/{i}" for i, item in enumerate(inputs)]
        result = output or f"{name}/out"
        self.nodes.append(Node(op_type, tuple(names), (result,), given, name=name))
        return result


@dataclass(frozen=True)
class _Window:
    """A pooling whose windows do not overlap.

    Args:
        source: Tensor that was pooled, (N, C, height, width).
        size_hw: Its height and width.
        kernel_hw: Height and width of a window.
        dtype: Its element type.
    """

    source: str
    size_hw: tuple[int, int]
    kernel_hw: tuple[int, int]
    dtype: DType

    def expand(self, node: Node) -> _Chain:
        """Return the nodes that do what the MaxUnpool does."""
        chain = _Chain(node.name)
        (height, width), (rows, columns) = self.size_hw, self.kernel_hw
        down, across = height // rows, width // columns
        used = (down * rows, across * columns)
        source = self.source
        if used != self.size_hw:
            # Rows and columns that fill no window were not pooled.
            ends = np.array(used, np.int64)
            source = chain.add("Slice", source, np.zeros(2, np.int64), ends, _ints(2, 3))
        # (N, C, H, W) -> (N, C, H/k, k, W/k, k) -> (N, C, H/k, W/k, k, k) -> (..., k*k)
        tiles = chain.add("Reshape", source, _ints(0, 0, down, rows, across, columns))
        tiles = chain.add("Transpose", tiles, perm=(0, 1, 2, 4, 3, 5))
        tiles = chain.add("Reshape", tiles, _ints(0, 0, down, across, rows * columns))
        place = chain.add("ArgMax", tiles, axis=4, keepdims=1)
        is_place = chain.add("Equal", place, np.arange(rows * columns, dtype=np.int64))
        mark = chain.add("Cast", is_place, to=_ONNX_TYPES[self.dtype])
        value = chain.add("Unsqueeze", node.inputs[0], _ints(4))
        spread = chain.add("Mul", value, mark)
        # (N, C, H/k, W/k, k*k) -> (N, C, H/k, W/k, k, k) -> (N, C, H/k, k, W/k, k) -> (N, C, H, W)
        spread = chain.add("Reshape", spread, _ints(0, 0, down, across, rows, columns))
        spread = chain.add("Transpose", spread, perm=(0, 1, 2, 4, 3, 5))
        if used == self.size_hw:
            chain.add("Reshape", spread, _ints(0, 0, *used), output=node.outputs[0])
            return chain
        spread = chain.add("Reshape", spread, _ints(0, 0, *used))
        pads = _ints(0, 0, 0, 0, 0, 0, height - used[0], width - used[1])
        chain.add("Pad", spread, pads, output=node.outputs[0])
        return chain


_ONNX_TYPES = {DType.FLOAT32: 1, DType.FLOAT16: 10}
"""TensorProto.DataType numbers, onnx.proto3."""


def _window(node: Node, pool: Node | None, graph: Graph) -> _Window | None:
    """Return the pooling that the MaxUnpool undoes, None where it cannot be expanded."""
    if node.op_type != "MaxUnpool" or pool is None or pool.op_type != "MaxPool":
        return None
    if pool.outputs[1:] != (node.inputs[1],):
        return None
    before, after = graph.values.get(pool.inputs[0]), graph.values.get(node.outputs[0])
    kernel = pool.attribute("kernel_shape", ())
    plain: tuple[int, ...] = (0, 0, 0, 0)
    if before is None or before.shape is None or before.dtype not in _ONNX_TYPES:
        return None
    if (
        len(kernel) != 2
        or len(before.shape) != 4
        or pool.attribute("auto_pad", "NOTSET") != "NOTSET"
    ):
        return None
    if tuple(pool.attribute("strides", (1, 1))) != tuple(kernel):
        return None
    if any(pool.attribute("pads", plain)) or any(node.attribute("pads", plain)):
        return None
    if pool.attribute("ceil_mode", 0) or pool.attribute("storage_order", 0):
        return None
    if set(pool.attribute("dilations", (1, 1))) != {1}:
        return None
    height, width = before.shape[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        return None
    if not _restores_size(node, after.shape if after else None, (height, width), graph):
        return None
    return _Window(pool.inputs[0], (height, width), (kernel[0], kernel[1]), before.dtype)


def _restores_size(
    node: Node, inferred: tuple[int | str, ...] | None, size_hw: tuple[int, int], graph: Graph
) -> bool:
    if node.input(2):
        wanted = graph.initializers.get(node.input(2))
        return wanted is not None and tuple(wanted.reshape(-1)[2:]) == size_hw
    return inferred is not None and tuple(inferred[2:]) == size_hw


def _without_unread_indices(graph: Graph) -> Graph:
    readers = {*graph.consumers(), *graph.output_names}
    return graph.with_nodes(
        replace(node, outputs=node.outputs[:1])
        if node.op_type == "MaxPool" and len(node.outputs) > 1 and node.outputs[1] not in readers
        else node
        for node in graph.nodes
    )


def _ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)
