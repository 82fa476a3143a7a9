"""Enroll a person: from pictures or from a camera to templates in the store."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.apps.app import Output
from edgekit.apps.face_unlock import arguments as given
from edgekit.apps.face_unlock.recognise import Recogniser
from edgekit.apps.face_unlock.store import FaceStore, check_name, load_store
from edgekit.apps.vision.images import read_frame
from edgekit.apps.vision.video import Source, open_frames
from edgekit.errors import FaceError, UsageError

Vector = NDArray[np.float32]

COUNT = 5
TIMEOUT_S = 30.0
SAME_VIEW = 0.95
"""Cosine from which a frame shows nothing new: the same pose in the same light."""

EXAMPLE = """example:
  edgekit app face-unlock enroll ada --image a.jpg --image b.jpg \\
      --detector yunet.edgekit --embedder mobileface.edgekit --store people.json"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("name", metavar="NAME", help="of the person")
    parser.add_argument(
        "--image", action="append", type=Path, default=[], metavar="FILE",
        help="a picture of the person alone; several, in different light, are better",
    )  # fmt: skip
    given.add_source(parser)
    parser.add_argument(
        "--count", type=int, default=COUNT, metavar="N",
        help=f"views to take from a camera or video (default: {COUNT})",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_S, metavar="S",
        help=f"seconds to wait for them at a camera (default: {TIMEOUT_S:g})",
    )  # fmt: skip
    given.add_store(parser)
    given.add_models(parser)
    given.add_json(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Take the templates, check them, and store them all or none."""
    check_name(arguments.name)
    source = given.source_of(arguments) if given.has_source(arguments) else None
    if bool(arguments.image) == (source is not None):
        what = f"pictures and {source} are" if source is not None else "nothing to enroll from is"
        raise UsageError(f"{what} given; give --image, or one of --camera, --csi and --video")
    if arguments.count < 1 or not arguments.timeout > 0:
        raise UsageError("--count is at least 1, and --timeout above 0")
    with given.recogniser_of(arguments) as recogniser:
        embedder = recogniser.embedder
        store = load_store(arguments.store, embedder=embedder.fingerprint, model=embedder.name)
        if source is None:
            taken = from_pictures(recogniser, arguments.image)
        else:
            taken = from_frames(recogniser, source, arguments.count, arguments.timeout, output.note)
        threshold = recogniser.limits.threshold
    check_one_person(taken, store.people.get(arguments.name), threshold)
    check_not_another(taken, store, arguments.name, threshold)
    vectors = np.stack([vector for _, vector in taken])
    changed = store.with_templates(arguments.name, vectors)
    changed.save(arguments.store)
    total = len(changed.people[arguments.name])
    output.answer(
        {
            "name": arguments.name,
            "added": len(taken),
            "templates": total,
            "people": len(changed.people),
            "store": str(arguments.store),
        }
    )
    views = "1 view" if len(taken) == 1 else f"{len(taken)} views"
    output.line(f"enrolled {arguments.name}: {views} added, {total} in all, in {arguments.store}")
    return 0


def from_pictures(recogniser: Recogniser, paths: Sequence[Path]) -> list[tuple[str, Vector]]:
    """Return file name and vector of each picture.

    Raises:
        FaceError: A picture does not show one face, large, sharp and live enough.
    """
    taken = []
    for path in paths:
        view = recogniser.look(read_frame(path))
        if view.problem or view.vector is None:
            raise FaceError(f"{path}: {view.problem}; nothing was stored")
        taken.append((path.name, view.vector))
    return taken


def from_frames(
    recogniser: Recogniser,
    source: Source,
    count: int,
    timeout_s: float,
    note: Callable[[str], None],
) -> list[tuple[str, Vector]]:
    """Return number and vector of the first frames that each show the person in a new way.

    Args:
        recogniser: The open models.
        source: Where frames come from.
        count: How many to take.
        timeout_s: When to be content with fewer, at a camera.
        note: Is told what is wrong, when that changes, and what was taken.

    Raises:
        FaceError: No frame was fit.
    """
    taken: list[tuple[str, Vector]] = []
    problems: Counter[str] = Counter()
    last, end_s = "", time.monotonic() + timeout_s
    with open_frames(source) as frames:
        for number, frame in enumerate(frames, start=1):
            view = recogniser.look(frame)
            problem = view.problem
            if view.vector is not None and not problem:
                if all(float(view.vector @ vector) < SAME_VIEW for _, vector in taken):
                    taken.append((f"frame {number}", view.vector))
                    note(f"took {len(taken)} of {count}; turn your head a little")
            elif problem != last:
                note(problem)
            last = problem
            problems[problem] += bool(problem)
            if len(taken) == count or (source.is_live and time.monotonic() > end_s):
                break
    if not taken:
        reason = problems.most_common(1)[0][0] if problems else "no frame came"
        raise FaceError(f"no frame of {source} was fit: {reason}; nothing was stored")
    return taken


def check_one_person(
    taken: Sequence[tuple[str, Vector]], known: NDArray[np.float32] | None, threshold: float
) -> None:
    """Check that every picture looks like another one of them, or like the person's views.

    Args:
        taken: Origin and vector of each picture.
        known: Templates that the name has already, shape (templates, length).
        threshold: Cosine from which two faces are one person's.

    Raises:
        FaceError: One looks like none of the others.
    """
    for origin, vector in taken:
        others = [float(vector @ other) for _, other in taken if other is not vector]
        others += [] if known is None else [float((known @ vector).max())]
        if others and max(others) < threshold:
            raise FaceError(
                f"{origin} looks like no other picture of this name (cosine {max(others):.2f}; "
                f"{threshold:.2f} is needed): is it another person? leave it out, or enroll it "
                "alone under a name of its own; nothing was stored"
            )


def check_not_another(
    taken: Sequence[tuple[str, Vector]], store: FaceStore, name: str, threshold: float
) -> None:
    """Check that the face is not enrolled under another name.

    Raises:
        FaceError: It is.
    """
    others = store.without(name) if name in store.people else store
    for origin, vector in taken:
        nearest = others.nearest(vector)
        if nearest is not None and nearest.cosine >= threshold:
            raise FaceError(
                f"{origin} looks like {nearest.name}, who is enrolled (cosine "
                f"{nearest.cosine:.2f}); forget {nearest.name} first, or use that name; nothing "
                "was stored"
            )
