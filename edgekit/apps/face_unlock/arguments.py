"""Arguments that the actions share, and what is made of them."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from pathlib import Path

import cv2

from edgekit.apps.face_unlock.recognise import (
    LIVE_THRESHOLD,
    MIN_EYES,
    MIN_SHARPNESS,
    THRESHOLD,
    Limits,
    Recogniser,
    open_recogniser,
)
from edgekit.apps.face_unlock.store import FaceStore, load_store
from edgekit.apps.vision.video import Source
from edgekit.errors import UsageError


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the bundles, where they run, and what a face must be."""
    bundle = {"required": True, "type": Path, "metavar": "FILE"}
    parser.add_argument("--detector", **bundle, help="bundle of a YuNet")  # type: ignore[arg-type]
    parser.add_argument("--embedder", **bundle, help="bundle of a face embedder")  # type: ignore[arg-type]
    parser.add_argument(
        "--liveness",
        action="append",
        default=[],
        metavar="[SCALE=]FILE",
        help="bundle of a model that tells a face from a picture of one, and how many sides of "
        "the face's box it looks at (2.7); may be repeated: the mean counts",
    )
    parser.add_argument("--device", default="auto", metavar="RUNTIME", help="run all on this one")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads of each model and of OpenCV"
    )
    limits = parser.add_argument_group("what is accepted")
    for name, value, words in (
        ("--threshold", THRESHOLD, "cosine from which two faces are one person's"),
        ("--liveness-threshold", LIVE_THRESHOLD, "chance of being live, 0 to 1"),
        ("--min-eyes", MIN_EYES, "pixels between the eyes"),
        ("--min-sharpness", MIN_SHARPNESS, "of the aligned face; 0 takes any"),
    ):
        limits.add_argument(
            name, type=float, default=value, metavar="X", help=f"{words} (default: {value:g})"
        )


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the file of enrolled people."""
    parser.add_argument(
        "--store", required=True, type=Path, metavar="FILE", help="the enrolled people (.json)"
    )


def store_of(arguments: argparse.Namespace, recogniser: Recogniser) -> FaceStore:
    """Return the enrolled people, as the embedder sees them.

    Raises:
        UsageError: There is no such file.
        StoreError: It is no store, or that of another embedder.
    """
    path = arguments.store
    if not path.exists():
        raise UsageError(f"{path} does not exist; edgekit app face-unlock enroll writes it")
    embedder = recogniser.embedder
    return load_store(path, embedder=embedder.fingerprint, model=embedder.name)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add where frames come from."""
    parser.add_argument("--camera", type=int, metavar="N", help="a camera: 0 is /dev/video0")
    parser.add_argument("--csi", type=int, metavar="N", help="a Jetson's CSI camera, by GStreamer")
    parser.add_argument("--video", type=Path, metavar="FILE", help="a video file")


def add_json(parser: argparse.ArgumentParser, *, is_stream: bool = False) -> None:
    """Add ``--json``."""
    what = "one JSON document on each line" if is_stream else "one JSON document"
    parser.add_argument("--json", action="store_true", help=f"print {what} and nothing else")


def has_source(arguments: argparse.Namespace) -> bool:
    """Return whether a source of frames is given."""
    return any(value is not None for value in (arguments.camera, arguments.csi, arguments.video))


def source_of(arguments: argparse.Namespace) -> Source:
    """Return where frames come from.

    Raises:
        UsageError: Not one of the three is given.
    """
    return Source(camera=arguments.camera, csi=arguments.csi, video=arguments.video)


def recogniser_of(arguments: argparse.Namespace) -> AbstractContextManager[Recogniser]:
    """Return the models to open; OpenCV is held to ``--threads`` too.

    Raises:
        UsageError: A limit is out of its range.
    """
    if arguments.threads is not None and arguments.threads > 0:
        cv2.setNumThreads(arguments.threads)
    return open_recogniser(
        detector=arguments.detector,
        embedder=arguments.embedder,
        liveness=arguments.liveness,
        limits=Limits(
            threshold=arguments.threshold,
            live=arguments.liveness_threshold,
            eyes=arguments.min_eyes,
            sharpness=arguments.min_sharpness,
        ),
        device=arguments.device,
        threads=arguments.threads,
    )
