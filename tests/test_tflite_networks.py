"""Whole networks in LiteRT: the same numbers as ONNX Runtime, in few delegated parts."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks.subjects import Subject, all_subjects
from numpy.typing import NDArray
from onnx import helper
from tiny_onnx import build, conv_relu, normal

from edgekit.artifact import Artifact
from edgekit.converters.emitters.tflite import emit, lower
from edgekit.converters.emitters.tflite.patterns import fuse_patterns
from edgekit.converters.evaluate import evaluate, run_model
from edgekit.converters.frontends.onnx import load_onnx
from edgekit.converters.onnx_model import graph_from_bytes
from edgekit.converters.passes import simplify
from edgekit.errors import UnsupportedOperatorError
from edgekit.graph import Graph
from edgekit.metrics import cosine, relative_error
from edgekit.runtimes.tflite_file import TFLiteFile, read_tflite
from edgekit.target import TARGETS

pytest.importorskip("ai_edge_litert")
from litert_runs import RESOLVERS, count_partitions, run_all, run_artifact

SUBJECTS = {subject.name: subject for subject in all_subjects()}
SMALL = [subject for subject in SUBJECTS.values() if subject.size == "small"]
LARGE = [subject for subject in SUBJECTS.values() if subject.size == "large"]
# What converting must keep; float32 in another order of summation costs about 1e-6.
MIN_COSINE = 0.99999
# A constant output has cosine 1 whatever its size, so its size counts too.
MAX_RELATIVE_ERROR = 1e-3
# 11-bit significands in every weight.
MIN_HALF_COSINE = 0.999
SEEDS = (2, 3)


@dataclass(frozen=True)
class Converted:
    subject: Subject
    source: Path
    folder: Path
    artifact: Artifact

    @property
    def file(self) -> TFLiteFile:
        return read_tflite(self.folder / self.artifact.files["model"])

    def feeds(self) -> list[dict[str, NDArray[Any]]]:
        model = onnx.load(self.source)
        return [self.subject.inputs(model, seed=seed) for seed in SEEDS]


def convert(subject: Subject, folder: Path, *, precision: str = "fp32") -> Converted:
    source = subject.write(folder)
    graph = simplify(load_onnx(source, shapes=subject.shapes or None))
    artifact = emit(graph, folder, target=TARGETS["tflite"].with_precision(precision))
    return Converted(subject, source, folder, artifact)


def agreement(converted: Converted) -> list[tuple[float, float]]:
    """Return cosine and relative error of each output, on each input, on each resolver."""
    feeds = converted.feeds()
    expected = [run_model(converted.source, feed) for feed in feeds]
    return [
        (cosine(got[name], wanted[name]), relative_error(got[name], wanted[name]))
        for resolver in RESOLVERS.values()
        for got, wanted in zip(
            run_all(converted.folder, converted.artifact, feeds, resolver=resolver),
            expected,
            strict=True,
        )
        for name in wanted
    ]


def tiny(*nodes: onnx.NodeProto, **constants: NDArray[Any]) -> Graph:
    """Return a graph from x (1, 3, 4, 4) to y."""
    model = build(
        nodes, inputs={"x": (1, 3, 4, 4)}, outputs={"y": None}, constants=constants, opset=20
    )
    return graph_from_bytes(model.SerializeToString())


@pytest.mark.parametrize("subject", SMALL, ids=lambda subject: subject.name)
def test_a_network_agrees_with_onnx_runtime(subject: Subject, tmp_path: Path) -> None:
    converted = convert(subject, tmp_path)

    measured = agreement(converted)

    assert min(similarity for similarity, _ in measured) >= MIN_COSINE
    assert max(error for _, error in measured) <= MAX_RELATIVE_ERROR
    graphs = converted.file.subgraphs
    assert not [op.name for graph in graphs for op in graph.operators if op.is_custom]
    assert not [tensor.name for graph in graphs for tensor in graph.tensors if tensor.is_dynamic]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("subject", LARGE, ids=lambda subject: subject.name)
def test_a_large_network_agrees_with_onnx_runtime(subject: Subject, tmp_path: Path) -> None:
    converted = convert(subject, tmp_path)

    measured = agreement(converted)

    assert min(similarity for similarity, _ in measured) >= MIN_COSINE
    assert max(error for _, error in measured) <= MAX_RELATIVE_ERROR


def test_a_detector_with_its_decode_runs_in_at_most_two_parts(tmp_path: Path) -> None:
    converted = convert(SUBJECTS["yolov8"], tmp_path)

    names = Counter(op.name for op in converted.file.subgraphs[0].operators)

    assert names["TRANSPOSE"] <= 4
    assert count_partitions(tmp_path, converted.artifact) <= 2


def test_weights_in_float16_halve_the_file_and_agree(tmp_path: Path) -> None:
    subject = SUBJECTS["mobilenet_v2"]
    whole, half = tmp_path / "whole", tmp_path / "half"
    for folder in (whole, half):
        folder.mkdir()
    full = convert(subject, whole)

    lean = convert(subject, half, precision="fp16")

    assert lean.file.nbytes < 0.55 * full.file.nbytes
    assert min(similarity for similarity, _ in agreement(lean)) >= MIN_HALF_COSINE


@pytest.mark.parametrize("name", ["lstm_with_states", "bilstm", "bigru", "mobilenet_v2"])
def test_a_run_does_not_depend_on_the_run_before(name: str, tmp_path: Path) -> None:
    converted = convert(SUBJECTS[name], tmp_path)
    first, second = converted.feeds()

    before, _, after = run_all(tmp_path, converted.artifact, [first, second, first])

    for output, values in before.items():
        np.testing.assert_array_equal(after[output], values)


def test_an_operator_without_kernel_is_refused_by_node_and_name() -> None:
    graph = tiny(helper.make_node("Det", ["x"], ["y"], name="area"))

    with pytest.raises(UnsupportedOperatorError) as refusal:
        lower(graph)

    error = refusal.value
    assert (error.node, error.op_type, error.target) == ("area", "Det", "tflite")
    assert "tflite cannot run node 'area' (Det)" in str(error)


def test_an_operator_of_another_domain_is_named_with_it() -> None:
    graph = graph_from_bytes(conv_relu().SerializeToString())
    odd = replace(graph.nodes[0], op_type="FusedConv", domain="com.microsoft", name="odd")

    with pytest.raises(UnsupportedOperatorError, match=r"com\.microsoft\.FusedConv"):
        lower(graph.with_nodes([odd, *graph.nodes[1:]]))


def test_an_attribute_that_nobody_reads_is_refused() -> None:
    graph = tiny(helper.make_node("Relu", ["x"], ["y"], name="act"))
    (node,) = graph.nodes

    with pytest.raises(UnsupportedOperatorError, match=r"slope=0\.25"):
        lower(graph.with_nodes([replace(node, attributes={"slope": 0.25})]))


def test_an_infinite_constant_that_reaches_an_output_is_refused() -> None:
    graph = tiny(
        helper.make_node("Add", ["x", "mask"], ["y"], name="hide"),
        mask=np.array(-np.inf, np.float32),
    )

    with pytest.raises(UnsupportedOperatorError, match=r"'hide'.*infinite constant") as refusal:
        lower(graph)

    assert "-1e30" in str(refusal.value)


def test_an_infinite_mask_behind_a_softmax_is_kept(tmp_path: Path) -> None:
    mask = np.zeros((1, 1, 1, 4), np.float32)
    mask[..., 3] = -np.inf
    graph = tiny(
        helper.make_node("Add", ["x", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["y"], axis=-1),
        mask=mask,
    )
    x = normal((1, 3, 4, 4))
    artifact = emit(graph, tmp_path, target=TARGETS["tflite"])

    results = [
        run_artifact(tmp_path, artifact, {"x": x}, resolver=resolver)["y"]
        for resolver in RESOLVERS.values()
    ]

    for result in results:
        np.testing.assert_allclose(result, evaluate(graph, {"x": x})["y"], rtol=1e-5, atol=1e-7)


node = helper.make_node
HALF_FIRST = (
    node("Div", ["x", "root2"], ["scaled"]),
    node("Erf", ["scaled"], ["erf"]),
    node("Add", ["one", "erf"], ["shifted"]),
    node("Mul", ["x", "half"], ["halved"]),
    node("Mul", ["halved", "shifted"], ["y"]),
)
HALF_LAST = (
    node("Mul", ["root_half", "x"], ["scaled"]),
    node("Erf", ["scaled"], ["erf"]),
    node("Add", ["erf", "one"], ["shifted"]),
    node("Mul", ["x", "shifted"], ["product"]),
    node("Mul", ["product", "half"], ["y"]),
)
GELU_CONSTANTS = {
    "root2": np.array(math.sqrt(2), np.float32),
    "root_half": np.array(math.sqrt(0.5), np.float32),
    "one": np.array(1, np.float32),
    "half": np.array(0.5, np.float32),
}


@pytest.mark.parametrize("nodes", [HALF_FIRST, HALF_LAST], ids=["half_first", "half_last"])
def test_gelu_in_pieces_becomes_one_operator(
    nodes: tuple[onnx.NodeProto, ...], tmp_path: Path
) -> None:
    graph = tiny(*nodes, **GELU_CONSTANTS)
    x = normal((1, 3, 4, 4))

    artifact = emit(graph, tmp_path, target=TARGETS["tflite"])

    operators = read_tflite(tmp_path / "model.tflite").subgraphs[0].operators
    assert [op.name for op in operators] == ["GELU"]
    # Source: Hendrycks and Gimpel 2016, x * Phi(x).
    expected = np.vectorize(lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2))))(x)
    for resolver in RESOLVERS.values():
        result = run_artifact(tmp_path, artifact, {"x": x}, resolver=resolver)["y"]
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_gelu_whose_inside_is_read_elsewhere_stays_in_pieces() -> None:
    graph = tiny(
        *HALF_LAST[:-1],
        node("Mul", ["product", "half"], ["gelu"]),
        node("Add", ["gelu", "erf"], ["y"]),
        **GELU_CONSTANTS,
    )

    kinds = [item.op_type for item in fuse_patterns(graph).nodes]

    assert "Gelu" not in kinds
    assert "Erf" in kinds


def test_something_like_gelu_with_another_factor_stays_in_pieces() -> None:
    constants = {**GELU_CONSTANTS, "half": np.array(0.25, np.float32)}
    graph = tiny(*HALF_LAST, **constants)

    assert fuse_patterns(graph) is graph


def test_a_transformer_has_one_operator_per_gelu(tmp_path: Path) -> None:
    converted = convert(SUBJECTS["vit"], tmp_path)

    names = Counter(op.name for op in converted.file.subgraphs[0].operators)

    assert names["GELU"] == 2
    assert names["EXP"] == names["SIGN"] == 0
