"""Trained networks that are brought to ONNX first, or judged on pictures with classes.

``read_pictures`` gives one with its pictures split: some to calibrate with, all others to measure
on. What is not here is named by environment variables: EDGEKIT_TF_PYTHON (keras_to_onnx.py),
EDGEKIT_EFFICIENTNET_LITE0 (tests/networks/efficientnet.py; without it the weights are seeded), and
EDGEKIT_PPOCR_DET: the file ch_PP-OCRv4_det_infer.onnx of the PyPI package rapidocr-onnxruntime
1.4.4 (Apache-2.0), a trained network of MobileNetV3's blocks: hard swish, squeeze and excite.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
from networks import REAL_FOLDER
from networks.efficientnet import PREPROCESS as LITE_STEPS
from networks.efficientnet import efficientnet_lite0, trained_efficientnet_lite0, weights_file

from benchmarks.peer import keras_to_onnx
from benchmarks.tflite_int8 import Feed, Source
from edgekit.converters.frontends.onnx import load_onnx
from edgekit.converters.passes import simplify
from edgekit.graph import Graph
from edgekit.preprocess import Preprocess

TEXT_DETECTOR = "EDGEKIT_PPOCR_DET"
# So many of the pictures calibrate at most, for sets that are small.
LARGEST_SHARE = 0.5


@dataclass(frozen=True)
class LabelledSource(Source):
    """A network, its samples, and the classes of the ``others`` where they are known."""

    labels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class PictureNetwork:
    """How a network comes about, and what it looks at.

    Args:
        make: Writes it into a folder or finds it; returns its file.
        pictures: Folder of them under the data folder.
        steps: As ``Preprocess.parse`` takes them.
        label: Class of a picture by its file.
        shapes: Sizes to fix, by input.
    """

    make: Callable[[Path], Path]
    pictures: str
    steps: str
    label: Callable[[Path], int] | None = None
    shapes: dict[str, tuple[int, ...]] | None = None


def _resnet8(folder: Path) -> Path:
    result = folder / "resnet8.onnx"
    keras_to_onnx(REAL_FOLDER / "model-cls-mlperf-resnet8" / "pretrainedResnet.h5", result)
    return result


def _mini_xception(folder: Path) -> Path:
    result = folder / "mini_xception.onnx"
    (source,) = (REAL_FOLDER / "model-face-minixception").glob("*.hdf5")
    keras_to_onnx(source, result)
    return result


def _efficientnet(folder: Path) -> Path:
    weights = weights_file()
    model = efficientnet_lite0() if weights is None else trained_efficientnet_lite0(weights)
    onnx.save(model, folder / "efficientnet_lite0.onnx")
    return folder / "efficientnet_lite0.onnx"


def _text_detector(folder: Path) -> Path:
    path = Path(os.environ.get(TEXT_DETECTOR, ""))
    if not path.is_file():
        raise FileNotFoundError(f"{TEXT_DETECTOR} names no file")
    model = onnx.load(path)
    # Where there is no text all scores are about 1e-6, and what is compared is how a runtime
    # rounds its Sigmoid (two float runtimes have a cosine of 0.85). The logits tell more.
    last = next(node for node in model.graph.node if node.output[0] == model.graph.output[0].name)
    assert last.op_type == "Sigmoid", f"{path.name} ends in {last.op_type}"
    model.graph.output[0].name = last.input[0]
    model.graph.node.remove(last)
    onnx.save(model, folder / "ppocr_v4_det.onnx")
    return folder / "ppocr_v4_det.onnx"


def _file(*parts: str) -> Callable[[Path], Path]:
    return lambda _: REAL_FOLDER.joinpath(*parts)


PICTURE_NETWORKS = {
    "resnet8": PictureNetwork(
        _resnet8,
        "data-cifar10-test",
        "rgb,nhwc",
        lambda path: int(path.parent.name.split("_")[0]),
    ),
    "efficientnet_lite0": PictureNetwork(
        _efficientnet, "data-imagenet-samples", LITE_STEPS, lambda path: int(path.name[:4])
    ),
    "mini_xception": PictureNetwork(
        _mini_xception, "data-faces-orl", "gray,nhwc,scale=1/127.5,mean=1"
    ),
    "ppocr_v4_det": PictureNetwork(
        _text_detector,
        "data-imagenet-samples",
        "rgb,scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225",
        shapes={"x": (1, 3, 320, 320)},
    ),
    # Its own set of subjects.py holds 20 photos, too few to keep both kinds apart.
    "yolox_nano": PictureNetwork(
        _file("model-det-yolox-nano", "yolox_nano.onnx"),
        "data-imagenet-samples",
        "letterbox-topleft,bgr",
    ),
}


def read_pictures(name: str, work: Path, count: int) -> LabelledSource:
    """Return a network of ``PICTURE_NETWORKS`` with ``count`` pictures to calibrate.

    Raises:
        RuntimeError: tf2onnx is not there, or fails.
        FileNotFoundError: No variable names its file.
    """
    how = PICTURE_NETWORKS[name]
    graph = simplify(load_onnx(how.make(work), shapes=how.shapes))
    suffixes = (".jpg", ".png", ".pgm", ".bmp")
    found = (REAL_FOLDER / how.pictures).rglob("*")
    paths = sorted(path for path in found if path.suffix.lower() in suffixes)
    order = np.random.default_rng(0).permutation(len(paths))
    paths = [paths[index] for index in order]
    count = min(count, int(len(paths) * LARGEST_SHARE))
    feeds = [_feed(graph, path, Preprocess.parse(how.steps)) for path in paths]
    labels = None if how.label is None else tuple(how.label(path) for path in paths[count:])
    if name == "efficientnet_lite0" and weights_file() is None:
        labels = None
    return LabelledSource(name, graph, feeds[:count], feeds[count:], labels)


def _feed(graph: Graph, path: Path, steps: Preprocess) -> Feed:
    flag = cv2.IMREAD_GRAYSCALE if steps.frame_channels == 1 else cv2.IMREAD_COLOR
    frame = cv2.imread(str(path), flag)
    (spec,) = graph.inputs
    return {spec.name: steps.apply(frame, spec)}
