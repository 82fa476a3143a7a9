"""The state of one lowering: which TFLite tensor holds which ONNX tensor, and how.

An operator's lowering (``ops/``) asks for its inputs in the order of axes that its kernel
needs, emits TFLite operators, and binds the ONNX output's name to a tensor and the
permutation in which that tensor holds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekit.converters.emitters.tflite.layout import (
    Permutation,
    extend,
    identity,
    logical_shape,
    moves_data,
    reshape_orders,
    stored_shape,
    transposition,
)
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.converters.emitters.tflite.value import PooledMaxima, Value
from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Array, Graph, Node
from edgekit.tensor import DType

Options: TypeAlias = "Mapping[str, int | float | bool | tuple[int, ...]]"
Operand: TypeAlias = "Tensor | NDArray[Any] | None"


class Lowering:
    """Collects the TFLite operators of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.operators: list[Operator] = []
        # Tensors that already are a graph output, by identity.
        self.finished: set[int] = set()
        self.consumers = graph.consumers()
        # By name of a MaxPool's indices: where in its window each maximum was.
        self.pooled: dict[str, PooledMaxima] = {}
        # By identity of a constant tensor: the initializer that it holds, in some order.
        self.initializer_of: dict[int, str] = {}
        self._values: dict[str, Value] = {}
        self._orders: dict[tuple[str, Permutation], Tensor] = {}
        self._names: set[str] = set()
        self._node: Node | None = None

    # Reading -----------------------------------------------------------------------------

    def begin(self, node: Node) -> None:
        """Say which node the operators that follow come from."""
        self._node = node

    def constant(self, name: str) -> Array | None:
        """Return the constant of that name in ONNX order, or None where it is computed."""
        return self.graph.initializers.get(name)

    def need_constant(self, node: Node, index: int, what: str) -> Array:
        """Return input ``index``, which must be a constant, or refuse the node."""
        value = self.constant(node.input(index))
        if value is None:
            self.refuse(node, f"{what} (input {index}) is computed; only a constant can be lowered")
        return value

    def value(self, name: str) -> Value:
        """Return how the tensor is held; a constant is held in ONNX order."""
        held = self._values.get(name)
        if held is None:
            array = self.graph.initializers[name]
            tensor = self.constant_tensor(array, name=name)
            negative = array.dtype.kind not in "fi" or bool(array.size and np.min(array) < 0)
            held = Value(tensor, identity(array.ndim), not negative)
            self._values[name] = held
        return held

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the logical shape."""
        array = self.constant(name)
        return tuple(array.shape) if array is not None else self.value(name).shape

    def rank(self, name: str) -> int:
        """Return the number of axes."""
        return len(self.shape(name))

    def dtype(self, name: str) -> DType:
        """Return the element type."""
        array = self.constant(name)
        return DType.from_numpy(array.dtype) if array is not None else self.value(name).dtype

    def read(self, name: str, permutation: Sequence[int] | None = None) -> Tensor:
        """Return the tensor stored in that order of axes (None: ONNX order).

        A constant is rearranged now; a computed one by a TRANSPOSE, once, or by a RESHAPE
        where only axes of size 1 move.
        """
        wanted = tuple(permutation) if permutation is not None else identity(self.rank(name))
        array = self.constant(name)
        if array is not None:
            key = (name, wanted)
            if key not in self._orders:
                label = name if wanted == identity(len(wanted)) else f"{name}/order"
                tensor = self.constant_tensor(array.transpose(wanted), name=label)
                self.initializer_of[id(tensor)] = name
                self._orders[key] = tensor
            return self._orders[key]
        value = self._values[name]
        if value.permutation == wanted:
            return value.tensor
        key = (name, wanted)
        if key not in self._orders:
            self._orders[key] = self.reorder(value, wanted, name=name)
        return self._orders[key]

    def reorder(self, value: Value, wanted: Sequence[int], *, name: str) -> Tensor:
        """Emit what brings a value into another order of axes."""
        shape = stored_shape(value.shape, wanted)
        if not moves_data(value.permutation, wanted, value.shape):
            return self.reshaped(value.tensor, shape, name=f"{name}/reshape")
        axes = np.array(transposition(value.permutation, wanted), np.int32)
        return self.emit("TRANSPOSE", [value.tensor, axes], shape, name=f"{name}/transpose")

    def held_tensors(self) -> dict[str, Tensor]:
        """Return the tensor that holds each computed ONNX tensor."""
        return {name: value.tensor for name, value in self._values.items()}

    # Writing -----------------------------------------------------------------------------

    def constant_tensor(self, array: Array, *, name: str = "const") -> Tensor:
        """Return a constant tensor; its bytes are copied only when written."""
        return Tensor(
            name=self.unique_name(name),
            shape=tuple(array.shape),
            dtype=DType.from_numpy(array.dtype),
            data=array,
        )

    def emit(
        self,
        op: str,
        inputs: Sequence[Operand],
        shape: Sequence[int],
        options: Options | None = None,
        *,
        dtype: DType | None = None,
        name: str | None = None,
    ) -> Tensor:
        """Add an operator with one output of that stored shape and return the output.

        Args:
            op: TFLite builtin operator.
            inputs: Tensors, arrays (which become constants) or None for an omitted input.
            shape: Stored shape of the output.
            options: Fields of the operator's options table that are not the default.
            dtype: Of the output; by default that of the first input.
            name: Of the output; by default made from the node.
        """
        return self.emit_many(op, inputs, [shape], options, dtype=dtype, name=name)[0]

    def emit_many(
        self,
        op: str,
        inputs: Sequence[Operand],
        shapes: Sequence[Sequence[int]],
        options: Options | None = None,
        *,
        dtype: DType | None = None,
        name: str | None = None,
    ) -> list[Tensor]:
        """Add an operator with several outputs and return them."""
        tensors = [self.operand(value) for value in inputs]
        first = next(tensor for tensor in tensors if tensor is not None)
        label = name or f"{self._node.outputs[0] if self._node else 'tensor'}/{op.lower()}"
        outputs = [
            Tensor(self.unique_name(label), tuple(map(int, shape)), dtype or first.dtype)
            for shape in shapes
        ]
        source = self._node.name if self._node else ""
        self.operators.append(Operator(op, tensors, outputs, dict(options or {}), source))
        return outputs

    def operand(self, value: Operand) -> Tensor | None:
        """Return an operand as a tensor."""
        return self.constant_tensor(value) if isinstance(value, np.ndarray) else value

    def reshaped(self, tensor: Tensor, shape: Sequence[int], *, name: str | None = None) -> Tensor:
        """Return the tensor under another stored shape; nothing is emitted for the same one."""
        wanted = tuple(map(int, shape))
        if tensor.shape == wanted:
            return tensor
        if tensor.data is not None:
            return self.constant_tensor(tensor.data.reshape(wanted), name=tensor.name)
        sizes = np.array(wanted, np.int32)
        return self.emit("RESHAPE", [tensor, sizes], wanted, {"new_shape": wanted}, name=name)

    def bind(
        self,
        name: str,
        tensor: Tensor,
        permutation: Sequence[int] | None = None,
        *,
        is_non_negative: bool = False,
    ) -> None:
        """Say that ``tensor`` holds the ONNX tensor ``name`` in that order of axes."""
        if not name:
            return
        order = tuple(permutation) if permutation is not None else identity(len(tensor.shape))
        if name in self.graph.values and self._node is not None:
            self._check_shape(name, logical_shape(tensor.shape, order))
        self._values[name] = Value(tensor, order, is_non_negative)
        if tensor.data is None and tensor.name.startswith(f"{name}/"):
            self._names.discard(tensor.name)
            tensor.name = self.unique_name(name)

    def bind_reshaped(self, name: str, source: str, shape: Sequence[int]) -> None:
        """Bind ``name`` to ``source`` reshaped logically, with as little data moved as can be."""
        target = tuple(map(int, shape))
        value = self.value(source)
        needed, order = reshape_orders(value.shape, value.permutation, target)
        tensor = value.tensor if needed == value.permutation else self.read(source, needed)
        stored = self.reshaped(tensor, stored_shape(target, order), name=f"{name}/reshape")
        self.bind(name, stored, order, is_non_negative=value.is_non_negative)

    def broadcast_operand(self, name: str, permutation: Sequence[int]) -> Tensor:
        """Return an operand of lower or equal rank so that it broadcasts in that order."""
        rank = len(permutation)
        array = self.constant(name)
        if array is not None:
            padded = array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(permutation)
            while padded.ndim > 1 and padded.shape[0] == 1 and padded.size in (1, padded.shape[-1]):
                padded = padded[0]
            return self.constant_tensor(padded, name=name)
        value = self._values[name]
        if value.rank == rank:
            return self.read(name, permutation)
        added = rank - value.rank
        own = tuple(axis - added for axis in permutation if axis >= added)
        tensor = self.read(name, own)
        shape = (1,) * added + value.shape
        return self.reshaped(tensor, stored_shape(shape, permutation))

    def preferred_order(self, names: Sequence[str], rank: int) -> Permutation:
        """Return the order of the largest computed operand; on a tie, a rearranged one."""
        best: tuple[int, bool] = (-1, False)
        order = identity(rank)
        for name in names:
            if self.constant(name) is not None:
                continue
            value = self._values[name]
            rank_of = (int(np.prod(value.shape)), value.permutation != identity(value.rank))
            if rank_of > best:
                best, order = rank_of, extend(value.permutation, rank)
        return order

    def unique_name(self, name: str) -> str:
        """Return the name, numbered where it is taken."""
        base, count = name or "tensor", 1
        while name in self._names or not name:
            name = f"{base}_{count}"
            count += 1
        self._names.add(name)
        return name

    def refuse(self, node: Node, reason: str) -> NoReturn:
        """Refuse the node.

        Raises:
            UnsupportedOperatorError: Always.
        """
        raise UnsupportedOperatorError(
            node=node.name, op_type=node.op_type, reason=reason, target="tflite"
        )

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        spec = self.graph.values[name]
        if spec.is_static and spec.static_shape != shape and self._node is not None:
            self.refuse(
                self._node,
                f"output {name!r} would have shape {shape}, ONNX infers {spec.static_shape}; "
                "please report this model",
            )
