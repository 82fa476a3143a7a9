"""Bundles of the trained face networks, and the pictures, for the tests of the app."""

from __future__ import annotations

from pathlib import Path

import onnx
from networks.minifasnet import LABELS, WEIGHTS, trained_minifasnet
from networks.minifasnet import PREPROCESS as LIVENESS_STEPS

from edgekit.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
DETECTOR = DATA / "model-face-yunet" / "yunet_n_640_640.onnx"
EMBEDDER = DATA / "model-face-mobileface-v2" / "mobileface_v2.onnx"
CALTECH = DATA / "data-faces-caltech"
NUAA = DATA / "data-antispoof-nuaa"

NEEDED = (DETECTOR, EMBEDDER, CALTECH, NUAA, *WEIGHTS.values())
REASON = "the trained face networks and pictures are not beside the repository"


def are_there() -> bool:
    """Return whether every network and picture is there."""
    return all(path.exists() for path in NEEDED)


def convert(model: Path, output: Path, *words: str) -> Path:
    """Return the bundle of a model, made by the command that the page shows."""
    assert main(["convert", str(model), *words, "-o", str(output)]) == 0
    return output


def make_bundles(folder: Path) -> dict[str, Path]:
    """Return the bundles by their part: detector, embedder, 2.7, 4.0."""
    every = ("-t", "onnx", "-t", "openvino", "-t", "tflite")
    bundles = {
        "detector": convert(
            DETECTOR, folder / "yunet.edgekit", *every, "--preprocess", "letterbox-topleft,bgr"
        ),
        "embedder": convert(
            EMBEDDER, folder / "mobileface.edgekit", *every, "--preprocess", "none,rgb"
        ),
    }
    labels = folder / "labels.txt"
    labels.write_text("\n".join(LABELS), encoding="utf-8")
    for scale, weights in WEIGHTS.items():
        source = folder / f"minifasnet-{scale}.onnx"
        onnx.save(trained_minifasnet(weights), source)
        bundles[scale] = convert(
            source, folder / f"minifasnet-{scale}.edgekit", "-t", "onnx",
            "--preprocess", LIVENESS_STEPS, "--labels", str(labels),
        )  # fmt: skip
    return bundles
