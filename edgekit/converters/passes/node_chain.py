"""Build a chain of nodes with their names, constants and inferred types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.graph import Array, Attribute, Node
from edgekit.tensor import Dim, DType, Layout, TensorSpec

# TensorProto.DataType, fixed by the ONNX specification (onnx.proto3).
_ONNX_TYPES = {DType.FLOAT32: 1, DType.UINT8: 2, DType.INT8: 3, DType.FLOAT16: 10}


@dataclass
class NodeChain:
    """Nodes, each reading what the one before it made.

    Args:
        last: What the next node reads; at first, the tensor to start from.
        prefix: Of the names of all nodes, tensors and constants.
        nodes: Those made so far.
        constants: Theirs, by name.
        values: Types of the tensors that they make.
    """

    last: TensorSpec
    prefix: str
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    values: dict[str, TensorSpec] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[Dim, ...]:
        """Sizes of the last tensor."""
        return self.last.shape or ()

    def constant(self, word: str, value: Array) -> str:
        """Keep a constant; return its name."""
        name = f"{self.prefix}/{word}"
        self.constants[name] = value
        return name

    def add(
        self,
        op_type: str,
        *inputs: str,
        shape: tuple[Dim, ...] | None = None,
        dtype: DType | None = None,
        layout: Layout | None = None,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> None:
        """Append an operator on the last tensor; what is not given stays the same."""
        name = f"{self.prefix}/{op_type}_{len(self.nodes)}"
        self.nodes.append(
            Node(op_type, (self.last.name, *inputs), (name,), dict(attributes or {}), name=name)
        )
        self.last = TensorSpec(
            name, dtype or self.last.dtype, shape or self.shape, layout or self.last.layout
        )
        self.values[name] = self.last

    def transpose(self, axes: tuple[int, ...], layout: Layout) -> None:
        """Append a Transpose: axis ``i`` of the result is axis ``axes[i]``."""
        shape = tuple(self.shape[axis] for axis in axes)
        self.add("Transpose", shape=shape, layout=layout, attributes={"perm": axes})

    def cast(self, dtype: DType) -> None:
        """Append a Cast."""
        self.add("Cast", dtype=dtype, attributes={"to": _ONNX_TYPES[dtype]})
