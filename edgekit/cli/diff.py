"""``edgekit diff``: what changed from one bundle to the next; fails where it is too much worse."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from edgekit.bundle import Bundle
from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table
from edgekit.errors import LimitError, UsageError
from edgekit.report.certainty import Certainty, Loss
from edgekit.report.diff import Change, Difference, compare
from edgekit.report.figures import Pair
from edgekit.report.limits import FIGURES, parse_limits
from edgekit.report.points import PointPair

EXAMPLE = f"""example:
  edgekit diff old.edgekit new.edgekit --fail-on accuracy:0.5%,latency:10%,size:5%

A limit is a share of the old value (5%), or a number in the figure's own unit (0.005 of the
metric, 2ms, 100kB). Figures: {", ".join(FIGURES)}. They are judged as measured, without a
margin; where the samples do not tell two losses apart, that is said. A figure that is unknown
is said to be unknown, and fails with --strict only. Exit status 8: a limit is exceeded."""

_WIDEST = 100


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument("before", type=options.existing_path, help="the older bundle")
    parser.add_argument("after", type=options.existing_path, help="the newer bundle")
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        metavar="FIGURE:LIMIT,...",
        help="how much worse each figure may be",
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail where a limited figure is unknown, too"
    )
    parser.add_argument(
        "--bench", action="store_true", help="time both bundles here, in turns, not as stored"
    )
    parser.add_argument(
        "--rounds",
        type=options.positive_int,
        metavar="N",
        help="timed calls of each with --bench (default: 100)",
    )
    options.add_threads(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print what changed; fail where a limit is exceeded."""
    limits = parse_limits(arguments.fail_on)
    if arguments.strict and not limits:
        raise UsageError("--strict needs --fail-on: without a limit nothing can fail")
    difference = _difference(arguments, console)
    said = difference.judged(limits)
    failing = (*said.exceeded, *(said.unknown if arguments.strict else ()))
    console.json(
        {
            **difference.to_json(limits),
            "is_strict": bool(arguments.strict),
            "passed": not failing,
        }
    )
    _print(difference, console)
    for line in () if arguments.strict else said.unknown:
        console.line(f"not judged: {line}")
    if not failing:
        return 0
    if console.json_only:  # stdout holds one document, and it tells all
        return LimitError.exit_status
    head = "a limit is exceeded" if len(failing) == 1 else f"{len(failing)} limits are exceeded"
    raise LimitError("\n  ".join((f"{head}:", *failing)))


def _difference(arguments: argparse.Namespace, console: Console) -> Difference:
    before, after = Bundle.open(arguments.before), Bundle.open(arguments.after)
    if not arguments.bench:
        if arguments.rounds or arguments.threads:
            raise UsageError("--rounds and --threads are for --bench; add it, or leave them out")
        return compare(before, after)
    from edgekit.report.latency import Timing, measure_latencies

    timing = Timing(rounds=arguments.rounds or Timing.rounds, threads=arguments.threads)
    with console.progress() as stage:
        latencies = measure_latencies(before, after, timing, progress=stage)
    return compare(before, after, latencies=latencies)


def _print(difference: Difference, console: Console) -> None:
    for word, names in (("added", difference.added), ("removed", difference.removed)):
        if names:
            console.line(f"{word}: {', '.join(names)}")
    console.table(
        Table(
            ("artifact", "figure", "of", ">before", ">after", ">change"),
            [_row(pair) for pair in difference.figures if pair.loss is not None],
        )
    )
    _print_losses(difference.figures, console)
    _print_points(difference.points, console)
    _print_remarks(difference.figures, console)
    if not difference.changes:
        console.line("nothing else changed")
    for change in difference.changes:
        console.line(_line(change))


def _row(pair: Pair) -> tuple[str, ...]:
    change = "" if pair.change is None else f"{pair.change:+.2%}"
    values = ("" if value is None else f"{value:.6g}" for value in (pair.before, pair.after))
    return (pair.artifact, pair.figure, pair.of, *values, change)


def _print_losses(figures: Sequence[Pair], console: Console) -> None:
    """Print what each artifact loses against its float model, and how sure that is."""
    known = [(pair, pair.certainty) for pair in figures if pair.certainty is not None]
    metrics = dict.fromkeys(pair.of for pair, _ in known)
    console.table(
        Table(
            ("artifact", ">lost before", ">95 %", ">lost after", ">95 %", "told apart"),
            [
                (pair.artifact, *_loss(found.before), *_loss(found.after), _told_apart(found))
                for pair, found in known
            ],
            title=f"lost against the float model, in {', '.join(metrics)}",
        )
    )


def _print_remarks(figures: Sequence[Pair], console: Console) -> None:
    """Print what the intervals of the losses allow to say, and what they do not."""
    unknown: dict[str, list[str]] = {}
    unsure: list[str] = []
    for pair in figures:
        found = pair.certainty
        if found is None:
            continue
        if found.in_words:
            console.line(f"{pair.artifact}: {found.in_words}")
        if found.why_unknown and not found.is_equal:
            unknown.setdefault(found.why_unknown, []).append(pair.artifact)
        sides = {"before": found.before, "after": found.after}
        unsure += [f"{pair.artifact} {side}" for side, loss in sides.items() if loss.is_unsure]
    for why, names in unknown.items():
        console.line(f"it is unknown whether losses are told apart, as {why}: {', '.join(names)}")
    if unsure:
        console.line(
            "on other samples of the kind the loss may be above the promise (95 %): "
            f"{', '.join(unsure)}"
        )


def _loss(loss: Loss) -> tuple[str, str]:
    ends = loss.interval or ()
    return f"{loss.lost:.3g}", " .. ".join(f"{end:.2g}" for end in ends)


def _told_apart(found: Certainty) -> str:
    if found.is_equal:
        return "equal"
    if found.is_told_apart is None:
        return "unknown"
    return "yes" if found.is_told_apart else "no"


def _print_points(points: Sequence[PointPair], console: Console) -> None:
    """Print what was timed in turns with the float model."""
    console.table(
        Table(
            ("runtime", "precision", ">ms before", ">ms after", ">change", ""),
            [
                (
                    pair.before.runtime,
                    pair.before.precision,
                    f"{pair.before.latency_ms:.4g}",
                    f"{pair.after.latency_ms:.4g}",
                    "" if pair.change is None else f"{pair.change:+.2%}",
                    "the same model" if pair.is_same_model else "",
                )
                for pair in points
            ],
            title="timed in turns with the float model, on the machine of each conversion",
        )
    )


def _line(change: Change) -> str:
    before, after = (
        text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"
        for text in (change.before, change.after)
    )
    return f"{change.what}: {before} -> {after}"


COMMAND = Command(configure, run, EXAMPLE)
