"""Measure what a small and a blurred face cost: the tables of docs/face_unlock.md.

    python scripts/measure_face_limits.py FOLDER --detector yunet.edgekit --embedder emb.edgekit

FOLDER has a folder of pictures for each person. Each picture is made worse and compared with
all the others as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgekit.apps.face_unlock.faces import (
    TEMPLATE,
    Face,
    align_face,
    embed_face,
    find_faces,
    sharpness,
)
from edgekit.apps.face_unlock.recognise import MIN_SHARPNESS, THRESHOLD, Recogniser, open_recogniser
from edgekit.apps.vision.images import PICTURES, read_frame

Array = NDArray[Any]
Frame = NDArray[np.uint8]

EYES = (32, 24, 20, 16, 12, 8)
SIGMAS = (1.0, 1.5, 2.0, 2.5)


def main() -> None:
    """Print a row for each degradation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--embedder", type=Path, required=True)
    arguments = parser.parse_args()
    with open_recogniser(
        detector=arguments.detector, embedder=arguments.embedder, threads=1
    ) as recogniser:
        _measure(recogniser, arguments.folder)


def _measure(recogniser: Recogniser, folder: Path) -> None:
    frames, faces, names = [], [], []
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() not in PICTURES:
            continue
        frame = read_frame(path)
        found = find_faces(recogniser.detector, frame)
        if found:
            frames.append(frame)
            faces.append(found[0])
            names.append(path.parent.name)
    label = np.array(names)
    is_same = (label[:, None] == label) & ~np.eye(len(label), dtype=bool)
    is_other = label[:, None] != label
    gallery = np.stack([_vector(recogniser, *pair) for pair in zip(frames, faces, strict=True)])
    median = np.median([face.eye_distance for face in faces])
    print(f"{len(frames)} faces, {median:.0f} pixels between the eyes (median)")

    def show(words: str, worsen: Callable[[Frame, Face], tuple[Frame, Face | None]]) -> None:
        vectors, blurred, lost = np.zeros_like(gallery), 0, 0
        for index, (frame, face) in enumerate(zip(frames, faces, strict=True)):
            worse, seen = worsen(frame, face)
            if seen is None:
                lost += 1  # its vector stays 0, which is like nobody
                continue
            vectors[index] = _vector(recogniser, worse, seen)
            blurred += sharpness(align_face(worse, seen)) < MIN_SHARPNESS
        cosine = vectors @ gallery.T
        print(
            f"{words:<12} friends that do not pass {np.mean(cosine[is_same] < THRESHOLD):6.2%}, "
            f"strangers that do {np.mean(cosine[is_other] >= THRESHOLD):7.3%}, "
            f"blurred {blurred / len(faces):6.2%}, not found {lost}"
        )

    def smaller(eyes: float) -> Callable[[Frame, Face], tuple[Frame, Face | None]]:
        def shrink(frame: Frame, face: Face) -> tuple[Frame, Face | None]:
            factor = eyes / face.eye_distance
            small = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            return small, next(iter(find_faces(recogniser.detector, small)), None)

        return shrink

    def softer(sigma: float) -> Callable[[Frame, Face], tuple[Frame, Face | None]]:
        def blur(frame: Frame, face: Face) -> tuple[Frame, Face | None]:
            # In pixels of the aligned face.
            factor = face.eye_distance / (TEMPLATE[1, 0] - TEMPLATE[0, 0])
            return cv2.GaussianBlur(frame, (0, 0), sigma * factor), face

        return blur

    show("as they are", lambda frame, face: (frame, face))
    for eyes in EYES:
        show(f"eyes {eyes}", smaller(eyes))
    for sigma in SIGMAS:
        show(f"blur {sigma}", softer(sigma))


def _vector(recogniser: Recogniser, frame: Frame, face: Face) -> Array:
    return embed_face(recogniser.embedder, align_face(frame, face))


if __name__ == "__main__":
    main()
