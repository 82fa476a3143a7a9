"""The ONNX emitter writes a model that runs, with what it is inside."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from tiny_onnx import conv_relu, normal

from edgekit.converters.emitters.facts import LABELS, preprocess_of
from edgekit.converters.emitters.onnx import emit
from edgekit.converters.evaluate import evaluate, run_model
from edgekit.converters.onnx_model import graph_from_bytes
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess
from edgekit.target import TARGETS
from edgekit.tensor import DType

TARGET = TARGETS["onnx"]


def model() -> Graph:
    return graph_from_bytes(conv_relu().SerializeToString())


def facts_in(path: Path) -> dict[str, str]:
    return {item.key: item.value for item in onnx.load(path).metadata_props}


def test_the_file_computes_what_the_graph_does(tmp_path: Path) -> None:
    graph, x = model(), normal((1, 3, 8, 8))

    artifact = emit(graph, tmp_path, target=TARGET)
    values = run_model(tmp_path / artifact.files["model"], {"x": x})

    np.testing.assert_array_equal(values["y"], evaluate(graph, {"x": x})["y"])


def test_the_facts_are_in_the_metadata(tmp_path: Path) -> None:
    graph = replace(model(), metadata={LABELS: json.dumps(["cat", "dog"]), "author": "me"})

    emit(graph, tmp_path, target=TARGET)

    facts = facts_in(tmp_path / "model.onnx")
    assert facts["edgekit.precision"] == "fp32"
    assert facts["edgekit.version"]
    assert json.loads(facts["edgekit.labels"]) == ["cat", "dog"]
    assert facts["author"] == "me"


def test_fused_preprocessing_takes_bytes_and_says_so(tmp_path: Path) -> None:
    graph = model()
    preprocess = Preprocess(scale=(1 / 255,), mean=(0.5,), std=(0.25,))
    frame = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)

    artifact = emit(graph, tmp_path, target=TARGET, preprocess={"x": preprocess})
    values = run_model(tmp_path / "model.onnx", {"x": frame[None]})

    apart = evaluate(graph, {"x": preprocess.apply(frame, graph.inputs[0])})
    np.testing.assert_allclose(values["y"], apart["y"], atol=1e-4)
    assert artifact.fused_preprocess == ("x",)
    assert artifact.inputs[0].dtype is DType.UINT8
    assert preprocess_of(facts_in(tmp_path / "model.onnx")) == {"x": preprocess}
