"""``edgekit quantize``: a model and its calibrated ranges in, one quantized artifact out."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table, counted, human_bytes
from edgekit.errors import CalibrationError, UsageError
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.artifact import Artifact
    from edgekit.converters.quantize import Plan, Scheme
    from edgekit.graph import Graph
    from edgekit.quantized import QuantizedGraph
    from edgekit.ranges import Ranges

EXAMPLE = """example:
  edgekit calibrate model.onnx --calibration photos/ -o ranges.json
  edgekit quantize model.onnx --ranges ranges.json --target openvino -o model-int8"""

FIXES = ("adaptive_rounding", "bias_correction")
_FIX_SAMPLES = 32
_SHOWN = 20


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument("model", type=options.existing_path, help="the source model, an .onnx file")
    parser.add_argument(
        "--ranges",
        "-r",
        required=True,
        type=options.existing_path,
        help="what edgekit calibrate wrote for this model",
    )
    parser.add_argument(
        "--target",
        "-t",
        required=True,
        type=options.target,
        metavar="NAME[:PRECISION]",
        help="what to write for; precision int8 unless it is given",
    )
    parser.add_argument("--output", "-o", type=Path, help="folder (default: MODEL-TARGET-int8)")
    parser.add_argument(
        "--keep-float", action="append", metavar="NODE", help="a node that stays float; repeatable"
    )
    parser.add_argument(
        "--fix",
        action="append",
        type=options.one_of(FIXES, kind="fix"),
        help=f"{' or '.join(FIXES)}; needs --calibration; repeatable",
    )
    parser.add_argument(
        "--calibration", "-c", metavar="DATA", help="samples for --fix, as edgekit calibrate takes"
    )
    options.add_inputs(parser)
    parser.add_argument("--all", action="store_true", help="list every node that stays float")
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Quantize, write the artifact, and print what stayed float and why."""
    from edgekit.converters.passes import simplify
    from edgekit.converters.quantize import (
        pick_scheme,
        plan_quantization,
        prepare_for_integers,
        quantize,
    )
    from edgekit.pipeline.build import load_source
    from edgekit.pipeline.shapes import graph_for

    target = options.target_in(arguments.target, "int8")
    scheme = pick_scheme(target.format, target.precision)
    output: Path = arguments.output or arguments.model.with_name(
        f"{arguments.model.stem}-{target.name}-{target.precision}"
    )
    _check_output(output)
    if arguments.fix and not arguments.calibration:
        raise UsageError(f"--fix {arguments.fix[0]} looks at samples; give --calibration DATA")
    ranges = _read_ranges(arguments.ranges, arguments.model)
    with console.progress() as stage:
        stage(f"load {arguments.model.name}")
        source = load_source(arguments.model, shapes=options.collect_shapes(arguments.shape) or {})
        graph = prepare_for_integers(simplify(graph_for(simplify(source), target)[0]))
        keep = arguments.keep_float or []
        plan = plan_quantization(graph, ranges, scheme, keep_float=keep)
        quantized = quantize(graph, ranges, scheme, keep_float=keep)
        if arguments.fix:
            stage(" and ".join(arguments.fix).replace("_", " "))
            quantized = _fixed(quantized, source, arguments)
        stage(f"write {output.name}")
        artifact = _write(quantized, target, output)
    _print(_Result(artifact, output, graph, plan, scheme), console, shown=arguments)
    return 0


class _Result:
    """What there is to print."""

    def __init__(
        self, artifact: Artifact, output: Path, graph: Graph, plan: Plan, scheme: Scheme
    ) -> None:
        self.files = {role: output / name for role, name in artifact.files.items()}
        self.kinds = {node.name: node.op_type for node in graph.nodes}
        self.integer = [node.name for node in graph.nodes if node.name in plan.roles]
        self.reasons = dict(plan.reasons)
        self.scheme = scheme.name


def _check_output(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} is there and not an empty folder; give another --output")
    if not output.parent.is_dir():
        raise UsageError(f"the folder {output.parent} does not exist; create it first")


def _read_ranges(path: Path, model: Path) -> Ranges:
    from edgekit.pipeline.calibration import sha256
    from edgekit.ranges import Ranges

    ranges = Ranges.load(path)
    if ranges.model and ranges.model != sha256(model):
        raise CalibrationError(
            f"{path} was measured on another model than {model}; calibrate this one: "
            f"edgekit calibrate {model} --calibration DATA"
        )
    return ranges


def _fixed(
    quantized: QuantizedGraph, source: Graph, arguments: argparse.Namespace
) -> QuantizedGraph:
    from edgekit.calibration.samples import open_samples
    from edgekit.converters.quantize import correct_bias, round_weights

    steps = options.collect_preprocess(arguments.preprocess)
    named = {name or source.input_names[0]: item for name, item in steps.items()}
    opened = open_samples(arguments.calibration, source.inputs, preprocess=named)
    samples = list(opened.first(_FIX_SAMPLES))
    # A bias is corrected for the weights as they are in the end.
    for name, fix in zip(FIXES, (round_weights, correct_bias), strict=True):
        if name in arguments.fix:
            quantized = fix(quantized, samples)
    return quantized


def _write(quantized: QuantizedGraph, target: Target, output: Path) -> Artifact:
    """Write the artifact beside its final place, then move it there."""
    from edgekit.converters.emitters import EMITTERS
    from edgekit.registry import pick

    emit = pick(EMITTERS, target.format, kind="emitter").load()
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        stage = Path(folder, "files")
        stage.mkdir()
        artifact: Artifact = emit(quantized, stage, target=target)
        output.mkdir(exist_ok=True)
        for path in stage.iterdir():
            shutil.move(path, output / path.name)
    return artifact


def _print(result: _Result, console: Console, *, shown: argparse.Namespace) -> None:
    console.json(
        {
            "scheme": result.scheme,
            "files": {role: str(path) for role, path in result.files.items()},
            "integer": result.integer,
            "float": result.reasons,
        }
    )
    rows: Sequence[tuple[str, str, str]] = [
        (name, result.kinds[name], reason) for name, reason in result.reasons.items()
    ]
    few = rows if shown.all else rows[:_SHOWN]
    console.table(Table(("stays float", "operator", "why"), few))
    if len(few) < len(rows):
        console.line(f"... and {len(rows) - len(few)} more (--all lists them)\n")
    count = counted(len(result.integer), "operator")
    console.line(f"{count} in integers, {len(rows)} kept float ({result.scheme})")
    for path in result.files.values():
        console.line(f"wrote {path} ({human_bytes(path.stat().st_size)})")


COMMAND = Command(configure, run, EXAMPLE)
