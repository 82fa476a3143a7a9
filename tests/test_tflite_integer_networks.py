"""int8 TFLite of whole networks follows the table, tensor by tensor, and leaves no float by chance.

The oracle is the same table applied by ONNX Runtime in float (``fake_quantized.py``), and the
Q/DQ graph that ONNX Runtime gets from it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
from ai_edge_litert.interpreter import Interpreter
from fake_quantized import Array, minmax_ranges, open_plain
from local_agreement import local_agreement
from networks import NETWORKS, sample_inputs

from edgekit.converters.emitters.tflite import Lowered, lower
from edgekit.converters.emitters.tflite.writer import write_model
from edgekit.converters.onnx_model import graph_from_bytes
from edgekit.converters.passes import simplify
from edgekit.converters.quantize import pick_scheme, quantize, to_qdq
from edgekit.graph import Graph
from edgekit.metrics import sqnr_db
from edgekit.quantized import QuantizedGraph
from edgekit.tensor import DType

SAMPLES = 4
# Of all elements of all tensors, so many are one step away at most, and none further than this.
WITHIN_ONE = 0.998
LARGEST = 3.0
# LiteRT's plain RESIZE_BILINEAR keeps positions in 1/1024: with align_corners it is steps off.
RESIZES_COARSELY = {"espnet_blocks"}
# A float tensor between two coded ones is computed with the float weights, not those of the
# grid: layers without an int8 kernel (CONV_3D), max-unpooling's masks.
HAS_FLOAT_LAYERS = {"c3d", "segnet"}
# Against ONNX Runtime on the Q/DQ graph: both are as far from float, within so many dB.
ENGINE_DB = 4.0


@dataclass(frozen=True)
class Expected:
    """What a network keeps in float.

    Args:
        name: Of the network.
        floats: TFLite operators that compute in float, at most these.
    """

    name: str
    floats: frozenset[str] = field(default_factory=frozenset)


def _case(name: str, *floats: str) -> Expected:
    return Expected(name, frozenset(floats))


CASES = [
    _case("mobilenet_v2"),
    _case("mobilenet_v3_blocks"),
    _case("mlp", "SOFTMAX"),
    _case("text_cnn", "GATHER"),
    _case("text_cnn_float"),
    _case("conv1d_stack"),
    _case("fcn"),
    _case("unet_linear"),
    _case("unet_nearest"),
    _case("unet_transpose"),
    _case("super_resolution"),
    _case("squeezenet", "SOFTMAX", "RESHAPE"),
    _case("inception_v2", "SOFTMAX"),
    _case(
        "yolov8", "RESHAPE", "SLICE", "SUB", "ADD", "DIV", "CONCATENATION", "MUL", "LOGISTIC",
        "TRANSPOSE",
    ),
    _case("segnet", "EQUAL", "CAST", "SUB", "MUL", "ADD", "MAX_POOL_2D", "STRIDED_SLICE",
          "SOFTMAX", "QUANTIZE", "CONCATENATION"),
    # Batch norms behind a Concat stay float, with what lies between them (docs/quantization.md).
    _case("espnet_blocks", "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "MUL", "PAD", "PRELU"),
    _case("c3d", "CONV_3D", "SOFTMAX"),
]  # fmt: skip


TRACEABLE = [case for case in CASES if case.name not in RESIZES_COARSELY | HAS_FLOAT_LAYERS]


@functools.cache
def _quantized(name: str) -> tuple[QuantizedGraph, list[dict[str, Array]]]:
    case = NETWORKS[name]
    model = case.build()
    graph: Graph = simplify(graph_from_bytes(model.SerializeToString()))
    feeds = [sample_inputs(model, seed=seed, highest=case.highest) for seed in range(SAMPLES)]
    # What is measured with is calibrated with: values beyond a range are not the engines' fault.
    return quantize(graph, minmax_ranges(graph, feeds), pick_scheme("tflite")), feeds[:1]


def _float_operators(lowered: Lowered) -> set[str]:
    return {
        operator.op
        for operator in lowered.model.subgraphs[0].operators
        if operator.op not in ("QUANTIZE", "DEQUANTIZE")
        and any(tensor.dtype is DType.FLOAT32 for tensor in operator.outputs)
    }


@pytest.mark.parametrize("expected", TRACEABLE, ids=lambda case: case.name)
def test_every_tensor_follows_from_the_integers_before_it(
    expected: Expected, tmp_path: Path
) -> None:
    quantized, (feed,) = _quantized(expected.name)

    found = local_agreement(quantized, lower(quantized), feed, tmp_path / "model.tflite")

    assert found
    count = sum(each.count for each in found)
    within = sum(each.within_one * each.count for each in found) / count
    assert within >= WITHIN_ONE
    assert max(each.largest for each in found) <= LARGEST


@pytest.mark.parametrize("expected", CASES, ids=lambda case: case.name)
def test_nothing_stays_float_by_chance(expected: Expected) -> None:
    quantized, _ = _quantized(expected.name)

    floats = _float_operators(lower(quantized))

    assert floats <= expected.floats


@pytest.mark.parametrize("expected", CASES, ids=lambda case: case.name)
def test_delegate_is_as_near_to_float_as_onnx_runtime(expected: Expected, tmp_path: Path) -> None:
    quantized, (feed,) = _quantized(expected.name)
    graph = quantized.graph
    wanted = open_plain(graph).run(list(graph.output_names), feed)
    fake = open_plain(to_qdq(quantized, pick_scheme("onnx"))).run(list(graph.output_names), feed)
    lowered = lower(quantized)

    got = _run(lowered, feed, tmp_path / "model.tflite")

    for name, want, other in zip(graph.output_names, wanted, fake, strict=True):
        assert sqnr_db(got[name], want) >= sqnr_db(other, want) - ENGINE_DB


def _run(lowered: Lowered, feed: dict[str, Array], path: Path) -> dict[str, Array]:
    write_model(lowered.model, path)
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    given = {
        spec.name: np.ascontiguousarray(
            feed[spec.name].transpose(spec.permutation) if spec.permutation else feed[spec.name]
        )
        for spec in lowered.inputs
    }
    results = interpreter.get_signature_runner()(**given)
    return {
        spec.name: results[spec.name].transpose(np.argsort(spec.permutation))
        if spec.permutation
        else results[spec.name]
        for spec in lowered.outputs
    }
