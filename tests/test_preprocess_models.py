"""The preprocessing of real, trained models: each is expressible, and the right one works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.preprocess import Preprocess
from edgekit.quantization import Quantization
from edgekit.tensor import TensorSpec

cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install 'edgekit[vision]'")

DATA = Path(__file__).parents[2] / "shared" / "data"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the sample models are not in {DATA}")


@dataclass(frozen=True)
class ModelCase:
    """A model's preprocessing and what it makes of black and of a pure red of 255."""

    id: str
    text: str
    shape: tuple[int, ...]
    black: tuple[float, ...]
    red: tuple[float, ...]


# Formulas as the models' authors publish them, worked out for 0 and 255 by hand.
MODEL_CASES = [
    ModelCase("yunet", "stretch,bgr", (1, 3, 640, 640), (0, 0, 0), (0, 0, 255)),
    ModelCase("ultraface", "rgb,mean=127,std=128", (1, 3, 240, 320),
              (-127 / 128,) * 3, (1, -127 / 128, -127 / 128)),
    ModelCase("mtcnn", "bgr,mean=127.5,std=128", (1, 3, 48, 48),
              (-127.5 / 128,) * 3, (-127.5 / 128, -127.5 / 128, 127.5 / 128)),
    ModelCase("face_landmark", "rgb,nhwc,scale=1/255", (1, 192, 192, 3), (0, 0, 0), (1, 0, 0)),
    ModelCase("blazeface", "letterbox,rgb,nhwc,scale=1/127.5,mean=1", (1, 128, 128, 3),
              (-1, -1, -1), (1, -1, -1)),
    ModelCase("mobileface", "rgb", (1, 3, 112, 112), (0, 0, 0), (255, 0, 0)),
    ModelCase("minifasnet", "bgr", (1, 3, 80, 80), (0, 0, 0), (0, 0, 255)),
    ModelCase("ssrnet", "bgr,nhwc", (1, 64, 64, 3), (0, 0, 0), (0, 0, 255)),
    # (76/255 - 0.5) * 2; grey of red is 0.299 * 255 = 76.2, rounded.
    ModelCase("mini_xception", "gray,nhwc,scale=1/127.5,mean=1", (1, 64, 64, 1),
              (-1,), (76 / 127.5 - 1,)),
    ModelCase("yolox", "letterbox-topleft,bgr,pad=114", (1, 3, 416, 416), (0, 0, 0), (0, 0, 255)),
    ModelCase("espnet",
              "bgr,mean=110.331:108.409:105.033,std=72.126*255:72.691*255:69.904*255",
              (1, 3, 360, 480),
              (-110.331 / 72.126 / 255, -108.409 / 72.691 / 255, -105.033 / 69.904 / 255),
              (-110.331 / 72.126 / 255, -108.409 / 72.691 / 255, (255 - 105.033) / 69.904 / 255)),
    ModelCase("mobilenet_v2_quant", "center-crop,crop=0.875,rgb,nhwc,uint8", (1, 224, 224, 3),
              (0, 0, 0), (255, 0, 0)),
    ModelCase("resnet8_int8", "rgb,nhwc,int8,mean=128", (1, 32, 32, 3),
              (-128, -128, -128), (127, -128, -128)),
    ModelCase("pp_ocr", "bgr,scale=1/255,mean=0.5,std=0.5", (1, 3, 48, 192),
              (-1, -1, -1), (-1, -1, 1)),
    ModelCase("imagenet_torch",
              "shortest-side,crop=0.875,rgb,scale=1/255,mean=0.485:0.456:0.406,"
              "std=0.229:0.224:0.225", (1, 3, 224, 224),
              (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
              ((1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225)),
]  # fmt: skip


@pytest.mark.parametrize("case", MODEL_CASES, ids=lambda case: case.id)
def test_a_models_published_preprocessing_is_one_line(case: ModelCase) -> None:
    preprocess = Preprocess.parse(case.text)
    spec = TensorSpec("image", preprocess.dtype, case.shape)
    frames = np.zeros((2, 50, 60, 3), np.uint8)
    frames[1, :, :, 2] = 255  # OpenCV's order: the last channel is red

    black, red = (preprocess.apply(frame, spec) for frame in frames)

    # All channels of the pixel in the middle, where no letterbox pads.
    is_planar = preprocess.layout.value == "NCHW"
    y, x = (size // 2 for size in (case.shape[2:] if is_planar else case.shape[1:3]))
    pixel = (0, slice(None), y, x) if is_planar else (0, y, x)
    assert black.shape == case.shape
    np.testing.assert_allclose(black[pixel], case.black, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(red[pixel], case.red, rtol=1e-6, atol=1e-6)


def test_a_real_uint8_code_leaves_the_bytes_alone() -> None:
    # MobileNetV2 quant: real = (q - 128) / 128, trained on x / 128 - 1.
    preprocess = Preprocess.parse("rgb,nhwc,uint8,scale=1/128,mean=1,quantization=1/128:128")
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)

    result = preprocess.apply(frame, TensorSpec("image", preprocess.dtype, (1, 16, 16, 3)))

    assert preprocess.quantization == Quantization((1 / 128,), (128,))
    np.testing.assert_array_equal(result[0], frame)


def run_onnx(path: Path, preprocess: Preprocess, frame: Any) -> list[Any]:
    ort = pytest.importorskip("onnxruntime", reason="needs pip install 'edgekit[onnxruntime]'")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    spec = TensorSpec(source.name, preprocess.dtype, tuple(source.shape))
    return list(session.run(None, {source.name: preprocess.apply(frame, spec)}))


@needs_data
@pytest.mark.parametrize("person", ["p01", "p02", "p03"])
def test_ultraface_finds_the_face_through_the_contract(person: str) -> None:
    photo = sorted((DATA / "data-faces-caltech" / person).iterdir())[0]
    preprocess = Preprocess.parse("rgb,mean=127,std=128")
    model = DATA / "model-face-ultraface-rfb320/version-RFB-320_without_postprocessing.onnx"

    scores, _ = run_onnx(model, preprocess, cv2.imread(str(photo)))

    assert scores[0, :, 1].max() > 0.95


@needs_data
def test_yolox_finds_the_bear_where_it_is_through_the_contract() -> None:
    frame = cv2.imread(str(DATA / "data-coco-unlabelled/000000000285.jpg"))
    preprocess = Preprocess.parse("letterbox-topleft,bgr,pad=114")

    raw = run_onnx(DATA / "model-det-yolox-nano/yolox_nano.onnx", preprocess, frame)[0][0]

    scores = raw[:, 4:5] * raw[:, 5:]
    bear = 21  # line of the model's coco_classes.txt, from 0
    assert scores.max() > 0.7
    assert scores.max(axis=0).argmax() == bear


@needs_data
def test_mobilenet_v2_quant_knows_real_pictures_through_the_contract() -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs edgekit[tflite]")
    model = DATA / "model-cls-mobilenetv2-quant/mobilenet_v2_1.0_224_quant.tflite"
    interpreter = litert.Interpreter(model_path=str(model))
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    preprocess = Preprocess.parse("center-crop,crop=0.875,rgb,nhwc,uint8")
    spec = TensorSpec("image", preprocess.dtype, tuple(int(size) for size in source["shape"]))
    photos = sorted((DATA / "data-imagenet-samples").glob("*.jpg"))[::4]

    hits = 0
    for photo in photos:
        interpreter.set_tensor(source["index"], preprocess.apply(cv2.imread(str(photo)), spec))
        interpreter.invoke()
        best = int(interpreter.get_tensor(result["index"])[0].argmax())
        # The name starts with the class of ImageNet; the model counts background as 0.
        hits += best == int(photo.name.split("_")[0].lstrip("n")) + 1

    assert hits / len(photos) > 0.8  # published with these photos: 88 %
