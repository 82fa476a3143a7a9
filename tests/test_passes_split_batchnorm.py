"""A batch norm that no layer takes up becomes Mul and Add, and nothing else changes."""

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
from edgekit.converters.passes.split_batchnorm import split_batchnorm
from edgekit.converters.quantize import pick_scheme, prepare_for_integers, quantize
from edgekit.converters.tap import find_taps
from edgekit.graph import Graph
from edgekit.ranges import Range, Ranges

FIGURES = ("gamma", "beta", "mean", "var")


def norm(shape: Sequence[int], *, constant: bool = True, **attributes: Any) -> Graph:
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


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 7), (2, 5, 4, 3), (1, 5, 2, 4, 3)], ids=str)
def test_a_batch_norm_of_any_rank_becomes_mul_and_add(shape: tuple[int, ...]) -> None:
    graph = norm(shape, epsilon=1e-3)

    split = split_batchnorm(graph)

    check_graph(split)
    assert op_types(split) == ["Mul", "Add"]
    assert_same(graph, split, rtol=1e-6)


def test_a_batch_norm_of_computed_figures_stays() -> None:
    graph = norm((2, 5, 4, 3), constant=False)

    assert split_batchnorm(graph) is graph


def test_a_scale_that_is_not_finite_stays() -> None:
    graph = norm((2, 5, 4, 3), epsilon=0.0)
    dead = replace(graph, initializers={**graph.initializers, "var": np.zeros(5, np.float32)})

    assert op_types(split_batchnorm(dead)) == ["BatchNormalization"]


def test_float_models_keep_their_batch_norm() -> None:
    assert op_types(simplify(norm((2, 5, 4, 3)))) == ["BatchNormalization"]


def test_both_parts_are_measured_and_become_integers() -> None:
    graph = prepare_for_integers(norm((2, 5, 4, 3)))
    measured = find_taps(graph).measured
    ranges = Ranges("", 1, "", {name: Range(-3.0, 3.0, "minmax") for name in measured})

    quantized = quantize(graph, ranges, pick_scheme("tflite"))

    assert measured == ("x", "y/scaled", "y")
    assert not quantized.float_nodes
    assert set(measured) <= set(quantized.codes)
