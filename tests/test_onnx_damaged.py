"""Damaged, hostile and unsupported ONNX files get an error that says what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_onnx import build, conv_relu, normal

from edgekit.converters.onnx_model import check_graph, graph_from_bytes, read_graph
from edgekit.errors import ModelError, ModelFormatError, ShapeError, UnsupportedOperatorError


def external_model(folder: Path, location: str = "weights.bin") -> Path:
    """Write a model whose weight w (64, 64) lies in another file; return its path."""
    model = build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        inputs={"x": [1, 64]},
        outputs={"y": [1, 64]},
        constants={"w": normal((64, 64))},
    )
    path = folder / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    if location != "weights.bin":
        model = onnx.load(path, load_external_data=False)
        model.graph.initializer[0].external_data[0].value = location
        path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    graph = read_graph(external_model(tmp_path))

    np.testing.assert_array_equal(graph.initializers["w"], normal((64, 64)))


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "link.bin", "a\\b", ""])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(64 * 64 * 4))
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    path = external_model(folder, location)

    with pytest.raises(ModelFormatError, match=r"'w' is stored in .* outside the model's folder"):
        read_graph(path)


def test_a_missing_weight_file_is_named(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    (tmp_path / "weights.bin").unlink()

    with pytest.raises(ModelFormatError, match=r"'weights.bin', which is not in"):
        read_graph(path)


def test_a_truncated_weight_file_is_refused(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(100))

    with pytest.raises(ModelFormatError, match=r"needs bytes 0 to 16384 of 'weights.bin'"):
        read_graph(path)


def test_a_tensor_whose_size_contradicts_its_data_is_named() -> None:
    model = conv_relu()
    model.graph.initializer[0].dims[0] = 1 << 40

    with pytest.raises(ModelFormatError, match=r"tensor 'w'"):
        graph_from_bytes(model.SerializeToString())


def test_no_cut_of_a_file_does_anything_but_a_model_error() -> None:
    data = conv_relu().SerializeToString()
    refused = 0

    for end in range(0, len(data), 3):
        with pytest.raises(ModelFormatError):
            graph_from_bytes(data[:end])
        refused += 1

    assert refused > 100


def test_no_flipped_byte_does_anything_but_a_model_error() -> None:
    data = conv_relu().SerializeToString()
    rng = np.random.default_rng(0)

    for position in rng.integers(0, len(data), size=300):
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        try:
            check_graph(graph_from_bytes(bytes(damaged)))
        except ModelError:
            continue


@dataclass(frozen=True)
class Unknown:
    id: str
    op_type: str
    domain: str
    said: str


UNKNOWN = [
    Unknown("standard", "Frobnicate", "", "Frobnicate"),
    Unknown("own_domain", "NMS", "mmdeploy", "mmdeploy.NMS"),
    Unknown("contrib", "FusedConv", "com.microsoft", "com.microsoft.FusedConv"),
]


@pytest.mark.parametrize("case", UNKNOWN, ids=lambda case: case.id)
def test_an_operator_that_is_not_standard_is_refused_by_node(case: Unknown) -> None:
    model = build(
        [helper.make_node(case.op_type, ["x"], ["y"], name="odd", domain=case.domain)],
        inputs={"x": [2]},
        outputs={"y": [2]},
    )
    if case.domain:
        model.opset_import.append(helper.make_opsetid(case.domain, 1))

    with pytest.raises(UnsupportedOperatorError) as caught:
        graph_from_bytes(model.SerializeToString())

    assert caught.value.node == "odd"
    assert caught.value.op_type == case.said


def test_shapes_that_do_not_fit_together_are_refused_by_node() -> None:
    model = build(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        inputs={"x": [2, 3]},
        outputs={"y": [2, 5]},
        constants={"w": np.ones((4, 5), np.float32)},
    )

    with pytest.raises(ShapeError, match="product"):
        graph_from_bytes(model.SerializeToString())


def test_an_output_of_unknown_rank_is_no_error() -> None:
    model = build(
        [helper.make_node("Reshape", ["x", "s"], ["y"])],
        inputs={"x": [4], "s": ["rank"]},
        outputs={"y": None},
        dtypes={"s": TensorProto.INT64},
    )

    graph = graph_from_bytes(model.SerializeToString())

    check_graph(graph)
    assert graph.outputs[0].shape is None


def test_sequences_as_inputs_are_refused_by_name() -> None:
    model = build(
        [helper.make_node("SequenceAt", ["s", "i"], ["y"])],
        inputs={},
        outputs={"y": [2]},
        constants={"i": np.array(0)},
    )
    model.graph.input.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [2]))

    with pytest.raises(ModelFormatError, match=r"'s' is not a tensor .*sequence_type"):
        graph_from_bytes(model.SerializeToString())


def test_two_initializers_of_one_name_are_refused() -> None:
    model = conv_relu()
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "w"))

    with pytest.raises(ModelFormatError, match=r"two initializers are named 'w'"):
        graph_from_bytes(model.SerializeToString())
