"""``edgekit run``: one picture, or arrays, through the model."""

from __future__ import annotations

import argparse
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.bundle import Bundle
from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table
from edgekit.cli.outputs import output_file
from edgekit.errors import InputError, UsageError
from edgekit.pipeline.samples import PICTURES, read_picture
from edgekit.runtimes.plain import is_model_file

if TYPE_CHECKING:
    from edgekit.graph import Array
    from edgekit.preprocess import Preprocess
    from edgekit.runtimes.session import Session

EXAMPLE = """example:
  edgekit run model.edgekit --input photo.jpg
  edgekit run model.onnx --input input=x.npy --output out.npz"""

_TOP = 5


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "source", type=options.existing_path, help="a bundle, or an .onnx, .tflite or .xml file"
    )
    parser.add_argument(
        "--input",
        "-i",
        action="append",
        required=True,
        metavar="[NAME=]FILE",
        help="a picture, or an array (.npy); once for each input",
    )
    parser.add_argument(
        "--output",
        "-o",
        type=output_file,
        metavar="FILE",
        help="keep all outputs (.npz)",
    )
    parser.add_argument("--device", default="auto", metavar="RUNTIME", help="run it on this one")
    options.add_artifact(parser)
    options.add_threads(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run once, print what came out."""
    from edgekit.runtimes.select import load

    bundle = None if is_model_file(arguments.source) else Bundle.open(arguments.source)
    with load(
        bundle or arguments.source,
        device=arguments.device,
        artifact=arguments.artifact,
        threads=arguments.threads,
    ) as session:
        feed = _read_feed(
            arguments.input, session, {} if bundle is None else bundle.manifest.preprocess
        )
        session.run(feed)  # the first run also plans memory and packs weights
        start = time.perf_counter()
        outputs = session.run(feed)
        elapsed_ms = (time.perf_counter() - start) * 1e3
        if arguments.output is not None:
            _write(arguments.output, outputs)
        _print(outputs, session, () if bundle is None else bundle.labels, elapsed_ms, console)
    return 0


def _read_feed(
    texts: list[str], session: Session, preprocess: Mapping[str, Preprocess]
) -> dict[str, Array]:
    names = [spec.name for spec in session.inputs]
    feed: dict[str, Array] = {}
    for text in texts:
        head, separator, tail = text.partition("=")
        is_named = bool(separator) and head in names
        name, path = (head, tail) if is_named else (names[0], text)
        if not is_named and len(names) != 1:
            raise UsageError(
                f"--input {text} names no input; the model has {', '.join(names)}: give each as "
                f"NAME=FILE, such as {names[0]}=x.npy"
            )
        feed[name] = _read_array(options.existing_path(path), name, preprocess.get(name))
    return feed


def _read_array(path: Path, name: str, steps: Preprocess | None) -> Array:
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        if steps is None:
            raise UsageError(
                f"input {name!r} has no preprocessing, so {path.name} cannot become it; convert "
                "the model with --preprocess, or give an .npy array"
            )
        return read_picture(path, channels=steps.frame_channels)
    if suffix != ".npy":
        raise UsageError(f"{path} is neither a picture ({', '.join(PICTURES)}) nor an .npy array")
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} is not a readable .npy array: {error}") from error
    return array


def _write(path: Path, outputs: dict[str, Array]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    try:
        # Not numpy.savez: it takes the names as keywords, and an output may be called "file".
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, array in outputs.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _print(
    outputs: dict[str, Array],
    session: Session,
    labels: tuple[str, ...],
    elapsed_ms: float,
    console: Console,
) -> None:
    best = {name: _top(array, labels) for name, array in outputs.items()}
    console.json(
        {
            "runtime": session.runtime,
            "version": session.version,
            "artifact": session.artifact.name,
            "reason": session.reason,
            "elapsed_ms": elapsed_ms,
            "outputs": {
                name: {
                    "dtype": array.dtype.name,
                    "shape": list(array.shape),
                    "top": [{"label": label, "score": score} for label, score in best[name]],
                }
                for name, array in outputs.items()
            },
        }
    )
    console.line(
        f"{session.artifact.name} on {session.runtime} {session.version}, {elapsed_ms:.2f} ms"
    )
    console.line(f"{session.reason}\n")
    for name, scores in best.items():
        console.table(Table((name, ">score"), [(label, f"{score:.4f}") for label, score in scores]))
    rest = [name for name in outputs if not best[name]]
    console.table(
        Table(
            ("output", "type", "shape", ">min", ">mean", ">max"),
            [_summary(name, outputs[name]) for name in rest],
        )
    )


def _top(array: Array, labels: tuple[str, ...]) -> list[tuple[str, float]]:
    """Return the best labels with their scores, where the output is one score per label."""
    scores = array.reshape(-1)
    if not labels or scores.size != len(labels) or array.dtype.kind != "f":
        return []
    order = np.argsort(scores)[::-1][:_TOP]
    return [(labels[index], float(scores[index])) for index in order]


def _summary(name: str, array: Array) -> tuple[str, ...]:
    shape = " x ".join(map(str, array.shape)) or "scalar"
    if not array.size or array.dtype.kind not in "fiub":
        return name, array.dtype.name, shape, "", "", ""
    figures = (array.min(), array.astype(np.float64).mean(), array.max())
    return (name, array.dtype.name, shape, *(f"{float(figure):.5g}" for figure in figures))


COMMAND = Command(configure, run, EXAMPLE)
