"""A batch norm that no layer takes up becomes a depthwise layer where integers want one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import helper
from tiny_onnx import assert_same, op_types, tiny

from edgekit.converters.onnx_model import check_graph
from edgekit.converters.passes import simplify
from edgekit.converters.passes.layer_batchnorm import layer_batchnorm
from edgekit.converters.quantize import pick_scheme, prepare_for_integers, quantize
from edgekit.converters.quantize.weights import to_integers, to_reals
from edgekit.converters.tap import find_taps
from edgekit.graph import Graph
from edgekit.ranges import Range, Ranges

SHAPE = (2, 5, 4, 3)
FIGURES = ("gamma", "beta", "mean", "var")


def norm(shape: Sequence[int] = SHAPE, *, constant: bool = True, **attributes: Any) -> Graph:
    """Return x -> BatchNormalization -> y; ``var`` is an input where not ``constant``."""
    rng = np.random.default_rng(5)
    channels = shape[1]
    figures = {
        "gamma": rng.uniform(0.5, 2, channels).astype(np.float32),
        "beta": rng.standard_normal(channels, dtype=np.float32),
        "mean": rng.standard_normal(channels, dtype=np.float32),
        "var": rng.uniform(1e-3, 2, channels).astype(np.float32),
    }
    if not constant:
        del figures["var"]
    return tiny(
        [helper.make_node("BatchNormalization", ["x", *FIGURES], ["y"], name="bn", **attributes)],
        inputs={"x": shape} if constant else {"x": shape, "var": [channels]},
        outputs={"y": shape},
        constants=figures,
    )


def ranges_of(graph: Graph) -> Ranges:
    measured = find_taps(graph).measured
    return Ranges("", 1, "", {name: Range(-3.0, 3.0, "minmax") for name in measured})


def test_a_batch_norm_of_pictures_becomes_a_depthwise_layer() -> None:
    graph = norm(epsilon=1e-3)

    changed = layer_batchnorm(graph)

    check_graph(changed)
    assert op_types(changed) == ["Conv"]
    assert_same(graph, changed, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 7), (1, 5, 2, 4, 3)], ids=str)
def test_a_batch_norm_of_another_rank_stays(shape: tuple[int, ...]) -> None:
    graph = norm(shape)

    assert layer_batchnorm(graph) is graph


def test_a_batch_norm_of_computed_figures_stays() -> None:
    graph = norm(constant=False)

    assert layer_batchnorm(graph) is graph


def test_a_scale_that_is_not_finite_stays() -> None:
    graph = norm(epsilon=0.0)
    dead = replace(graph, initializers={**graph.initializers, "var": np.zeros(5, np.float32)})

    assert op_types(layer_batchnorm(dead)) == ["BatchNormalization"]


@pytest.mark.parametrize("format", ["onnx", "openvino", "tensorrt"])
def test_targets_that_are_faster_in_float_keep_it(format: str) -> None:
    graph = prepare_for_integers(simplify(norm()))

    quantized = quantize(graph, ranges_of(graph), pick_scheme(format))

    assert op_types(quantized.graph) == ["BatchNormalization"]


def test_tflite_gets_an_integer_layer_with_the_ranges_of_all() -> None:
    graph = prepare_for_integers(simplify(norm()))

    quantized = quantize(graph, ranges_of(graph), pick_scheme("tflite"))

    assert op_types(quantized.graph) == ["Conv"]
    assert {"x", "y", "bn.weight"} <= set(quantized.codes)
    assert not quantized.float_nodes


def test_each_weight_is_exact_in_integers() -> None:
    graph = norm()

    quantized = quantize(graph, ranges_of(graph), pick_scheme("tflite"))

    weight, code = quantized.graph.initializers["bn.weight"], quantized.codes["bn.weight"]
    np.testing.assert_allclose(to_reals(to_integers(weight, code), code), weight, rtol=1e-6)
