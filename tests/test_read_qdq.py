"""Models that other tools quantized: the table says what their Q/DQ nodes said."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits import DIGITS, MODEL, PREPROCESS
from fake_quantized import fake_quantized
from numpy.typing import NDArray
from quantize_models import joined, noise, residual, sqnr_db
from quantized_elsewhere import ENGINES, Builder, by_onnxruntime, cosine, run_emitted, run_source

from edgekit.converters.onnx_model import read_graph, write_graph
from edgekit.converters.passes import simplify
from edgekit.converters.quantize.operators import weight_of
from edgekit.converters.quantize.read_qdq import read_qdq
from edgekit.converters.quantize.weights import to_integers
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.pipeline import Terms, convert
from edgekit.preprocess import Preprocess

pytest.importorskip("onnxruntime")
COSINE = 0.9999
MAX_STEPS = 2
"""Of the logits' code, on the pictures of the digits example."""
MAX_SHARE = 0.01
"""Logits that may be off: a symmetric source also rounds what stands in front of a Relu."""


@dataclass(frozen=True)
class Case:
    """Options of ONNX Runtime's quantizer."""

    name: str
    activation: str = "QUInt8"
    weight: str = "QInt8"
    per_channel: bool = True
    extra: dict[str, Any] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """Return its arguments for ``quantize_static``."""
        from onnxruntime.quantization import QuantType

        return {
            "activation_type": QuantType[self.activation],
            "weight_type": QuantType[self.weight],
            "per_channel": self.per_channel,
            "extra_options": self.extra,
        }


CASES = (
    Case("its default types, per channel"),
    Case("int8 activations", activation="QInt8", per_channel=False),
    Case("symmetric", activation="QInt8", extra={"ActivationSymmetric": True}),
    Case(
        "pairs on weights and for each reader",
        extra={"AddQDQPairToWeight": True, "DedicatedQDQPair": True},
    ),
)
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def pictures() -> list[dict[str, NDArray[np.float32]]]:
    """The example's pictures as its input."""
    steps, spec = Preprocess.parse(PREPROCESS), read_graph(MODEL).inputs[0]
    with np.load(DIGITS / "heldout.npz") as file:
        return [{spec.name: steps.apply(frame, spec)} for frame in file["frames"]]


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int64]:
    """What the pictures show."""
    with np.load(DIGITS / "heldout.npz") as file:
        return np.asarray(file["labels"])


def logits_of(graph: Graph) -> Graph:
    """Return the classifier without its Softmax, which magnifies a step of its input."""
    return replace(graph, outputs=(graph.values["logits"],)).with_nodes(graph.nodes[:-1])


def quantized_digits(case: Case, pictures: list[Any], folder: Path) -> tuple[Graph, Path]:
    graph = logits_of(simplify(read_graph(MODEL)))
    # Between black and white exactly, pixels lie halfway between two integers of the code, and
    # the last bit of a division decides. A picture of more contrast moves the code.
    feeds = [*pictures[::4], {"image": pictures[3]["image"] * np.float32(1.03)}]
    return by_onnxruntime(graph, feeds, folder, **case.options())


@by_name
def test_the_table_computes_what_onnx_runtimes_model_does(
    case: Case, pictures: list[Any], tmp_path: Path
) -> None:
    graph, _ = quantized_digits(case, pictures, tmp_path)

    read = read_qdq(simplify(graph))

    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in read.graph.nodes}
    assert not read.float_nodes
    step = read.codes["logits"].quantization.scale[0]
    want = run_source(graph, pictures[:40])
    got = run_source(fake_quantized(read), pictures[:40])
    # A float sum on the border of two steps may fall either way.
    assert np.abs(want - got).max() < 1.01 * step
    assert cosine(want, got) > COSINE


@pytest.mark.parametrize(("format", "package"), ENGINES)
@by_name
def test_engines_give_the_quantized_sources_logits_within_two_steps(
    case: Case, format: str, package: str, pictures: list[Any], labels: Any, tmp_path: Path
) -> None:
    pytest.importorskip(package)
    graph, _ = quantized_digits(case, pictures, tmp_path)
    read = read_qdq(simplify(graph))

    want = run_source(graph, pictures)
    got = run_emitted(read, format, pictures, tmp_path / "artifact")

    # OpenVINO leaves the last layer's result in float; the source rounds it.
    code = read.codes["logits"]
    ours, theirs = (to_integers(scores, code).astype(np.int64) for scores in (got, want))
    right = [int((scores.argmax(axis=1) == labels).sum()) for scores in (theirs, ours)]
    assert np.abs(ours - theirs).max() <= MAX_STEPS
    assert (ours != theirs).mean() < MAX_SHARE
    assert cosine(want.reshape(1, -1), got.reshape(1, -1)) >= COSINE
    assert abs(right[0] - right[1]) <= 1


@pytest.mark.parametrize(("format", "package"), (("", "onnxruntime"), *ENGINES))
@pytest.mark.parametrize("make", [residual, joined])
@by_name
def test_small_networks_keep_their_result(
    case: Case, make: Any, format: str, package: str, tmp_path: Path
) -> None:
    pytest.importorskip(package)
    source = make()
    graph, _ = by_onnxruntime(source, noise(source, 16), tmp_path, **case.options())

    read = read_qdq(simplify(graph))

    feeds = noise(source)
    want = run_source(graph, feeds)
    got = (
        run_emitted(read, format, feeds, tmp_path / "artifact")
        if format
        else run_source(fake_quantized(read), feeds)
    )
    # Engines leave out roundings between a layer and what moves or adds its result.
    assert sqnr_db(want, got) > (30 if format else 100)


@by_name
def test_weights_are_the_integers_that_were_stored(
    case: Case, pictures: list[Any], tmp_path: Path
) -> None:
    graph, _ = quantized_digits(case, pictures, tmp_path)
    stored = [value for value in graph.initializers.values() if value.dtype == np.int8]

    read = read_qdq(graph)

    names = [weight_of(n, read.graph) for n in read.graph.nodes if n.op_type in ("Conv", "Gemm")]
    found = [to_integers(read.graph.initializers[name], read.codes[name]) for name in names]
    assert len(found) == 8
    if "AddQDQPairToWeight" not in case.extra:
        for integers in found:
            assert any(np.array_equal(integers, value) for value in stored)


def test_a_relu_that_onnx_runtime_left_to_the_code_is_written_again(tmp_path: Path) -> None:
    source = residual()
    graph, _ = by_onnxruntime(source, noise(source, 8), tmp_path)

    read = read_qdq(simplify(graph))

    assert "Relu" not in {node.op_type for node in graph.nodes}
    assert [node.op_type for node in read.graph.nodes].count("Relu") == 3


def test_weights_of_another_zero_point_are_rounded_again_along_the_outputs(tmp_path: Path) -> None:
    source = residual()
    case = Case("uint8 weights", weight="QUInt8", per_channel=False)
    graph, _ = by_onnxruntime(source, noise(source, 16), tmp_path, **case.options())

    read = read_qdq(simplify(graph))

    feeds = noise(source)
    codes = [read.codes[weight_of(n, read.graph)] for n in read.graph.nodes if n.op_type == "Conv"]
    assert all(code.quantization.is_symmetric and code.quantization.axis == 0 for code in codes)
    assert sqnr_db(run_source(graph, feeds), run_source(fake_quantized(read), feeds)) > 25


def test_convert_takes_a_model_of_integer_weights_as_weights_alone(tmp_path: Path) -> None:
    b = Builder()
    weight = b.stored("w", np.arange(-6, 6).reshape(4, 3).astype(np.int8), 0.1)
    b.add("MatMul", ["x", weight], "y")
    model = tmp_path / "weights.onnx"
    write_graph(b.graph({"x": [1, 4]}, {"y": [1, 3]}, 18), model)

    result = convert(model, targets=["onnx:w8"], output=tmp_path / "weights.edgekit")

    with pytest.raises(UsageError, match="give --precision w8"):
        convert(model, targets=["onnx:int8"], output=tmp_path / "other.edgekit")
    assert result.checks["onnx-w8"].status.state == "verified"


def test_convert_takes_the_integers_and_replays_them(pictures: list[Any], tmp_path: Path) -> None:
    _, model = quantized_digits(CASES[0], pictures, tmp_path)

    result = convert(model, targets=["onnx:int8"], output=tmp_path / "digits.edgekit")

    assert any("quantized already" in note for note in result.notes)
    assert result.checks["onnx-int8"].status.state == "verified"


@pytest.mark.parametrize(
    ("target", "options", "reason"),
    [
        ("onnx", {}, "give --precision int8"),
        ("onnx:int8", {"calibration": "photos"}, "leave out --calibration"),
        ("onnx:int8", {"terms": Terms(metric="top1", time_s=60)}, "metric, time_s"),
        ("tensorrt:int8", {"verify": False}, "needs zero points of 0"),
    ],
)
def test_convert_refuses_what_a_quantized_source_cannot_be(
    target: str, options: dict[str, Any], reason: str, pictures: list[Any], tmp_path: Path
) -> None:
    _, model = quantized_digits(CASES[0], pictures, tmp_path)

    with pytest.raises(UsageError, match=reason):
        convert(model, targets=[target], output=tmp_path / "digits.edgekit", **options)
