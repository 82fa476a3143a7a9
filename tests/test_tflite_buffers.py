"""How constants become bytes, and what that costs in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from tflite_models import F32, constant, one_graph

from edgekit.converters.emitters.tflite.buffers import Constants
from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.converters.emitters.tflite.writer import write_model
from edgekit.tensor import DType

MAX_EXTRA = 0.01  # Tables, names and one write buffer; the weights themselves are not copied.


def test_writing_copies_no_weights(tmp_path: Path) -> None:
    weights = [np.full((1024, 1024), number, np.float32) for number in range(8)]
    current = source = Tensor("x", (1, 1024), F32)
    operators = []
    for number, weight in enumerate(weights):
        result = Tensor(f"y{number}", (1, 1024), F32)
        inputs = [current, constant(f"w{number}", weight), None]
        operators.append(Operator("FULLY_CONNECTED", inputs, [result]))
        current = result
    model = one_graph([source], [current], operators)

    tracemalloc.start()
    write_model(model, tmp_path / "model.tflite")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < MAX_EXTRA * sum(weight.nbytes for weight in weights)


def test_four_bit_values_are_packed_two_in_a_byte_the_first_low() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes has the 4-bit type")
    data = np.array([1, -2, 3], ml_dtypes.int4)
    constants = Constants()

    constants.add(Tensor("w", (3,), DType.INT4, data))

    # -2 is 0b1110 in 4 bits.
    assert [bytes(stored) for stored in constants.contents()] == [bytes([0xE1, 0x03])]
    assert list(constants.sizes()) == [2]
