"""From a frame to who is in it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.apps.face_unlock.faces import (
    Face,
    align_face,
    embed_face,
    find_faces,
    sharpness,
    side_of,
)
from edgekit.apps.face_unlock.liveness import LivenessModel, live_chance, open_liveness
from edgekit.apps.face_unlock.store import FaceStore
from edgekit.apps.vision.model import FrameModel, open_frame_model
from edgekit.errors import UsageError

Frame = NDArray[np.uint8]

THRESHOLD = 0.55
"""Cosine from which two faces are one person's.

At it 0.05 % of the pairs of two persons pass on Caltech's faces and 0.02 % on ORL's, with the
models of docs/face_unlock.md; another embedder needs another one: ``evaluate`` tells it."""

LIVE_THRESHOLD = 0.5
MIN_EYES = 24.0
MIN_SHARPNESS = 0.003
BACKGROUND = 0.5
"""A face whose eyes are nearer together than this part of the largest one's is a passer-by."""


@dataclass(frozen=True)
class Limits:
    """What a face must be to be accepted.

    Args:
        threshold: Cosine from which two faces are one person's, in (0, 1).
        live: Chance of being live, from the liveness models, in [0, 1].
        eyes: Pixels between the eyes.
        sharpness: As ``faces.sharpness`` measures it; 0 takes any.

    Raises:
        UsageError: A limit is out of its range.
    """

    threshold: float = THRESHOLD
    live: float = LIVE_THRESHOLD
    eyes: float = MIN_EYES
    sharpness: float = MIN_SHARPNESS

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UsageError(f"threshold {self.threshold}; a cosine between 0 and 1 is expected")
        if not 0 <= self.live <= 1:
            raise UsageError(f"liveness threshold {self.live}; expected 0 to 1")
        if not (self.eyes >= 0 and self.sharpness >= 0):
            raise UsageError("the least eye distance and sharpness are numbers from 0 up")


@dataclass(frozen=True)
class View:
    """What was made of one frame.

    Args:
        faces: All that were found, the largest first.
        problem: Why nobody can be known from it, or ``""``.
        aligned: The face upright in a square, as the embedder takes it; None where there is a
            problem before it.
        vector: Of the face, float32, of length 1; None likewise.
        live: Chance of being live; None without a liveness model.
        name: Of the person that it is nearest to; ``""`` where nobody is enrolled.
        cosine: To that person.
        is_known: Whether that is above the threshold, and nothing is wrong.
        times_ms: Spent on each step.
    """

    faces: tuple[Face, ...] = ()
    problem: str = ""
    aligned: Frame | None = None
    vector: NDArray[np.float32] | None = None
    live: float | None = None
    name: str = ""
    cosine: float | None = None
    is_known: bool = False
    times_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """What is to be said of it, in a few words."""
        if self.problem:
            return self.problem
        if self.is_known:
            return f"this is {self.name}"
        return "nobody that is enrolled" if self.name else "nobody is enrolled"

    @property
    def kind_of_problem(self) -> str:
        """The problem without its figures and what to do, to be counted."""
        return self.problem.partition(":")[0].partition(";")[0]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict, without the vector."""
        return {
            "known": self.name if self.is_known else None,
            "nearest": self.name or None,
            "cosine": _rounded(self.cosine),
            "live": _rounded(self.live),
            "problem": self.problem or None,
            "faces": [
                {
                    "box_xyxy": [round(float(v), 1) for v in face.box_xyxy],
                    "score": round(face.score, 4),
                }
                for face in self.faces
            ],
            "times_ms": {name: round(value, 2) for name, value in self.times_ms.items()},
        }


@dataclass(frozen=True)
class Recogniser:
    """The open models.

    Args:
        detector: Finds faces.
        embedder: Turns an aligned one into a vector.
        liveness: Tell it from a picture; none leaves that out.
        limits: What is accepted.
    """

    detector: FrameModel
    embedder: FrameModel
    liveness: Sequence[LivenessModel] = ()
    limits: Limits = field(default_factory=Limits)

    def look(self, frame: Frame, store: FaceStore | None = None) -> View:
        """Return what a frame shows.

        Args:
            frame: uint8, (height, width, 3), blue first.
            store: Who may be known; None stops at the vector.
        """
        times: dict[str, float] = {}
        with _timed(times, "detect"):
            faces = tuple(find_faces(self.detector, frame))
        problem = self._problem_of(faces)
        if problem:
            return View(faces, problem, times_ms=times)
        face = faces[0]
        with _timed(times, "align"):
            aligned = align_face(frame, face, side_of(self.embedder))
            sharp = sharpness(aligned)
        if sharp < self.limits.sharpness:
            return View(faces, "the face is blurred; hold still, or clean the lens", times_ms=times)
        with _timed(times, "embed"):
            vector = embed_face(self.embedder, aligned)
        live = None
        if self.liveness:
            with _timed(times, "liveness"):
                live = live_chance(self.liveness, frame, face.box_xyxy)
            if live < self.limits.live:
                problem = f"this looks like a picture of a face: live {live:.2f}"
        nearest = None if store is None else store.nearest(vector)
        return View(
            faces,
            problem,
            aligned,
            vector,
            live,
            name="" if nearest is None else nearest.name,
            cosine=None if nearest is None else nearest.cosine,
            is_known=not problem
            and nearest is not None
            and nearest.cosine >= self.limits.threshold,
            times_ms=times,
        )

    def _problem_of(self, faces: Sequence[Face]) -> str:
        if not faces:
            return "no face"
        largest = faces[0].eye_distance
        if largest < self.limits.eyes:
            return (
                f"the face is too small: {largest:.0f} pixels between the eyes, "
                f"{self.limits.eyes:.0f} are needed; come nearer"
            )
        near = [face for face in faces if face.eye_distance >= BACKGROUND * largest]
        return f"{len(near)} faces; one alone is needed" if len(near) > 1 else ""


@contextmanager
def open_recogniser(
    *,
    detector: Path,
    embedder: Path,
    liveness: Sequence[str] = (),
    limits: Limits | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Iterator[Recogniser]:
    """Open the models; their sessions are closed when the block is left.

    Args:
        detector: Bundle of the detector.
        embedder: Bundle of the embedder.
        liveness: ``[SCALE=]FILE`` of each liveness model.
        limits: What is accepted; None is the default.
        device: As ``edgekit.load`` takes it.
        threads: CPU threads of one call; None leaves it to the engine.

    Raises:
        UsageError, BundleError, SessionError: As of ``open_frame_model``.
    """
    with ExitStack() as stack:
        found = open_frame_model(detector, device=device, threads=threads)
        stack.callback(found.session.close)
        known = open_frame_model(embedder, device=device, threads=threads)
        stack.callback(known.session.close)
        side_of(known)
        lives = []
        for text in liveness:
            lives.append(open_liveness(text, device=device, threads=threads))
            stack.callback(lives[-1].model.session.close)
        yield Recogniser(found, known, lives, limits or Limits())


@contextmanager
def _timed(times: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times[name] = (time.perf_counter() - start) * 1e3


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
