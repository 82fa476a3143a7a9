"""LSTM, GRU and RNN, unrolled over time.

TFLite's fused LSTM keeps its state between two runs and cannot be loaded by LiteRT's
CompiledModel; there is no fused GRU at all. Unrolled, the input's product with the weights
is one FULLY_CONNECTED for all steps, a step is a dozen small delegated operators, and a run
never depends on the run before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.converters.emitters.tflite.lowering import Lowering, Operand
from edgekit.converters.emitters.tflite.model import Tensor
from edgekit.converters.emitters.tflite.ops.activation import same_shape
from edgekit.converters.emitters.tflite.ops.elementwise import FLOATS, need_dtype
from edgekit.converters.emitters.tflite.ops.matmul import fully_connected
from edgekit.converters.emitters.tflite.ops.shape import concatenate, slice_tensor
from edgekit.graph import Array, Node

# Beyond this the file and its start-up grow more than a phone should bear.
MAX_STEPS = 1024
DEFAULT_ACTIVATIONS = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class Cell:
    """One direction's weights, gates along the first axis in ONNX's order.

    Args:
        weight: Of the input, (gates * H, I).
        recurrence: Of the hidden state, (gates * H, H).
        bias_in: (gates * H,).
        bias_hidden: (gates * H,).
        hidden: H.
    """

    weight: Array
    recurrence: Array
    bias_in: Array
    bias_hidden: Array
    hidden: int


Step = Callable[[Lowering, Cell, Tensor, "tuple[Tensor, ...] | None"], "tuple[Tensor, ...]"]


def _recurrent(low: Lowering, node: Node) -> None:
    need_dtype(low, node, FLOATS)
    batch_first = bool(node.attribute("layout", 0))
    data = low.read(node.inputs[0], (1, 0, 2) if batch_first else (0, 1, 2))
    steps, batch, _ = data.shape
    _check(low, node, steps, batch)
    direction = node.attribute("direction", "forward")
    runs = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}.get(direction)
    if runs is None:
        low.refuse(node, f"direction {direction!r} is not forward, reverse or bidirectional")
    sequences, finals = [], []
    for index, backward in enumerate(runs):
        cell = _read_cell(low, node, index)
        state = _initial_state(low, node, index, batch, cell.hidden, batch_first=batch_first)
        step = _step_of(node)
        outputs, last = _unroll(low, step, cell, data, state, backward=backward)
        sequences.append(outputs)
        finals.append(last)
    if _is_used(low, node, 0):
        _bind_sequence(low, node, sequences, batch_first=batch_first)
    for place, part in ((1, 0), (2, 1)):
        if _is_used(low, node, place):
            parts = [state[part] for state in finals]
            whole = concatenate(low, parts, 0) if len(parts) > 1 else parts[0]
            # (D, B, H), or (B, D, H) with layout 1
            low.bind(node.outputs[place], whole, (1, 0, 2) if batch_first else (0, 1, 2))


def _is_used(low: Lowering, node: Node, index: int) -> bool:
    name = node.outputs[index] if index < len(node.outputs) else ""
    return bool(name) and (name in low.consumers or name in low.graph.output_names)


def _check(low: Lowering, node: Node, steps: int, batch: int) -> None:
    if steps > MAX_STEPS:
        low.refuse(node, f"{steps} time steps; at most {MAX_STEPS} are unrolled")
    if node.input(4):
        lengths = low.constant(node.input(4))
        if lengths is None or not np.array_equal(lengths, np.full(batch, steps)):
            low.refuse(node, f"sequence_lens is not a constant {steps} for every sample")
    wanted = DEFAULT_ACTIVATIONS[node.op_type]
    names = node.attribute("activations", wanted)
    allowed = {wanted} if node.op_type != "RNN" else {("Tanh",), ("Relu",)}
    period = len(wanted)
    if any(names[i : i + period] not in allowed for i in range(0, len(names), period)):
        low.refuse(node, f"activations {names}; {wanted} can be lowered")
    if node.attribute("clip", 0.0) or node.attribute("input_forget", 0):
        low.refuse(node, "clip and input_forget are not lowered")
    if node.input(7):
        low.refuse(node, "peephole weights (input 7) are not lowered")


def _read_cell(low: Lowering, node: Node, index: int) -> Cell:
    weight = low.need_constant(node, 1, "W")[index]
    recurrence = low.need_constant(node, 2, "R")[index]
    rows = weight.shape[0]
    bias = np.zeros(2 * rows, np.float32)
    if node.input(3):
        bias = low.need_constant(node, 3, "B")[index]
    return Cell(weight, recurrence, bias[:rows], bias[rows:], recurrence.shape[-1])


def _initial_state(
    low: Lowering, node: Node, index: int, batch: int, hidden: int, *, batch_first: bool
) -> tuple[Tensor, ...] | None:
    """Return the given states, each (1, B, H); None where they are zero."""
    places = (5, 6) if node.op_type == "LSTM" else (5,)
    arrays = [low.constant(node.input(place)) for place in places if node.input(place)]
    if all(array is not None and not array.any() for array in arrays):
        return None
    states = []
    for place in places:
        if not node.input(place):
            states.append(low.constant_tensor(np.zeros((1, batch, hidden), np.float32)))
            continue
        tensor = low.read(node.input(place), (1, 0, 2) if batch_first else (0, 1, 2))
        states.append(slice_tensor(low, tensor, (index, 0, 0), (1, batch, hidden)))
    return tuple(states)


def _unroll(
    low: Lowering,
    step: Step,
    cell: Cell,
    data: Tensor,
    state: tuple[Tensor, ...] | None,
    *,
    backward: bool,
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Return the hidden state after each step, in time's order, and the last state."""
    steps, batch, _ = data.shape
    width = cell.weight.shape[0]
    bias = low.constant_tensor(_input_bias(cell))
    gates = fully_connected(low, data, low.constant_tensor(cell.weight), bias)
    outputs: list[Tensor] = []
    for time in reversed(range(steps)) if backward else range(steps):
        here = slice_tensor(low, gates, (time, 0, 0), (1, batch, width))
        state = step(low, cell, here, state)
        outputs.append(state[0])
    assert state is not None
    return outputs[::-1] if backward else outputs, state


def _input_bias(cell: Cell) -> Array:
    """Return the bias that can be added before the loop: all but GRU's inner hidden one."""
    if cell.weight.shape[0] == 3 * cell.hidden:
        both: Array = cell.bias_in.copy()
        both[: 2 * cell.hidden] += cell.bias_hidden[: 2 * cell.hidden]
        return both
    return np.add(cell.bias_in, cell.bias_hidden)


def _cut(low: Lowering, tensor: Tensor, begin: int, width: int) -> Tensor:
    return slice_tensor(low, tensor, (0, 0, begin), (*tensor.shape[:2], width))


def _split(low: Lowering, tensor: Tensor, count: int) -> list[Tensor]:
    shape = (*tensor.shape[:2], tensor.shape[2] // count)
    operands: list[Operand] = [np.array(2, np.int32), tensor]
    options = {"num_splits": count}
    return low.emit_many("SPLIT", operands, [shape] * count, options, dtype=tensor.dtype)


def _product(low: Lowering, state: Tensor, weight: Array, bias: Array | None = None) -> Tensor:
    addend = low.constant_tensor(bias) if bias is not None and bias.any() else None
    return fully_connected(low, state, low.constant_tensor(weight), addend)


def _lstm_step(
    low: Lowering, cell: Cell, gates: Tensor, state: tuple[Tensor, ...] | None
) -> tuple[Tensor, ...]:
    """Gates in the order i, o, f, c. Source: ONNX operator LSTM-14, equations."""
    size = cell.hidden
    if state is not None:
        product = _product(low, state[0], cell.recurrence)
        gates = same_shape(low, "ADD", product, gates)
    opened = same_shape(low, "LOGISTIC", _cut(low, gates, 0, 3 * size))
    candidate = same_shape(low, "TANH", _cut(low, gates, 3 * size, size))
    enter, leave, keep = _split(low, opened, 3)
    memory = same_shape(low, "MUL", enter, candidate)
    if state is not None:
        memory = same_shape(low, "ADD", same_shape(low, "MUL", keep, state[1]), memory)
    return same_shape(low, "MUL", leave, same_shape(low, "TANH", memory)), memory


def _gru_step(
    low: Lowering,
    cell: Cell,
    gates: Tensor,
    state: tuple[Tensor, ...] | None,
    *,
    before_reset: bool,
) -> tuple[Tensor, ...]:
    """Gates in the order z, r, h. Source: ONNX operator GRU-14, equations."""
    size = cell.hidden
    inner_bias = cell.bias_hidden[2 * size :]
    if state is None:
        state = (low.constant_tensor(np.zeros((*gates.shape[:2], size), np.float32)),)
    hidden = state[0]
    opened, fresh = _cut(low, gates, 0, 2 * size), _cut(low, gates, 2 * size, size)
    if before_reset:
        bias = np.concatenate([np.zeros(2 * size, np.float32), inner_bias])
        product = _product(low, hidden, cell.recurrence, bias)
        opened = same_shape(low, "ADD", opened, _cut(low, product, 0, 2 * size))
        update, reset = _split(low, same_shape(low, "LOGISTIC", opened), 2)
        inner = same_shape(low, "MUL", reset, _cut(low, product, 2 * size, size))
    else:
        product = _product(low, hidden, cell.recurrence[: 2 * size])
        opened = same_shape(low, "ADD", opened, product)
        update, reset = _split(low, same_shape(low, "LOGISTIC", opened), 2)
        part = same_shape(low, "MUL", reset, hidden)
        inner = _product(low, part, cell.recurrence[2 * size :], inner_bias)
    candidate = same_shape(low, "TANH", same_shape(low, "ADD", fresh, inner))
    # (1 - z) * candidate + z * hidden, with one multiplication
    change = same_shape(low, "SUB", hidden, candidate)
    return (same_shape(low, "ADD", candidate, same_shape(low, "MUL", update, change)),)


def _step_of(node: Node) -> Step:
    if node.op_type == "LSTM":
        return _lstm_step
    if node.op_type == "GRU":
        before_reset = bool(node.attribute("linear_before_reset", 0))
        return lambda low, cell, gates, state: _gru_step(
            low, cell, gates, state, before_reset=before_reset
        )
    names = node.attribute("activations", ("Tanh",))
    op = "TANH" if names[0] == "Tanh" else "RELU"

    def rnn_step(
        low: Lowering, cell: Cell, gates: Tensor, state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, ...]:
        if state is not None:
            gates = same_shape(low, "ADD", _product(low, state[0], cell.recurrence), gates)
        return (same_shape(low, op, gates),)

    return rnn_step


def _bind_sequence(
    low: Lowering, node: Node, sequences: Sequence[Iterable[Tensor]], *, batch_first: bool
) -> None:
    """Bind Y, (T, D, B, H) or (B, T, D, H), stored as (T, B, D, H): both directions in a row."""
    wholes = [_stack(low, list(outputs)) for outputs in sequences]
    steps, batch, size = wholes[0].shape
    joined = concatenate(low, wholes, 2) if len(wholes) > 1 else wholes[0]
    stored = low.reshaped(joined, (steps, batch, len(wholes), size))
    low.bind(node.outputs[0], stored, (1, 0, 2, 3) if batch_first else (0, 2, 1, 3))


def _stack(low: Lowering, parts: list[Tensor]) -> Tensor:
    """Return the steps' (1, B, H) along the first axis."""
    return concatenate(low, parts, 0) if len(parts) > 1 else parts[0]


LOWERINGS: Mapping[str, Callable[[Lowering, Node], None]] = {
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
