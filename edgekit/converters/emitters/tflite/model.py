"""A TFLite model in memory: what a lowering builds and what the writer writes.

A subgraph does not list its tensors; they are found from its inputs, operators
and outputs. A tensor is itself by identity, never by its name or contents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from edgekit.quantization import Quantization
from edgekit.tensor import DType

Option = int | float | bool | tuple[int, ...]
"""Value of one operator option; an enum is its number (see schema.py)."""


@dataclass(eq=False)
class Tensor:
    """One tensor of a subgraph.

    Args:
        name: Its name; for people and for debuggers, need not be unique.
        shape: Sizes as stored (channels last where the lowering chose so), all >= 0.
        dtype: Element type.
        data: Constant of this shape and dtype; None for a computed tensor.
        quantization: How integers map to real values; the axis is one of ``shape``.
        is_variable: Whether it keeps its value between runs (state of a fused LSTM).
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    data: NDArray[Any] | None = None
    quantization: Quantization | None = None
    is_variable: bool = False


@dataclass(eq=False)
class Operator:
    """One builtin operator.

    Args:
        op: Builtin name, ``"CONV_2D"``.
        inputs: Tensors in the operator's own order; None for an absent optional one.
        outputs: Tensors that it computes.
        options: Schema field name to value; an absent field has the schema's default.
        source: Name of the ONNX node that it comes from.
    """

    op: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: dict[str, Option] = field(default_factory=dict)
    source: str = ""


@dataclass(eq=False)
class Subgraph:
    """A graph of operators in execution order; number 0 is the main one."""

    name: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    operators: list[Operator]

    def tensors(self) -> list[Tensor]:
        """Return every tensor once: inputs, then as the operators name them, then outputs."""
        return list({id(tensor): tensor for tensor in self._mentions()}.values())

    def _mentions(self) -> Iterator[Tensor]:
        yield from self.inputs
        for operator in self.operators:
            yield from (tensor for tensor in operator.inputs if tensor is not None)
            yield from operator.outputs
        yield from self.outputs


@dataclass(eq=False)
class Signature:
    """Public names of the main subgraph's inputs and outputs (``serving_default``)."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


@dataclass(eq=False)
class Model:
    """A whole file.

    Args:
        subgraphs: The main one first; WHILE and IF name the others by their index.
        signature: Public names.
        description: One line for people.
        metadata: Extra buffers by name, written as they are.
    """

    subgraphs: list[Subgraph]
    signature: Signature
    description: str = ""
    metadata: dict[str, bytes] = field(default_factory=dict)
