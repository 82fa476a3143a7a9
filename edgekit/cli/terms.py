"""Options of a quantized conversion: the data, the promise, and how the search goes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.calibration.observers import OBSERVERS
from edgekit.cli import options
from edgekit.cli.command import Parser
from edgekit.cli.console import Console, Table
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.bundle import Contract
    from edgekit.pipeline import Terms
    from edgekit.target import Target

_SHOWN, _WORST = 8, 4
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_OPTIONS = (
    "calibration",
    "ranges",
    "method",
    "max_drop",
    "metric",
    "validation",
    "decoder",
    "output_name",
    "time",
    "keep_float",
    "resume",
)


def configure(parser: Parser) -> None:
    """Add the arguments."""
    group = parser.add_argument_group("int8 (--precision int8)")
    add_ranges(
        group,
        ranges="of an earlier edgekit calibrate, instead of --calibration",
        method="how ranges are chosen; the search tries no other then (default: auto)",
    )
    group.add_argument(
        "--max-drop",
        metavar="DROP",
        help="largest loss: 1%% of the float model's value, or 0.01 of the metric (default: 1%%)",
    )
    add_judging(group, time="for the search, such as 90s, 10m or 1h")
    group.add_argument(
        "--keep-float", action="append", metavar="NODE", help="keep it in float; may be repeated"
    )
    group.add_argument(
        "--resume", action="store_true", help="go on from what a stopped search has measured"
    )


def add_ranges(group: options.Group, *, ranges: str, method: str) -> None:
    """Add where a model's ranges come from; the texts are help."""
    options.add_calibration(group, options.SAMPLES)
    group.add_argument("--ranges", type=options.existing_path, metavar="FILE", help=ranges)
    group.add_argument(
        "--method", type=options.one_of(tuple(OBSERVERS), kind="calibration method"), help=method
    )


def add_judging(group: options.Group, *, time: str) -> None:
    """Add what a quantized model is judged by, and for how long; ``time`` is a help text."""
    options.add_metric(
        group, "top1, map, miou, eer, cosine, MODULE:FUNCTION... (default: agreement with float)"
    )
    options.add_validation(
        group, "labelled samples, as for edgekit eval (default: the calibration data)"
    )
    options.add_outputs_of_metric(
        group,
        decoder="of a detector's outputs, such as yolox",
        output="which output counts, of several",
        name="--output-name",
    )
    group.add_argument("--time", type=duration, metavar="TIME", help=time)


def read(arguments: argparse.Namespace, targets: Sequence[Target]) -> Terms | None:
    """Return what is asked of quantized targets; None where none is given.

    Raises:
        UsageError: An option for them is given without one.
    """
    from edgekit.calibration.contract import Promise
    from edgekit.pipeline.build import is_quantized
    from edgekit.pipeline.terms import DEFAULT_PROMISE

    if not any(map(is_quantized, targets)):
        given = [name for name in _OPTIONS if getattr(arguments, name)]
        if given:
            raise UsageError(
                f"--{given[0].replace('_', '-')} is for quantized targets, and none is given; add "
                "--precision int8, or a target such as tflite:int8"
            )
        return None
    drop = arguments.max_drop
    return replace(
        read_judging(arguments),
        promise=DEFAULT_PROMISE if drop is None else Promise.parse(drop),
        keep_float=tuple(arguments.keep_float or ()),
        resume=arguments.resume,
    )


def read_judging(arguments: argparse.Namespace) -> Terms:
    """Return what ``add_ranges`` and ``add_judging`` ask for."""
    from edgekit.pipeline.terms import Terms

    return Terms(
        calibration=arguments.calibration,
        ranges=arguments.ranges,
        method=arguments.method,
        metric=arguments.metric,
        validation=arguments.validation,
        decoder=arguments.decoder,
        output=arguments.output_name,
        time_s=arguments.time,
    )


def duration(text: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``10m`` or ``1h``.

    Raises:
        UsageError: It is none of them.
    """
    unit = _UNITS.get(text[-1:].lower())
    number = text if unit is None else text[:-1]
    try:
        seconds = float(number) * (unit or 1.0)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e7:
        raise UsageError(f"{text!r} is not a time; expected such as 90s, 10m or 1h")
    return seconds


def show(contract: Contract, console: Console) -> None:
    """Print what was promised and measured, and what is fastest."""
    unit, factor = ("%", 100) if contract.is_relative else ("", 1)
    console.line(
        f"contract kept: {contract.metric} loses at most {contract.limit * factor:g}{unit} "
        f"(float: {contract.baseline:.4f}), on {contract.samples}"
    )
    console.line()
    console.table(
        Table(
            ("artifact", f">{contract.metric}"[:24], ">lost", ">95 %", ">ms", "measured on"),
            [
                (
                    figure.artifact,
                    f"{figure.value:.4f}",
                    f"{figure.lost * factor:.3g}{unit}",
                    ""
                    if figure.interval is None
                    else " .. ".join(f"{end * factor:.2g}{unit}" for end in figure.interval),
                    "" if figure.latency_ms is None else f"{figure.latency_ms:.3f}",
                    figure.runtime
                    if figure.status == "measured"
                    else f"{figure.runtime} ({figure.status})",
                )
                for figure in contract.figures
            ],
        )
    )
    unsure = [item.artifact for item in contract.figures if not contract.is_sure(item)]
    if unsure:
        console.line(
            f"on other samples of the kind the loss may be above the promise for "
            f"{', '.join(unsure)} (95 %); more validation samples make it surer"
        )
    tried = "the first step" if len(contract.steps) == 1 else f"{len(contract.steps)} steps"
    console.line(f"made with {contract.recipe}, after {tried}")
    for nodes, names in _in_float(contract).items():
        shown = ", ".join(nodes[:_SHOWN]) + (", ..." if len(nodes) > _SHOWN else "")
        console.line(f"in float for {', '.join(names)}: {len(nodes)} nodes: {shown}")
    if contract.sensitivity:
        worst = ", ".join(
            f"{item['layer']} ({item['output_sqnr_db']:.0f} dB)"
            for item in contract.sensitivity[:_WORST]
        )
        console.line(f"layers that are most worth keeping in float: {worst}")
    for line in contract.advice:
        console.line(f"advice: {line}")


def _in_float(contract: Contract) -> dict[tuple[str, ...], list[str]]:
    """Return artifacts by the nodes that are in float: mostly the same for all."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, nodes in (contract.float_nodes or {}).items():
        found.setdefault(nodes, []).append(name)
    return found


__all__ = ["configure", "duration", "read", "show"]
