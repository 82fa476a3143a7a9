"""Say who is in pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgekit.apps.app import Output
from edgekit.apps.face_unlock import arguments as given
from edgekit.apps.face_unlock.recognise import Limits, View
from edgekit.apps.face_unlock.show import draw_view
from edgekit.apps.vision.images import read_frame, write_frame
from edgekit.errors import UsageError

EXAMPLE = """example:
  edgekit app face-unlock check --image who.jpg --store people.json \\
      --detector yunet.edgekit --embedder mobileface.edgekit --output drawn.jpg

The exit status is 0 where every picture shows an enrolled person, else 1."""

NOT_KNOWN = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--image", action="append", type=Path, required=True, metavar="FILE",
        help="a picture; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--output", "-o", type=Path, metavar="FILE", help="draw what was seen into this picture"
    )
    given.add_store(parser)
    given.add_models(parser)
    given.add_json(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Look at each picture; 1 where one shows nobody that is enrolled."""
    if arguments.output is not None and len(arguments.image) != 1:
        raise UsageError(f"--output takes one picture; {len(arguments.image)} are given")
    views: list[tuple[Path, View]] = []
    with given.recogniser_of(arguments) as recogniser:
        store = given.store_of(arguments, recogniser)
        for path in arguments.image:
            frame = read_frame(path)
            view = recogniser.look(frame, store)
            views.append((path, view))
            output.line(f"{path}: {in_words(view, recogniser.limits)}")
            if arguments.output is not None:
                write_frame(arguments.output, draw_view(frame, view))
    output.answer({"images": [{"image": str(path), **view.to_json()} for path, view in views]})
    return 0 if all(view.is_known for _, view in views) else NOT_KNOWN


def in_words(view: View, limits: Limits) -> str:
    """Return what was seen, with its figures."""
    figures = []
    if view.cosine is not None:
        near = "" if view.is_known else f" to {view.name}"
        figures.append(f"cosine {view.cosine:.2f}{near}, {limits.threshold:.2f} is needed")
    if view.live is not None and not view.problem:
        figures.append(f"live {view.live:.2f}")
    return f"{view.verdict} ({'; '.join(figures)})" if figures else view.verdict
