"""Argument types that commands share; each says what was expected."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.registry import unknown_name
from edgekit.target import TARGETS, ShapeRange, Target, pick_target

if TYPE_CHECKING:
    from edgekit.preprocess import Preprocess

Group = argparse.ArgumentParser | argparse._ArgumentGroup
"""What takes an option: a parser, or a group in it."""

_MAX_THREADS = 4096

SAMPLES = "a folder of pictures, a video, .npy, .npz, or MODULE:NAME (imports that module)"
"""What ``--calibration`` takes."""


def one_of(choices: Sequence[str], *, kind: str) -> Callable[[str], str]:
    """Return an argument type that takes one of the names."""

    def read(text: str) -> str:
        if text not in choices:
            raise UsageError(unknown_name(text, tuple(choices), kind=kind))
        return text

    return read


def existing_path(text: str) -> Path:
    """Return the path of a file or folder that is there.

    Raises:
        UsageError: It is not; the message names the closest name beside it.
    """
    path = Path(text)
    if not text:
        raise UsageError("the path is empty; give that of a file or folder")
    if path.exists():
        return path
    import difflib

    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"; did you mean {path.parent / close[0]}?" if close else "; check the path"
    raise UsageError(f"{text} does not exist{hint}")


def positive_int(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def thread_count(text: str) -> int:
    """Return a number of threads that every engine can take."""
    count = positive_int(text)
    if count > _MAX_THREADS:
        raise UsageError(f"{text} threads are more than any machine has; leave --threads out")
    return count


def positive_seconds(text: str) -> float:
    """Return a time in seconds, greater than 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise UsageError(f"{text!r} is not a time in seconds; expected such as 2 or 0.5")
    return seconds


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the name and sizes of ``input:1x3x224x224`` (``1x3x224x224`` has the name ``""``).

    A tensor's name may itself hold ``:``, as TensorFlow's do; the last part is the shape.
    """
    name, _, sizes = text.rpartition(":")
    return name, _sizes(sizes, text)


def shape_or_range(text: str) -> tuple[str, tuple[int, ...] | ShapeRange]:
    """Return what ``shape`` does, or of ``input:1x3x224x224..8x3x640x640`` the range of shapes.

    Between the smallest and the largest may stand the usual one; without it that is the
    largest picture, one at a time.
    """
    from edgekit.runtimes.tensorrt.profile import parse_profile

    if ".." not in text:
        return shape(text)
    name, colon, sizes = text.rpartition(":")
    for part in sizes.split(".."):
        _sizes(part, text)
    return name, parse_profile(text if colon and name else f"input:{sizes}")[1]


def _sizes(sizes: str, text: str) -> tuple[int, ...]:
    parts = sizes.lower().replace(",", "x").split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(
            f"--shape {text!r} is not NAME:SIZES; expected such as "
            "input:1x3x224x224, every size >= 1"
        )
    return tuple(int(part) for part in parts)


def target(text: str) -> str:
    """Return the text of a target, ``NAME`` or ``NAME:PRECISION``, that can be made."""
    pick_target(text)
    return text


def target_in(text: str, precision: str | None) -> Target:
    """Return the target, in this precision unless the text names one itself."""
    picked = pick_target(text)
    return picked if precision is None or ":" in text else picked.with_precision(precision)


def target_help() -> str:
    """Return the targets, one a line, for the end of a help text."""
    width = max(map(len, TARGETS))
    lines = (
        f"  {t.name:<{width}}  {t.summary} ({', '.join(t.precisions)})" for t in TARGETS.values()
    )
    return "targets:\n" + "\n".join(lines)


def collect_shapes(
    pairs: Sequence[tuple[str, tuple[int, ...]]] | None,
) -> Mapping[str, tuple[int, ...]] | None:
    """Return the shapes by input name; None where none were given.

    Raises:
        UsageError: An input is named twice.
    """
    if not pairs:
        return None
    shapes: dict[str, tuple[int, ...]] = {}
    for name, sizes in pairs:
        if name in shapes:
            raise UsageError(f"--shape gives {name or 'the input'!r} twice; give each input once")
        shapes[name] = sizes
    return shapes


def split_ranges(
    pairs: Sequence[tuple[str, tuple[int, ...] | ShapeRange]] | None,
) -> tuple[list[tuple[str, tuple[int, ...]]], dict[str, ShapeRange]]:
    """Return the fixed shapes, and the ranges by input name."""
    fixed: list[tuple[str, tuple[int, ...]]] = []
    ranges: dict[str, ShapeRange] = {}
    for name, sizes in pairs or ():
        if not isinstance(sizes[0], tuple):
            fixed.append((name, sizes))
        elif name in ranges:
            raise UsageError(f"--shape gives {name or 'the input'!r} twice; give it once")
        else:
            ranges[name] = sizes
    return fixed, ranges


def collect_preprocess(texts: Sequence[str] | None) -> dict[str, Preprocess]:
    """Return the preprocessing by input name; ``""`` where a text names none.

    Raises:
        UsageError: An input is given twice, or its steps are mistyped.
    """
    from edgekit.preprocess import Preprocess

    steps: dict[str, Preprocess] = {}
    for text in texts or ():
        # A list inside the steps has ":" too, always after a "=".
        head, separator, tail = text.partition(":")
        name, words = (head, tail) if separator and not set("=,") & set(head) else ("", text)
        if name in steps:
            raise UsageError(f"--preprocess gives {name or 'the input'!r} twice; give each once")
        steps[name] = Preprocess.parse(words)
    return steps


def add_inputs(parser: argparse.ArgumentParser, *, with_ranges: bool = False) -> None:
    """Add ``--shape`` and ``--preprocess``, for the commands that read a source model."""
    parser.add_argument(
        "--shape",
        action="append",
        type=shape_or_range if with_ranges else shape,
        metavar="NAME:SIZES",
        help="fix an input's sizes, such as input:1x3x224x224"
        + ("; or the range that TensorRT is to take: 1x3x224x224..8x3x640x640" * with_ranges),
    )
    parser.add_argument(
        "--preprocess",
        action="append",
        metavar="[NAME:]STEPS",
        help="how a picture becomes the input, such as letterbox,rgb,scale=1/255",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document and nothing else"
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``."""
    parser.add_argument(
        "--threads",
        type=thread_count,
        metavar="N",
        help="threads of each engine (default: its own)",
    )


def add_calibration(parser: Group, help: str, *, required: bool = False) -> None:
    """Add ``--calibration``, the samples without labels.

    Args:
        parser: Where to.
        help: What they are for, in this command.
        required: Whether it is.
    """
    parser.add_argument("--calibration", "-c", required=required, metavar="DATA", help=help)


def add_validation(parser: Group, help: str, *, required: bool = False) -> None:
    """Add ``--validation``, the samples that a metric is measured on; see ``add_calibration``."""
    parser.add_argument(
        "--validation", type=existing_path, required=required, metavar="PATH", help=help
    )


def add_metric(parser: Group, help: str, *, required: bool = False, metavar: str = "NAME") -> None:
    """Add ``--metric``, read where it is measured; see ``add_calibration``."""
    parser.add_argument("--metric", required=required, metavar=metavar, help=help)


def add_outputs_of_metric(parser: Group, *, decoder: str, output: str, name: str) -> None:
    """Add what tells a metric how to read the model's outputs.

    Args:
        parser: Where to.
        decoder: Help of ``--decoder``.
        output: Help of the option for the output that counts, kept as ``output_name``.
        name: Of that option: ``--output``, or another where that is a file.
    """
    parser.add_argument("--decoder", metavar="NAME", help=decoder)
    parser.add_argument(name, dest="output_name", default="", metavar="NAME", help=output)


def add_limit(parser: Group, help: str) -> None:
    """Add ``--limit``, so many of the samples for validation."""
    parser.add_argument("--limit", type=positive_int, metavar="N", help=help)


def add_artifact(parser: argparse.ArgumentParser) -> None:
    """Add ``--artifact``."""
    parser.add_argument("--artifact", metavar="NAME", help="only this one, such as tflite-fp32")
