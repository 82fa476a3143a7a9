"""The networks of docs/accuracy.md: trained ones, with real data, and what each promises."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
sys.path[:0] = [str(ROOT / "tests")]

import numpy as np  # noqa: E402

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
    """

    name: str
    needs: Path
    prepare: Callable[[Path], Job]
    about: str


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


def _yolox(folder: Path) -> Job:
    photos = sorted((DATA / "data-imagenet-samples").glob("*.jpg"))
    coco = sorted((DATA / "data-coco-unlabelled").glob("*.jpg"))
    # Every other one, so that both sets have all kinds.
    sets = {"calibration": photos[::2][:64], "held-out": [*photos[1::2][:40], *coco]}
    for name, paths in sets.items():
        (folder / name).mkdir()
        for path in paths:
            (folder / name / path.name).symlink_to(path)
    terms = Terms(
        calibration=folder / "calibration",
        validation=folder / "held-out",
        metric="map",
        decoder="yolox",
        promise=Promise.parse("10%"),
    )
    model = DATA / "model-det-yolox-nano" / "yolox_nano.onnx"
    return Job(model, terms, "letterbox-topleft,bgr")


def _yunet(folder: Path) -> Job:
    del folder
    terms = Terms(
        calibration=DATA / "data-faces-caltech",
        validation=DATA / "data-coco-unlabelled",
        metric="map",
        decoder="yunet",
        promise=Promise.parse("5%"),
        samples=100,
    )
    return Job(DATA / "model-face-yunet" / "yunet_n_640_640.onnx", terms, "letterbox-topleft,bgr")


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
    Case("PP-OCR cls", DATA, _ppocr, "photos, which are no text: a stress, not its task"),
    Case(
        "YOLOX-nano",
        DATA,
        _yolox,
        "calibrated on ImageNet photos, boxes against the float model's on others and COCO's",
    ),
    Case("YuNet", DATA, _yunet, "boxes against the float model's, COCO photos"),
    Case("ESPNet", DATA, _espnet, "CamVid, every fourth picture of the test set"),
)
