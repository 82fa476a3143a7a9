"""The metadata table, read back by a reader that shares no code with its writer."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
from tflite_models import conv_relu_model

from edgekit.converters.emitters.tflite.metadata import attach_metadata, describe_input
from edgekit.converters.emitters.tflite.model import Model
from edgekit.converters.emitters.tflite.writer import model_to_bytes
from edgekit.errors import ModelError
from edgekit.preprocess import Preprocess
from edgekit.runtimes.tflite_file import read_tflite

IMAGENET = Preprocess(scale=(1 / 255,), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass
class Node:
    """A flatbuffer table; slots are those of metadata_schema.fbs."""

    data: bytes
    at: int

    def place(self, slot: int) -> int:
        vtable = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        (size,) = struct.unpack_from("<H", self.data, vtable)
        if 4 + 2 * slot >= size:
            return 0
        (offset,) = struct.unpack_from("<H", self.data, vtable + 4 + 2 * slot)
        return self.at + offset if offset else 0

    def target(self, slot: int) -> int:
        place = self.place(slot)
        return place + struct.unpack_from("<I", self.data, place)[0]

    def byte(self, slot: int) -> int:
        return self.data[self.place(slot)]

    def child(self, slot: int) -> Node:
        return Node(self.data, self.target(slot))

    def text(self, slot: int) -> str:
        start = self.target(slot)
        (length,) = struct.unpack_from("<I", self.data, start)
        return self.data[start + 4 : start + 4 + length].decode()

    def children(self, slot: int) -> list[Node]:
        start = self.target(slot)
        (length,) = struct.unpack_from("<I", self.data, start)
        places = range(start + 4, start + 4 + 4 * length, 4)
        return [Node(self.data, p + struct.unpack_from("<I", self.data, p)[0]) for p in places]

    def floats(self, slot: int) -> list[float]:
        start = self.target(slot)
        (length,) = struct.unpack_from("<I", self.data, start)
        return list(struct.unpack_from(f"<{length}f", self.data, start + 4))


def root(data: bytes) -> Node:
    assert data[4:8] == b"M001"
    return Node(data, struct.unpack_from("<I", data)[0])


@pytest.fixture
def model() -> Model:
    return conv_relu_model(np.ones((4, 3, 3, 3), np.float32), np.zeros(4, np.float32))


def test_name_version_and_tensor_names_are_read_back(model: Model) -> None:
    model.description = "four edges"
    attach_metadata(model, name="edges", version="2.1")

    metadata = root(model.metadata["TFLITE_METADATA"])

    assert [metadata.text(slot) for slot in (0, 1, 2)] == ["edges", "four edges", "2.1"]
    (subgraph,) = metadata.children(3)
    assert [tensor.text(0) for tensor in subgraph.children(2)] == ["image"]
    assert [tensor.text(0) for tensor in subgraph.children(3)] == ["features"]
    assert metadata.text(7) == "1.0.0"


def test_normalization_is_told_for_pixels_from_0_to_255(model: Model) -> None:
    attach_metadata(model, name="edges", preprocess={"image": IMAGENET})

    (tensor,) = root(model.metadata["TFLITE_METADATA"]).children(3)[0].children(2)

    (unit,) = tensor.children(4)
    assert unit.byte(0) == 1  # NormalizationOptions
    # The known pixel-scale constants of ImageNet, e.g. in torchvision's and MLPerf's documents.
    assert unit.child(1).floats(0) == pytest.approx([123.675, 116.28, 103.53])
    assert unit.child(1).floats(1) == pytest.approx([58.395, 57.12, 57.375])


def test_rgb_input_is_told_as_an_image_and_a_bgr_one_is_not(model: Model) -> None:
    kinds = []
    for colour in ("RGB", "BGR"):
        attach_metadata(model, name="edges", preprocess={"image": Preprocess(colour=colour)})
        (tensor,) = root(model.metadata["TFLITE_METADATA"]).children(3)[0].children(2)
        kinds.append(tensor.child(3).byte(0))

    assert kinds == [2, 1]  # ImageProperties, FeatureProperties


def test_labels_are_named_by_the_output_and_zipped_onto_the_file(model: Model) -> None:
    files = attach_metadata(model, name="edges", labels={"features": ["up", "down", "l", "r"]})

    data = model_to_bytes(model, files=files)

    (tensor,) = root(model.metadata["TFLITE_METADATA"]).children(3)[0].children(3)
    (associated,) = tensor.children(6)
    assert (associated.text(0), associated.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("labels.txt") == b"up\ndown\nl\nr\n"


def test_metadata_is_a_buffer_of_the_file(model: Model) -> None:
    attach_metadata(model, name="edges")

    entries = dict(read_tflite(model_to_bytes(model)).metadata)

    assert entries["TFLITE_METADATA"] == len(model.metadata["TFLITE_METADATA"])


def test_input_without_preprocessing_has_no_normalization() -> None:
    described = describe_input("tokens", None)

    assert (described.colour, described.mean, described.std) == (None, (), ())


def test_labels_of_an_unknown_output_are_refused(model: Model) -> None:
    with pytest.raises(ModelError, match="names output 'scores'; this model has features"):
        attach_metadata(model, name="edges", labels={"scores": ["a"]})


def test_label_with_a_line_break_is_refused(model: Model) -> None:
    with pytest.raises(ModelError, match=r"label 'two\\nlines' has a line break"):
        attach_metadata(model, name="edges", labels={"features": ["two\nlines"]})
