"""``edgekit calibrate``: the user's own data in, a file of ranges out."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.calibration.observers import OBSERVERS
from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table
from edgekit.cli.outputs import output_file
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.pipeline.calibration import Calibration

_METHODS = "\n".join(f"  {name:<15}  {entry.summary}" for name, entry in OBSERVERS.items())

EXAMPLE = f"""example:
  edgekit calibrate model.onnx --calibration photos/ --preprocess letterbox,rgb,scale=1/255

methods:
{_METHODS}"""

_SHOWN = 40


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument("model", type=options.existing_path, help="the source model, an .onnx file")
    options.add_calibration(parser, options.SAMPLES, required=True)
    parser.add_argument(
        "--output", "-o", type=output_file, help="the ranges (default: MODEL.ranges.json)"
    )
    options.add_inputs(parser)
    parser.add_argument(
        "--method",
        default="auto",
        type=options.one_of(tuple(OBSERVERS), kind="calibration method"),
        help="how a range is chosen (default: auto)",
    )
    parser.add_argument(
        "--samples", type=options.positive_int, metavar="N", help="at most so many, spread evenly"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep the state beside the output, and go on from it where it is there",
    )
    parser.add_argument("--all", action="store_true", help="list every tensor")
    options.add_threads(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Calibrate, write the ranges, and print them with what the doctor says."""
    from edgekit.pipeline.calibration import calibrate

    output: Path = arguments.output or arguments.model.with_suffix(".ranges.json")
    if output.resolve() == arguments.model.resolve():
        raise UsageError(f"{output} is the model itself; give another --output")
    with console.progress() as stage:
        result = calibrate(
            arguments.model,
            arguments.calibration,
            preprocess=options.collect_preprocess(arguments.preprocess),
            shapes=options.collect_shapes(arguments.shape),
            method=arguments.method,
            limit=arguments.samples,
            threads=arguments.threads,
            resume=output.with_name(f"{output.name}.state") if arguments.resume else None,
            progress=stage,
        )
        stage(f"write {output.name}")
        result.ranges.save(output)
    _print(result, output, console, shown=None if arguments.all else _SHOWN)
    return 0


def _print(result: Calibration, output: Path, console: Console, *, shown: int | None) -> None:
    ranges = result.ranges
    methods = Counter(chosen.method for chosen in ranges.ranges.values())
    console.json(
        {
            "ranges": str(output),
            "model": ranges.model,
            "samples": ranges.samples,
            "fingerprint": ranges.fingerprint,
            "methods": dict(methods),
            "tensors": {
                name: {"low": item.low, "high": item.high, "method": item.method}
                for name, item in ranges.ranges.items()
            },
            "findings": [finding.to_json() for finding in result.findings],
            "skipped": list(result.skipped),
        }
    )
    rows = [_row(name, result) for name in list(ranges.ranges)[:shown]]
    console.table(Table(("tensor", ">low", ">high", "method", ">seen low", ">seen high"), rows))
    if len(rows) < len(ranges.ranges):
        console.line(f"... and {len(ranges.ranges) - len(rows)} more (--all lists them)\n")
    for finding in result.findings:
        console.line(f"doctor: {finding.text}")
    for name in result.skipped:
        console.line(f"skipped: {name}")
    counted = ", ".join(f"{name} {count}" for name, count in methods.most_common())
    console.line(f"{len(ranges.ranges)} tensors from {ranges.samples} samples: {counted}")
    console.line(f"wrote {output}")


def _row(name: str, result: Calibration) -> tuple[str, ...]:
    chosen, seen = result.ranges.ranges[name], result.ranges.statistics.get(name)
    start = (name, f"{chosen.low:.4g}", f"{chosen.high:.4g}", chosen.method)
    if seen is None:
        return *start, "", ""
    return *start, f"{seen.minimum:.4g}", f"{seen.maximum:.4g}"


COMMAND = Command(configure, run, EXAMPLE)
