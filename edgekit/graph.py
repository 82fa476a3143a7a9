"""The one in-memory model: ONNX semantics, plain Python and numpy.

Frontends make a ``Graph``, passes return another, emitters read it. It is never
changed in place: a pass builds new nodes and calls ``graph.with_nodes(...)``.
Reading and writing ONNX files is ``converters/onnx_model.py``'s work, so nothing
that only looks at a graph loads the onnx package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from numpy.typing import NDArray

from edgekit.tensor import TensorSpec

Array: TypeAlias = NDArray[Any]
Attribute: TypeAlias = (
    "int | float | str | bytes | Array | Graph "
    "| tuple[int, ...] | tuple[float, ...] | tuple[str, ...]"
)
AttributeType = TypeVar("AttributeType")


@dataclass(frozen=True)
class Node:
    """One operator.

    Args:
        op_type: ONNX operator name, such as ``"Conv"``.
        inputs: Tensor names in the operator's order; ``""`` for an omitted one.
        outputs: Likewise.
        attributes: As written in the model; defaults are not filled in.
        name: The node's own name; never empty (frontends give one where there is none).
        domain: ``""`` for standard ONNX.
    """

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    name: str = ""
    domain: str = ""

    def attribute(self, name: str, default: AttributeType) -> AttributeType:
        """Return an attribute, or the default where it is absent.

        Raises:
            TypeError: The attribute has another type than the default.
        """
        if name not in self.attributes:
            return default
        value = self.attributes[name]
        if isinstance(default, float) and isinstance(value, int):
            return float(value)  # type: ignore[return-value]
        if default is not None and not isinstance(value, type(default)):
            raise TypeError(
                f"node {self.name!r} ({self.op_type}): attribute {name!r} is a "
                f"{type(value).__name__}, expected a {type(default).__name__}"
            )
        return value  # type: ignore[return-value]

    def input(self, index: int) -> str:
        """Return the input's tensor name, ``""`` where it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass(frozen=True)
class Graph:
    """A model, nodes in topological order.

    Args:
        name: The model's name.
        nodes: Operators, each after the producers of its inputs.
        inputs: What the caller feeds (initializers are not among them).
        outputs: What the caller gets.
        initializers: Constants by tensor name.
        values: Inferred types of intermediate tensors by name (inputs and outputs too).
        opset: Version of the standard ONNX operator set.
        extra_opsets: Versions of other domains in use.
        metadata: Free text, ONNX ``metadata_props``.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    initializers: Mapping[str, Array]
    values: Mapping[str, TensorSpec]
    opset: int
    extra_opsets: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for mapping in ("initializers", "values", "extra_opsets", "metadata"):
            object.__setattr__(self, mapping, MappingProxyType(dict(getattr(self, mapping))))

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return tuple(spec.name for spec in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(spec.name for spec in self.outputs)

    def producers(self) -> dict[str, Node]:
        """Return the node that makes each tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def consumers(self) -> dict[str, list[Node]]:
        """Return the nodes that read each tensor, in order; a node that reads it twice, twice.

        Tensors that a nested graph reads count as read by the node that holds it.
        """
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in (*node.inputs, *captured_names(node)):
                if name:
                    readers.setdefault(name, []).append(node)
        return readers

    def with_nodes(
        self, nodes: Iterable[Node], *, initializers: Mapping[str, Array] | None = None
    ) -> Graph:
        """Return the graph with other nodes (and constants); unused constants are dropped."""
        kept = tuple(nodes)
        constants = self.initializers if initializers is None else initializers
        used = {name for node in kept for name in (*node.inputs, *captured_names(node))}
        used.update(self.output_names)
        return replace(
            self,
            nodes=kept,
            initializers={name: value for name, value in constants.items() if name in used},
        )


def captured_names(node: Node) -> Sequence[str]:
    """Return tensors of the outer graph that the node's nested graphs read."""
    names: list[str] = []
    for value in node.attributes.values():
        if isinstance(value, Graph):
            own = {*value.input_names, *value.initializers}
            for inner in value.nodes:
                names += [n for n in (*inner.inputs, *captured_names(inner)) if n and n not in own]
                own.update(inner.outputs)
            names += [n for n in value.output_names if n not in own]
    return names
