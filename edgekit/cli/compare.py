"""``edgekit compare``: the parity ladder, and the operator where it breaks."""

from __future__ import annotations

import argparse
from typing import Any

from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table
from edgekit.converters.compare import Ladder, Rung
from edgekit.errors import VerificationError
from edgekit.pipeline.ladder import compare
from edgekit.runtimes.parity import OutputParity

EXAMPLE = """example:
  edgekit compare model.onnx model.edgekit
  edgekit compare model.onnx other.tflite

Every rung is held against the source under ONNX Runtime, on the bundle's goldens and on
two inputs of seeded noise. Where one parts, its graph is bisected to the first operator."""

_MAX_OUTPUTS = 3


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument("model", type=options.existing_path, help="the source model, an .onnx file")
    parser.add_argument(
        "other", type=options.existing_path, help="a bundle, or an .onnx, .tflite or .xml file"
    )
    parser.add_argument(
        "--shape", action="append", type=options.shape, metavar="NAME:SIZES", help="as in convert"
    )
    parser.add_argument(
        "--all-outputs", action="store_true", help="a line for every output, not for the worst"
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print the ladder; fail where a rung parts."""
    with console.progress() as stage:
        ladder = compare(
            arguments.model,
            arguments.other,
            shapes=options.collect_shapes(arguments.shape),
            progress=stage,
        )
    console.json({"rungs": [_to_json(rung) for rung in ladder.rungs]})
    console.line()
    console.table(
        Table(
            ("rung", "result", "output", ">cosine", ">max error", ">SQNR dB"),
            [row for rung in ladder.rungs for row in _rows(rung, arguments.all_outputs)],
        )
    )
    for rung in ladder.rungs:
        if rung.status == "unverified":
            console.line(f"{rung.name}: unverified: {rung.reason}")
    parting = ladder.first_parting
    if parting is not None:
        raise VerificationError(_parting_in_words(parting))
    _check_anything_ran(ladder)
    console.line("every rung that runs here agrees with the source")
    return 0


def _rows(rung: Rung, all_outputs: bool) -> list[tuple[str, ...]]:
    if not rung.outputs:
        return [(rung.name, rung.status, "", "", "", "")]
    result = rung.status.upper() if rung.status == "parts" else rung.status
    if all_outputs or len(rung.outputs) <= _MAX_OUTPUTS:
        shown = [(figures, figures.name) for figures in rung.outputs]
    else:
        worst = min(rung.outputs, key=lambda figures: figures.sqnr_db)
        shown = [(worst, f"{worst.name} (worst of {len(rung.outputs)})")]
    return [(rung.name, result, name, *_cells(figures)) for figures, name in shown]


def _cells(figures: OutputParity) -> tuple[str, str, str]:
    return f"{figures.cosine:.7f}", f"{figures.max_abs_error:.1e}", f"{figures.sqnr_db:.1f}"


def _parting_in_words(rung: Rung) -> str:
    if rung.culprit is None:
        return f"{rung.name} parts from the source; {rung.reason}"
    figures = rung.culprit.figures
    return (
        f"{rung.name} parts from the source at node {rung.culprit.node!r} "
        f"({rung.culprit.op_type}), tensor {figures.name!r}: cosine {figures.cosine:.6f}, "
        f"max error {figures.max_abs_error:.2g}"
    )


def _check_anything_ran(ladder: Ladder) -> None:
    if all(rung.status == "unverified" for rung in ladder.rungs[1:]):
        raise VerificationError(
            "no artifact could be run here, so nothing was shown; "
            "edgekit doctor says what to install"
        )


def _to_json(rung: Rung) -> dict[str, Any]:
    culprit = rung.culprit
    return {
        "name": rung.name,
        "status": rung.status,
        "reason": rung.reason,
        "outputs": [figures.to_json() for figures in rung.outputs],
        "culprit": None
        if culprit is None
        else {
            "node": culprit.node,
            "op_type": culprit.op_type,
            "tensor": culprit.figures.to_json(),
        },
    }


COMMAND = Command(configure, run, EXAMPLE)
