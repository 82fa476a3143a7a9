"""Write the faces of pictures as an embedder sees them."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from edgekit.apps.app import Output
from edgekit.apps.face_unlock import arguments as given
from edgekit.apps.face_unlock.evaluate import people_in
from edgekit.apps.vision.images import read_frame, write_frame
from edgekit.errors import FaceError, UsageError

EXAMPLE = """example:
  edgekit app face-unlock align --pairs people/ --output aligned/ \\
      --detector yunet.edgekit --embedder mobileface.edgekit
  edgekit convert mobileface_v2.onnx -t openvino --precision int8 --preprocess none,rgb \\
      --calibration aligned/ --validation aligned/ --metric eer --max-drop 0.005

The pictures are PNG files in a folder for each person, as edgekit eval and convert read them."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--pairs", type=Path, required=True, metavar="FOLDER", help="a folder for each person"
    )
    parser.add_argument(
        "--output", "-o", type=Path, required=True, metavar="FOLDER", help="a new or empty folder"
    )
    given.add_models(parser)
    given.add_json(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Write the face of every picture that is fit."""
    target: Path = arguments.output
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there and not empty; give a new folder")
    people = people_in(arguments.pairs)
    refused, count = Counter[str](), 0
    with given.recogniser_of(arguments) as recogniser:
        for name, paths in people.items():
            output.progress(f"{name}, after {count} pictures")
            for path in paths:
                view = recogniser.look(read_frame(path))
                if view.problem or view.aligned is None:
                    refused[view.kind_of_problem] += 1
                    continue
                folder = target / name
                folder.mkdir(parents=True, exist_ok=True)
                # The whole old name: a.jpg and a.png of one person are two pictures.
                write_frame(folder / f"{path.name}.png", view.aligned)
                count += 1
    output.progress("")
    if not count:
        raise FaceError(f"no picture in {arguments.pairs} was fit: {dict(refused)}")
    output.answer({"written": count, "refused": dict(refused), "output": str(target)})
    reasons = "".join(f", {number} left out ({reason})" for reason, number in refused.items())
    output.line(f"wrote {count} faces of {len(people)} persons into {target}{reasons}")
    return 0
