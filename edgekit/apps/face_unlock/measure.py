"""The action ``evaluate``: measure, and say which threshold to take."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.apps.app import Output
from edgekit.apps.face_unlock import arguments as given
from edgekit.apps.face_unlock.evaluate import (
    Attacks,
    Evaluation,
    Point,
    evaluate_attacks,
    evaluate_pairs,
)
from edgekit.errors import UsageError

EXAMPLE = """example:
  edgekit app face-unlock evaluate --pairs people/ \\
      --detector yunet.edgekit --embedder mobileface.edgekit

people/ has a folder of pictures for each person. Every picture goes the whole way: found,
aligned, made a vector; then all pairs are compared. --live and --spoof are two folders of
pictures, of faces and of pictures of faces."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--pairs", type=Path, metavar="FOLDER", help="a folder for each person")
    parser.add_argument("--live", type=Path, metavar="FOLDER", help="pictures of faces")
    parser.add_argument("--spoof", type=Path, metavar="FOLDER", help="pictures of pictures of them")
    given.add_models(parser)
    given.add_json(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Measure what is given."""
    if arguments.pairs is None and arguments.live is None:
        raise UsageError("nothing to measure; give --pairs FOLDER, or --live and --spoof FOLDER")
    if (arguments.live is None) != (arguments.spoof is None):
        raise UsageError("--live and --spoof belong together; give both folders")
    data: dict[str, Any] = {}
    with given.recogniser_of(arguments) as recogniser:
        if arguments.pairs is not None:
            pairs = evaluate_pairs(recogniser, arguments.pairs, progress=output.progress)
            output.progress("")
            data["pairs"] = pairs.to_json()
            _tell_pairs(pairs, output)
        if arguments.live is not None:
            attacks = evaluate_attacks(
                recogniser, arguments.live, arguments.spoof, progress=output.progress
            )
            output.progress("")
            data["liveness"] = attacks.to_json()
            _tell_attacks(attacks, output)
    output.answer(data)
    return 0


def _tell_pairs(found: Evaluation, output: Output) -> None:
    used = found.pictures - sum(found.refused.values())
    output.line(
        f"{used} of {found.pictures} pictures, {found.people} persons: {found.same} pairs of one "
        f"person, {found.different} of two"
    )
    _tell_refused(found.refused, output)
    low, high = found.equal_error_95
    output.line(f"equal error rate {found.equal_error:.2%} (95 %: {low:.2%} .. {high:.2%})\n")
    rows = [_row("the threshold in use", found.at)]
    rows += [
        _row(f"at most {rate:.2%} of strangers", point)
        for rate, point in found.by_false_accepts.items()
    ]
    output.table(("", ">--threshold", ">strangers that pass", ">friends that do not"), rows)


def _row(words: str, point: Point) -> tuple[str, ...]:
    return (
        words,
        f"{point.threshold:.3f}",
        f"{point.false_accepts:.3%}",
        f"{point.false_rejects:.2%}",
    )


def _tell_attacks(found: Attacks, output: Output) -> None:
    output.line(f"{len(found.live)} pictures of faces, {len(found.spoof)} of pictures of faces")
    _tell_refused(found.refused, output)
    output.line(
        f"at {found.threshold:g}: {found.attacks_accepted:.2%} of the pictures are taken to be "
        f"live, {found.live_refused:.2%} of the faces are not\n"
        f"lowest of a face {found.live[0]:.3f}, highest of a picture {found.spoof[-1]:.3f}"
    )


def _tell_refused(refused: Mapping[str, int], output: Output) -> None:
    if refused:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in refused.items())
        output.line(f"not used: {reasons}")
