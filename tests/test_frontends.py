"""The ONNX frontend: it tells files apart and fixes shapes, or says why it cannot."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from onnx import helper
from tiny_onnx import build, conv_relu

from edgekit.converters.frontends import FRONTENDS, frontend_of
from edgekit.converters.frontends.file_kind import sniff
from edgekit.converters.frontends.onnx import load_onnx
from edgekit.errors import ModelFormatError, ShapeError, UsageError


@dataclass(frozen=True)
class Fake:
    id: str
    content: bytes
    said: str


FAKES = [
    Fake("web_page", b"\n<!DOCTYPE html><html>404</html>", "web page.*fetch the model"),
    Fake("git_lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    Fake("tflite", b"\x1c\x00\x00\x00TFL3" + bytes(64), "a TFLite model.*ONNX model"),
    Fake("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(64), "Keras .h5.*export it to ONNX"),
    Fake("pickle", b"\x80\x02}q\x00." + bytes(64), "pickle.*export it to ONNX"),
    Fake("gzip", b"\x1f\x8b\x08" + bytes(64), "unpack it"),
    Fake("json", b'{"error": "not found"}', "JSON.*fetch the model"),
    Fake("xml", b'<?xml version="1.0"?><net name="m">', "XML.*ONNX model that it was made from"),
    Fake("mxnet", b"\x12\x01" + bytes(64), "MXNet.*export it to ONNX"),
    Fake("tensorrt", b"ftrt" + bytes(64), "TensorRT engine.*ONNX model"),
    Fake("picture", b"\x89PNG\r\n\x1a\n" + bytes(64), "picture"),
    Fake("empty", b"", "is empty"),
    Fake("garbage", bytes(range(200, 256)) * 4, "not a whole ONNX file"),
    Fake("zeros", bytes(1000), "not a whole ONNX file"),
    Fake("another_protobuf", b"\x0a\x03abc", "holds no ONNX model"),
]


@pytest.mark.parametrize("fake", FAKES, ids=lambda fake: fake.id)
def test_what_is_no_onnx_is_told_by_its_content(fake: Fake, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(fake.content)

    with pytest.raises(ModelFormatError, match=rf"(?s){fake.said}"):
        load_onnx(path)


def test_a_pytorch_archive_is_told_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"")

    with pytest.raises(ModelFormatError, match=r"PyTorch .pt.*export it to ONNX"):
        frontend_of(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="does not exist"):
        sniff(tmp_path / "none.onnx")
    with pytest.raises(ModelFormatError, match="is a folder"):
        sniff(tmp_path)


def test_an_onnx_file_goes_to_the_onnx_frontend_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    onnx.save(conv_relu(), path)

    assert frontend_of(path) is FRONTENDS["onnx"]
    assert load_onnx(path).input_names == ("x",)


def dynamic(tmp_path: Path) -> Path:
    """Write a model with two inputs that share their batch; return its path."""
    model = build(
        [
            helper.make_node("Add", ["a", "b"], ["s"]),
            helper.make_node("Flatten", ["s"], ["y"]),
        ],
        inputs={"a": ["batch", 3, "height", 8], "b": ["batch", 3, "height", 8]},
        outputs={"y": ["batch", "features"]},
    )
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    return path


def test_dynamic_sizes_stay_named_where_nobody_fixes_them(tmp_path: Path) -> None:
    graph = load_onnx(dynamic(tmp_path))

    assert graph.inputs[0].shape == ("batch", 3, "height", 8)
    assert graph.outputs[0].shape == ("batch", "features")


def test_a_given_shape_fixes_that_input_and_all_that_follows(tmp_path: Path) -> None:
    graph = load_onnx(dynamic(tmp_path), shapes={"a": (2, 3, 4, 8)})

    assert [spec.shape for spec in graph.inputs] == [(2, 3, 4, 8), (2, 3, 4, 8)]
    assert graph.values["s"].shape == (2, 3, 4, 8)
    assert graph.outputs[0].shape == (2, 96)


def test_a_name_in_a_given_shape_keeps_that_size_dynamic(tmp_path: Path) -> None:
    graph = load_onnx(dynamic(tmp_path), shapes={"a": ("batch", 3, 4, 8)})

    assert graph.outputs[0].shape == ("batch", 96)


@dataclass(frozen=True)
class Wrong:
    id: str
    shapes: dict[str, tuple[int, ...]]
    error: type[Exception]
    said: str


WRONG = [
    Wrong("name", {"aa": (1, 3, 4, 8)}, UsageError, "no input named 'aa'; did you mean 'a'"),
    Wrong("rank", {"a": (1, 3, 4)}, ShapeError, "'a' has 4 axes batchx3xheightx8.*gives 3: 1x3x4"),
    Wrong("fixed", {"a": (1, 4, 4, 8)}, ShapeError, "axis 1 of input 'a' is fixed to 3.*gives 4"),
    Wrong("zero", {"a": (0, 3, 4, 8)}, ShapeError, "gives 0 for axis 0 of 'a'; sizes are >= 1"),
    Wrong(
        "shared",
        {"a": (1, 3, 4, 8), "b": (2, 3, 4, 8)},
        ShapeError,
        "'batch' cannot be both 1 and 2",
    ),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.id)
def test_a_shape_that_contradicts_the_model_is_refused(case: Wrong, tmp_path: Path) -> None:
    with pytest.raises(case.error, match=case.said):
        load_onnx(dynamic(tmp_path), shapes=case.shapes)
