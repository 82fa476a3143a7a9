"""Join a detector's boxes and scores last, or not at all.

Boxes in pixels and scores in 0..1 that are joined early share every code from there on. The
moves after the join (Reshape, Transpose, a join along another axis) are repeated on each
branch instead, so that only the last operator sees both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from edgekit.converters.passes.remove_dead import remove_dead
from edgekit.errors import UsageError
from edgekit.graph import Array, Attribute, Graph, Node
from edgekit.tensor import TensorSpec

_SCORES = ("Sigmoid", "HardSigmoid", "Softmax")
Sections = tuple[int, ...]


def separate_branches(graph: Graph, nodes: Collection[str], *, as_outputs: bool = False) -> Graph:
    """Return the graph with the branches of some joins kept apart to the very end.

    Args:
        graph: The float graph, shapes inferred.
        nodes: Names of the Concats, each of which reaches one output by moves alone.
            Neighbouring branches that are both scores stay together.
        as_outputs: Whether the branches become outputs of their own, named after the old one
            (``output_0``, ``output_1``), instead of being joined again under its name by a
            node named ``join_name(output)``.

    Returns:
        The graph; joined along that axis, its new outputs are exactly the old one. A join
        that reaches no output so, or whose sizes are not known, is left as it is.

    Raises:
        UsageError: A name is not a Concat of the graph.
    """
    by_name = {node.name: node for node in graph.nodes}
    for name in nodes:
        if name not in by_name or by_name[name].op_type != "Concat":
            raise UsageError(f"{name!r} is no Concat of {graph.name!r}; give a hazard's own nodes")
    ends: dict[str, tuple[int, Sections]] = {}
    for name in nodes:
        end = _follow(graph, by_name[name])
        if end is not None:
            ends[end[0]] = end[1:]
    for output, (axis, sections) in ends.items():
        graph = _separate(graph, output, axis, sections, as_outputs=as_outputs)
    return remove_dead(graph) if ends else graph


def join_name(output: str) -> str:
    """Return the name of the node that joins an output's branches: it is to stay in float."""
    return f"{output}/join"


def _follow(graph: Graph, join: Node) -> tuple[str, int, Sections] | None:
    """Return the output that a join reaches by moves, and axis and sizes of its branches."""
    start = graph.values.get(join.outputs[0])
    if start is None or start.shape is None:
        return None
    sizes = _branch_sizes(graph, join, _axis(join, len(start.shape)))
    if sizes is None or len(sizes) < 2:
        return None
    readers = graph.consumers()
    tensor, axis = join.outputs[0], _axis(join, len(start.shape))
    while tensor not in graph.output_names:
        following = readers.get(tensor, [])
        if len(following) != 1:
            return None
        moved = _forward(graph, following[0], tensor, axis)
        if moved is None:
            return None
        tensor, axis = following[0].outputs[0], moved
    producer = graph.producers()[tensor]
    already_last = producer.op_type == "Concat" and producer.name == join.name
    return None if already_last and len(sizes) == len(join.inputs) else (tensor, axis, sizes)


def _branch_sizes(graph: Graph, join: Node, axis: int) -> Sections | None:
    producers = graph.producers()
    sizes: list[int] = []
    was_score = False
    for name in join.inputs:
        size = _size(graph, name, axis)
        if size is None:
            return None
        maker = producers.get(name)
        is_score = maker is not None and maker.op_type in _SCORES
        if is_score and was_score:
            sizes[-1] += size
        else:
            sizes.append(size)
        was_score = is_score
    return tuple(sizes)


def _forward(graph: Graph, node: Node, tensor: str, axis: int) -> int | None:
    """Return which axis of the node's output is that axis of its input; None for no move."""
    if node.op_type == "Transpose":
        perm = _perm(graph, node)
        return None if perm is None else perm.index(axis)
    if node.op_type == "Reshape" and node.inputs[0] == tensor:
        return _same_axis(graph, tensor, axis, node.outputs[0])
    if node.op_type == "Concat":
        rank = len(graph.values[tensor].shape or ())
        return None if _axis(node, rank) == axis else axis
    if node.op_type == "Identity":
        return axis
    return None


def _separate(
    graph: Graph, output: str, axis: int, sections: Sections, *, as_outputs: bool
) -> Graph:
    cutter = _Cutter(graph, f"{output}/branch")
    ends = np.cumsum(sections)
    parts = [
        cutter.cut(output, axis, int(end) - size, int(end))
        for size, end in zip(sections, ends, strict=True)
    ]
    specs = {spec.name: spec for spec in graph.outputs}
    values = {**graph.values, **cutter.values}
    if as_outputs:
        names = [f"{output}_{index}" for index in range(len(parts))]
        last = [
            Node("Identity", (part,), (name,), name=f"{name}/output")
            for part, name in zip(parts, names, strict=True)
        ]
        shapes = [values[part] for part in parts]
        new = [replace(shape, name=name) for shape, name in zip(shapes, names, strict=True)]
    else:
        last = [Node("Concat", tuple(parts), (output,), {"axis": axis}, join_name(output))]
        new = [specs[output]]
    # Whoever else reads the output's tensor keeps reading it: the old maker goes if it is dead.
    kept = [node for node in graph.nodes if output not in node.outputs]
    outputs = tuple(
        spec for old in graph.outputs for spec in (new if old.name == output else [old])
    )
    values.update({spec.name: spec for spec in new})
    changed = replace(graph, outputs=outputs, values=values)
    return changed.with_nodes(
        [*kept, *cutter.nodes, *last], initializers={**graph.initializers, **cutter.constants}
    )


@dataclass
class _Cutter:
    """Makes a part of a tensor from the same parts of what it was moved or joined from."""

    graph: Graph
    prefix: str
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    values: dict[str, TensorSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._producers = self.graph.producers()
        self._made: dict[tuple[str, int, int, int], str] = {}

    def cut(self, tensor: str, axis: int, start: int, stop: int) -> str:
        """Return the name of ``tensor[..., start:stop, ...]`` along an axis."""
        key = (tensor, axis, start, stop)
        if key not in self._made:
            self._made[key] = self._cut(*key)
        return self._made[key]

    def _cut(self, tensor: str, axis: int, start: int, stop: int) -> str:
        node = self._producers.get(tensor)
        if (start, stop) == (0, _size(self.graph, tensor, axis)) and (
            tensor not in self.graph.output_names
        ):
            return tensor
        spec = self.graph.values[tensor]
        shape = tuple(
            stop - start if index == axis else dim for index, dim in enumerate(spec.shape or ())
        )
        spec = spec.with_shape(shape)
        if node is not None and node.op_type == "Concat":
            return self._cut_join(node, spec, axis, start, stop)
        if node is not None and node.op_type == "Transpose":
            perm = _perm(self.graph, node)
            if perm is not None:
                source = self.cut(node.inputs[0], perm[axis], start, stop)
                return self._add("Transpose", (source,), spec, {"perm": perm})
        if node is not None and node.op_type == "Identity":
            return self.cut(node.inputs[0], axis, start, stop)
        if node is not None and node.op_type == "Reshape" and spec.is_static:
            before = _same_axis(self.graph, tensor, axis, node.inputs[0])
            if before is not None:
                source = self.cut(node.inputs[0], before, start, stop)
                sizes = self._constant("shape", list(spec.static_shape))
                return self._add("Reshape", (source, sizes), spec, {})
        bounds = [self._constant(word, [at]) for word, at in
                  (("start", start), ("stop", stop), ("axis", axis))]  # fmt: skip
        return self._add("Slice", (tensor, *bounds), spec, {})

    def _cut_join(self, node: Node, spec: TensorSpec, axis: int, start: int, stop: int) -> str:
        joined_axis = _axis(node, len(spec.shape or ()))
        if joined_axis != axis:
            parts = [self.cut(name, axis, start, stop) for name in node.inputs]
        else:
            parts = list(self._overlapping(node, axis, start, stop))
        if len(parts) == 1:
            return parts[0]
        return self._add("Concat", tuple(parts), spec, {"axis": joined_axis})

    def _overlapping(self, node: Node, axis: int, start: int, stop: int) -> Iterator[str]:
        at = 0
        for name in node.inputs:
            size = _size(self.graph, name, axis) or 0
            low, high = max(start - at, 0), min(stop - at, size)
            if low < high:
                yield self.cut(name, axis, low, high)
            at += size

    def _constant(self, word: str, values: list[int]) -> str:
        name = f"{self.prefix}/{word}_{len(self.constants)}"
        self.constants[name] = np.array(values, np.int64)
        return name

    def _add(
        self,
        op_type: str,
        inputs: tuple[str, ...],
        spec: TensorSpec,
        attributes: dict[str, Attribute],
    ) -> str:
        name = f"{self.prefix}/{op_type}_{len(self.nodes)}"
        self.nodes.append(Node(op_type, inputs, (name,), attributes, name))
        self.values[name] = replace(spec, name=name)
        return name


def _axis(join: Node, rank: int) -> int:
    return join.attribute("axis", 0) % max(rank, 1)


def _size(graph: Graph, tensor: str, axis: int) -> int | None:
    if tensor in graph.initializers:
        return int(graph.initializers[tensor].shape[axis])
    spec = graph.values.get(tensor)
    if spec is None or spec.shape is None or axis >= len(spec.shape):
        return None
    dim = spec.shape[axis]
    return dim if isinstance(dim, int) else None


def _perm(graph: Graph, node: Node) -> tuple[int, ...] | None:
    given = node.attributes.get("perm")
    if isinstance(given, tuple):
        return tuple(int(axis) for axis in given)
    spec = graph.values.get(node.inputs[0])
    return None if spec is None or spec.shape is None else tuple(range(len(spec.shape)))[::-1]


def _same_axis(graph: Graph, source: str, axis: int, target: str) -> int | None:
    """Return the target's axis that a Reshape leaves as it is: same size, same product before."""
    one, other = graph.values.get(source), graph.values.get(target)
    if one is None or other is None or not one.is_static or not other.is_static:
        return None
    before = int(np.prod(one.static_shape[:axis], dtype=np.int64))
    for index, size in enumerate(other.static_shape):
        product = int(np.prod(other.static_shape[:index], dtype=np.int64))
        if product == before and size == one.static_shape[axis]:
            return index
    return None
