"""A broken model is refused with the place named, before anything is written."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_models import F32, doubling_loop, one_graph

from edgekit.converters.emitters.tflite.model import Operator, Tensor
from edgekit.converters.emitters.tflite.writer import model_to_bytes
from edgekit.errors import ModelError


def test_unknown_option_is_named_with_the_options_that_there_are() -> None:
    source, result = Tensor("x", (1,), F32), Tensor("y", (1,), F32)
    softmax = Operator("SOFTMAX", [source], [result], {"axis": 1}, source="/head/softmax")

    with pytest.raises(ModelError, match=r"SOFTMAX.*/head/softmax.*'axis'; it takes beta"):
        model_to_bytes(one_graph([source], [result], [softmax]))


def test_operator_that_reads_an_uncomputed_tensor_is_named() -> None:
    source, result, stray = (Tensor(name, (1,), F32) for name in ("x", "y", "stray"))
    add = Operator("ADD", [source, stray], [result], source="/add")

    with pytest.raises(ModelError, match=r"ADD of node '/add' reads tensor 'stray'"):
        model_to_bytes(one_graph([source], [result], [add]))


def test_constant_that_contradicts_its_declared_shape_is_named() -> None:
    source, result = Tensor("x", (2,), F32), Tensor("y", (2,), F32)
    wrong = Tensor("w", (2,), F32, np.zeros(3, np.float32))

    with pytest.raises(ModelError, match=r"constant 'w' holds float32 \(3,\)"):
        model_to_bytes(one_graph([source], [result], [Operator("ADD", [source, wrong], [result])]))


def test_signature_must_name_every_output() -> None:
    model = doubling_loop()
    del model.signature.outputs["count"]

    with pytest.raises(ModelError, match="every output needs a name"):
        model_to_bytes(model)
