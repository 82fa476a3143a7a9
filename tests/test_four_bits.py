"""w4: products with 4-bit weights, run by the kernels of ONNX Runtime, OpenVINO and LiteRT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper
from quantize_models import noise, sqnr_db, to_graph
from tiny_onnx import build

from edgekit.cli.main import main
from edgekit.converters.emitters import EMITTERS
from edgekit.converters.evaluate import evaluate
from edgekit.converters.onnx_model import write_graph
from edgekit.converters.quantize import pick_scheme, quantize, round_weights
from edgekit.converters.quantize.weights import to_integers, to_reals, weight_code
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.pipeline.check import open_emitted
from edgekit.quantization import Quantization
from edgekit.quantized import QuantizedGraph
from edgekit.ranges import Ranges
from edgekit.target import pick_target
from edgekit.tensor import DType

FORMATS = ("onnx", "openvino", "tflite")
# The kernels round their input to int8 as they run: 44 dB measured for one product.
KERNEL_DB = 30.0
NOTHING = Ranges("", samples=0, fingerprint="", ranges={})


def matrix(rows: int, columns: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32) / 8


def products() -> Graph:
    """Return a MatMul on a sequence and two Gemms, one turned; the last is too small for 4 bits."""
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["m"], name="sequence"),
        helper.make_node("Relu", ["m"], ["r"], name="relu"),
        helper.make_node("Reshape", ["r", "flat"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w1", "b1"], ["g"], name="turned", transB=1),
        helper.make_node("Relu", ["g"], ["s"], name="relu2"),
        helper.make_node("Gemm", ["s", "w2"], ["y"], name="small"),
    ]
    constants = {
        "w0": matrix(64, 96, 0),
        "w1": matrix(128, 96, 1),
        "b1": matrix(1, 128, 2)[0],
        "w2": matrix(128, 5, 3),
        "flat": np.array([-1, 96]),
    }
    return to_graph(
        build(nodes, inputs={"x": [1, 7, 64]}, outputs={"y": [7, 5]}, constants=constants)
    )


def table_for(graph: Graph, target: str) -> QuantizedGraph:
    return quantize(graph, NOTHING, pick_scheme(*target.split(":")))


def run_emitted(
    quantized: QuantizedGraph, target: str, folder: Path, feed: dict[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float32], int]:
    """Return the output of the target's own runtime, and the size of its files."""
    picked = pick_target(target)
    folder.mkdir()
    artifact = EMITTERS[picked.format].load()(quantized, folder, target=picked)
    size = sum((folder / name).stat().st_size for name in artifact.files.values())
    with open_emitted(artifact, folder, preprocess={}) as session:
        return session.run(feed)["y"], size


def as_stored(quantized: QuantizedGraph) -> Graph:
    """Return the float graph whose weights are what their integers stand for."""
    graph = quantized.graph
    constants = {
        name: to_reals(to_integers(graph.initializers[name], code), code)
        for name, code in quantized.codes.items()
    }
    return replace(graph, initializers={**graph.initializers, **constants})


@pytest.mark.parametrize("format", FORMATS)
def test_the_runtime_computes_what_the_4_bit_weights_say(format: str, tmp_path: Path) -> None:
    graph = products()
    feed = noise(graph)[0]
    quantized = table_for(graph, f"{format}:w4")

    result, _ = run_emitted(quantized, f"{format}:w4", tmp_path / "w4", feed)

    assert sqnr_db(evaluate(as_stored(quantized), feed)["y"], result) > KERNEL_DB


def large() -> Graph:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    return to_graph(
        build(
            nodes,
            inputs={"x": [4, 512]},
            outputs={"y": [4, 512]},
            constants={"w": matrix(512, 512, 0)},
        )
    )


@pytest.mark.parametrize("format", FORMATS)
def test_the_file_is_two_thirds_of_w8_or_less(format: str, tmp_path: Path) -> None:
    graph = large()
    feed = noise(graph)[0]

    sizes = [
        run_emitted(table_for(graph, target), target, tmp_path / target[-2:], feed)[1]
        for target in (f"{format}:w4", f"{format}:w8")
    ]

    # 4 bits and a float32 scale for each 32 rows are 5 bits, where int8 has 8.
    assert sizes[0] < 0.67 * sizes[1]


def test_what_is_small_or_no_multiple_of_a_block_keeps_8_bits() -> None:
    graph = products()
    uneven = {**graph.initializers, "w0": matrix(64, 90, 0), "w1": matrix(128, 90, 1)}

    even = table_for(graph, "onnx:w4").codes
    odd = table_for(replace(graph, initializers=uneven), "onnx:w4").codes

    assert {name: code.dtype for name, code in even.items()} == {
        "w0": DType.INT4, "w1": DType.INT4, "w2": DType.INT8,
    }  # fmt: skip
    assert odd["w1"].dtype is DType.INT8


def test_a_block_of_a_matrix_has_its_largest_weight_over_7() -> None:
    weight = np.zeros((4, 2), np.float32)  # depth 4, two output channels, blocks of two rows
    weight[:, 0] = [7, -1, 14, 2]
    weight[:, 1] = [0.7, 0, 0, -2.1]

    code = weight_code(weight, 1, bits=4, block=2)

    assert code.dtype is DType.INT4
    assert code.quantization.scale == pytest.approx((1.0, 2.0, 0.1, 0.3))
    integers = to_integers(weight, code).astype(int)
    assert integers.tolist() == [[7, 7], [-1, 0], [7, 0], [1, -7]]
    assert to_reals(to_integers(weight, code), code) == pytest.approx(weight, abs=1e-6)


def test_blocks_survive_the_json_form() -> None:
    code = Quantization((1.0, 2.0), (0, 0), axis=0, block=2)

    assert Quantization.from_json(code.to_json()) == code


def test_rounding_for_the_output_helps_4_bits() -> None:
    graph = products()
    mixing = 8 * matrix(8, 64, 5)  # what a network sees lies in few directions
    feeds = [{"x": feed["x"][:, :, :8] @ mixing + feed["x"] / 8} for feed in noise(graph, 64)]
    plain = table_for(graph, "onnx:w4")

    rounded = round_weights(plain, feeds[:60])

    figures = [
        sqnr_db(evaluate(graph, feed)["y"], evaluate(as_stored(made), feed)["y"])
        for made in (plain, rounded)
        for feed in feeds[60:]
    ]
    assert np.mean(figures[4:]) > np.mean(figures[:4])


@pytest.mark.parametrize("format", FORMATS)
def test_a_model_without_such_a_product_is_refused(format: str) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    weight = {"w": np.ones((64, 64, 1, 1), np.float32)}
    shape = [1, 64, 4, 4]
    graph = to_graph(build([node], inputs={"x": shape}, outputs={"y": shape}, constants=weight))

    with pytest.raises(UsageError, match=f"choose {format}:w8"):
        table_for(graph, f"{format}:w4")


def test_tensorrt_refuses_it_by_name() -> None:
    with pytest.raises(UsageError, match="'tensorrt' cannot be 'w4'"):
        pick_target("tensorrt:w4")


def test_the_command_needs_no_ranges(tmp_path: Path) -> None:
    write_graph(products(), tmp_path / "net.onnx")

    status = main(["quantize", str(tmp_path / "net.onnx"), "-t", "onnx:w4"])

    assert status == 0
    assert (tmp_path / "net-onnx-w4" / "model.onnx").is_file()
