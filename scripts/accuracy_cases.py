"""The networks of docs/accuracy.md: trained ones, with real data, and what each promises."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import numpy as np  # noqa: E402

from benchmarks.peer import KERAS, find_python, keras_to_onnx  # noqa: E402
from edgekit.calibration.contract import Promise  # noqa: E402
from edgekit.pipeline import Terms  # noqa: E402
from edgekit.runtimes.select import load  # noqa: E402

TARGETS = ("openvino:int8", "tflite:int8", "onnx:int8", "tensorrt:int8")


@dataclass(frozen=True)
class Job:
    """One conversion.

    Args:
        model: The float model.
        terms: Data, metric and promise.
        preprocess: As ``Preprocess.parse`` takes it.
        labels: File of class names.
        shapes: Fixed sizes by input name.
    """

    model: Path
    terms: Terms
    preprocess: str
    labels: Path | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A network of the table.

    Args:
        name: As the table has it.
        needs: What must be there.
        prepare: Makes the job; given an empty folder for what has to be made first.
        about: On which data, in words.
        lacks: Tells what else is missing here, ``""`` for nothing.
    """

    name: str
    needs: Path
    prepare: Callable[[Path], Job]
    about: str
    lacks: Callable[[], str] = str

    def reason_to_skip(self) -> str:
        """Return why the case cannot run here, or ``""``."""
        return self.lacks() if self.needs.exists() else f"{self.needs.name} is not there"


def _digits(folder: Path) -> Job:
    del folder
    here = ROOT / "examples" / "digits"
    terms = Terms(
        calibration=here / "calibration.npz",
        validation=here / "heldout.npz",
        metric="top1",
        promise=Promise.parse("1%"),
    )
    steps = "letterbox,gray,scale=1/255,mean=0.3,std=0.37"
    return Job(here / "digits.onnx", terms, steps, here / "labels.txt")


def _mobileface(folder: Path) -> Job:
    from faces import aligned_faces

    detector = load(DATA / "model-face-yunet" / "yunet_n_640_640.onnx", device="onnxruntime")
    with detector:
        for name, enlarge, step in (("orl", 3, 3), ("caltech", 1, 1)):
            source = DATA / f"data-faces-{name}"
            found = list(aligned_faces(detector, source, enlarge=enlarge, step=step))
            np.savez(
                folder / f"{name}.npz",
                data=np.stack([item.inputs["data"] for item in found]),
                labels=np.array([item.expected for item in found]),
            )
    terms = Terms(
        calibration=folder / "orl.npz",
        validation=folder / "caltech.npz",
        metric="eer",
        promise=Promise.parse("0.001"),
    )
    return Job(DATA / "model-face-mobileface-v2" / "mobileface_v2.onnx", terms, "none,rgb")


def _ppocr(folder: Path) -> Job:
    del folder
    terms = Terms(
        calibration=DATA / "data-imagenet-samples", metric="cosine", promise=Promise.parse("1%")
    )
    model = DATA / "model-ocr-ppocr-cls" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    return Job(
        model, terms, "stretch,bgr,scale=1/255,mean=0.5,std=0.5", shapes={"": (1, 3, 48, 192)}
    )


def _resnet8(folder: Path) -> Job:
    model = DATA / "model-cls-mlperf-resnet8" / "pretrainedResnet.h5"
    keras_to_onnx(model, folder / "resnet8.onnx")
    # The test set's folders are named by class: 0_airplane, 1_automobile, ...
    pictures = sorted((DATA / "data-cifar10-test").rglob("*.jpg"))
    labels = [int(path.parent.name.split("_")[0]) for path in pictures]
    terms = _split(pictures, labels, folder, every=10, name="input_0", promise="0.003")
    return Job(folder / "resnet8.onnx", terms, "rgb,nhwc")


def _lacks_keras() -> str:
    return "" if find_python(KERAS) else f"{KERAS} names no Python with tf2onnx in it"


def _efficientnet(folder: Path) -> Job:
    import onnx
    from networks.efficientnet import PREPROCESS, trained_efficientnet_lite0, weights_file

    weights = weights_file()
    assert weights is not None, "the case's lacks() tells"
    onnx.save(trained_efficientnet_lite0(weights), folder / "efficientnet_lite0.onnx")
    # A picture's name starts with its class.
    pictures = sorted((DATA / "data-imagenet-samples").glob("*.jpg"))
    labels = [int(path.name[:4]) for path in pictures]
    # One of 165 pictures is 0.6 points: less than that cannot be promised on them.
    terms = _split(pictures, labels, folder, every=4, name="image", promise="0.01")
    return Job(folder / "efficientnet_lite0.onnx", terms, PREPROCESS)


def _lacks_efficientnet() -> str:
    from networks.efficientnet import VARIABLE, weights_file

    return "" if weights_file() else f"{VARIABLE} names no file of weights"


def _split(
    pictures: Sequence[Path],
    labels: Sequence[int],
    folder: Path,
    *,
    every: int,
    name: str,
    promise: str,
) -> Terms:
    """Return terms of top1: one of ``every`` pictures calibrates, the others judge."""
    import cv2

    frames = [cv2.imread(str(path)) for path in pictures]
    if len({frame.shape for frame in frames}) > 1:
        # One array holds pictures of one size; the model's own is what they become in any case.
        frames = [cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA) for frame in frames]
    chosen = np.arange(len(frames)) % every == 0
    data, classes = np.stack(frames), np.array(labels)
    np.savez(folder / "calibration.npz", **{name: data[chosen]})
    np.savez(folder / "held-out.npz", **{name: data[~chosen], "labels": classes[~chosen]})
    return Terms(
        calibration=folder / "calibration.npz",
        validation=folder / "held-out.npz",
        metric="top1",
        promise=Promise.parse(promise),
        validation_samples=int((~chosen).sum()),
    )


def _yolox(folder: Path) -> Job:
    photos = sorted((DATA / "data-imagenet-samples").glob("*.jpg"))
    coco = sorted((DATA / "data-coco-unlabelled").glob("*.jpg"))
    # Every other one, so that both sets have all kinds.
    calibration, held_out = _linked(folder, photos[::2][:64], [*photos[1::2][:40], *coco])
    terms = Terms(
        calibration=calibration,
        validation=held_out,
        metric="map",
        decoder="yolox",
        promise=Promise.parse("10%"),
    )
    model = DATA / "model-det-yolox-nano" / "yolox_nano.onnx"
    return Job(model, terms, "letterbox-topleft,bgr")


def _yunet(folder: Path) -> Job:
    faces = sorted((DATA / "data-faces-caltech").rglob("*.jpg"))
    coco = sorted((DATA / "data-coco-unlabelled").glob("*.jpg"))
    # A box more or less among the few people of COCO alone would be two points.
    calibration, held_out = _linked(folder, faces[::3][:100], [*faces[1::3][:90], *coco])
    terms = Terms(
        calibration=calibration,
        validation=held_out,
        metric="map",
        decoder="yunet",
        promise=Promise.parse("5%"),
        samples=100,
    )
    return Job(DATA / "model-face-yunet" / "yunet_n_640_640.onnx", terms, "letterbox-topleft,bgr")


def _linked(
    folder: Path, calibration: Sequence[Path], held_out: Sequence[Path]
) -> tuple[Path, Path]:
    """Return two folders of links to the pictures, which are named by where they are from."""
    for name, paths in (("calibration", calibration), ("held-out", held_out)):
        (folder / name).mkdir()
        for path in paths:
            (folder / name / f"{path.parent.name}-{path.name}").symlink_to(path)
    return folder / "calibration", folder / "held-out"


def _espnet(folder: Path) -> Job:
    import onnx
    from networks.espnet import PREPROCESS, trained_espnet

    onnx.save(trained_espnet(), folder / "espnet.onnx")
    terms = Terms(
        calibration=DATA / "data-camvid" / "train",
        validation=DATA / "data-camvid" / "test",
        metric="miou:uncounted=11",
        promise=Promise.parse("0.005"),
        samples=64,
        validation_samples=64,
    )
    return Job(folder / "espnet.onnx", terms, PREPROCESS)


CASES = (
    Case(
        "digits",
        ROOT / "examples" / "digits",
        _digits,
        "calibrated on training pictures, judged on held-out ones",
    ),
    Case("MobileFace V2", DATA, _mobileface, "calibrated on ORL faces, judged on Caltech's"),
    Case(
        "ResNet-8",
        DATA,
        _resnet8,
        "the MLPerf Tiny network, Keras' h5 by tf2onnx; CIFAR-10 test pictures, a tenth to "
        "calibrate, the others to judge",
        _lacks_keras,
    ),
    Case(
        "EfficientNet-Lite0",
        DATA,
        _efficientnet,
        "trained weights; ImageNet pictures, a quarter to calibrate, the others to judge",
        _lacks_efficientnet,
    ),
    Case(
        "PP-OCR cls",
        DATA,
        _ppocr,
        "a MobileNetV3-small; photos, which are no text: a stress, not its task",
    ),
    Case(
        "YOLOX-nano",
        DATA,
        _yolox,
        "calibrated on ImageNet photos, boxes against the float model's on others and COCO's",
    ),
    Case("YuNet", DATA, _yunet, "boxes against the float model's, Caltech faces and COCO photos"),
    Case("ESPNet", DATA, _espnet, "CamVid, every fourth picture of the test set"),
)
