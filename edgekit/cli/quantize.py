"""``edgekit quantize``: a model and its calibrated ranges in, one quantized artifact out.

Precisions of weights alone need no ranges, and a model that is quantized already brings its own.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table, counted, human_bytes
from edgekit.cli.outputs import check_writable
from edgekit.errors import CalibrationError, UsageError
from edgekit.target import Target

if TYPE_CHECKING:
    from edgekit.artifact import Artifact
    from edgekit.converters.quantize import Scheme
    from edgekit.graph import Graph
    from edgekit.quantized import QuantizedGraph
    from edgekit.ranges import Ranges

EXAMPLE = """example:
  edgekit calibrate model.onnx --calibration photos/ -o ranges.json
  edgekit quantize model.onnx --ranges ranges.json --target openvino -o model-int8
  edgekit quantize model.onnx --target tflite:w8
  edgekit quantize quantized-elsewhere.onnx --target tflite"""

FIXES = ("adaptive_rounding", "bias_correction")
_FIX_SAMPLES = 32
_SHOWN = 20


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument("model", type=options.existing_path, help="the source model, an .onnx file")
    parser.add_argument(
        "--ranges",
        "-r",
        type=options.existing_path,
        metavar="FILE",
        help="what edgekit calibrate wrote for this model; weights alone (w8) need none",
    )
    parser.add_argument(
        "--target",
        "-t",
        required=True,
        type=options.target,
        metavar="NAME[:PRECISION]",
        help="what to write for; precision int8 unless it is given",
    )
    parser.add_argument(
        "--output", "-o", type=Path, help="folder (default: MODEL-TARGET-PRECISION)"
    )
    parser.add_argument(
        "--keep-float", action="append", metavar="NODE", help="a node that stays float; repeatable"
    )
    parser.add_argument(
        "--fix",
        action="append",
        type=options.one_of(FIXES, kind="fix"),
        help=f"{' or '.join(FIXES)}; needs --calibration; repeatable",
    )
    options.add_calibration(parser, "samples for --fix, as edgekit calibrate takes")
    options.add_inputs(parser)
    parser.add_argument("--all", action="store_true", help="list every node that stays float")
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Quantize, write the artifact, and print what stayed float and why."""
    from edgekit.pipeline.build import load_source
    from edgekit.pipeline.given import given_precision, has_integers

    if arguments.fix and not arguments.calibration:
        raise UsageError(f"--fix {arguments.fix[0]} looks at samples; give --calibration DATA")
    target = options.target_in(arguments.target, "int8")
    with console.progress() as stage:
        stage(f"load {arguments.model.name}")
        source = load_source(arguments.model, shapes=options.collect_shapes(arguments.shape) or {})
        is_given = has_integers(source)
        if is_given:
            target = options.target_in(arguments.target, given_precision(source))
        output: Path = arguments.output or arguments.model.with_name(
            f"{arguments.model.stem}-{target.name}-{target.precision}"
        )
        _check_output(output)
        if is_given:
            made, result = _read(source, target, arguments, stage)
        else:
            made, result = _quantized(source, target, arguments, stage)
        stage(f"write {output.name}")
        artifact = _write(made, target, output)
    _print(result, {role: output / name for role, name in artifact.files.items()}, console,
           shown=arguments)  # fmt: skip
    return 0


@dataclass(frozen=True)
class _Result:
    """What there is to print.

    Args:
        scheme: Its name.
        kinds: Operator by node name.
        integer: Names of the nodes that are integers.
        reasons: Why the others are not, by name.
        is_given: Whether the source brought the integers.
    """

    scheme: str
    kinds: Mapping[str, str]
    integer: Sequence[str]
    reasons: Mapping[str, str]
    is_given: bool = False


def _quantized(
    source: Graph, target: Target, arguments: argparse.Namespace, stage: Callable[[str], None]
) -> tuple[QuantizedGraph, _Result]:
    from edgekit.converters.passes import simplify
    from edgekit.converters.quantize import (
        pick_scheme,
        plan_quantization,
        prepare_for_integers,
        quantize,
    )
    from edgekit.pipeline.shapes import graph_for

    scheme = pick_scheme(target.format, target.precision)
    if arguments.ranges is None:
        ranges = _no_ranges(arguments.model, scheme)
    else:
        ranges = _read_ranges(arguments.ranges, arguments.model)
    graph = prepare_for_integers(simplify(graph_for(simplify(source), target)[0]))
    keep = arguments.keep_float or []
    plan = plan_quantization(graph, ranges, scheme, keep_float=keep)
    quantized = quantize(graph, ranges, scheme, keep_float=keep)
    if arguments.fix:
        stage(" and ".join(arguments.fix).replace("_", " "))
        quantized = _fixed(quantized, source, arguments)
    kinds = {node.name: node.op_type for node in graph.nodes}
    integer = [name for name in kinds if name in plan.roles]
    return quantized, _Result(scheme.name, kinds, integer, dict(plan.reasons))


def _read(
    source: Graph, target: Target, arguments: argparse.Namespace, stage: Callable[[str], None]
) -> tuple[QuantizedGraph, _Result]:
    """Return the integers that the source brings, as ``edgekit convert`` takes them."""
    from edgekit.converters.passes import simplify
    from edgekit.pipeline.given import check_given, read_given
    from edgekit.pipeline.layers import is_integer
    from edgekit.pipeline.shapes import graph_for
    from edgekit.pipeline.terms import Terms

    terms = Terms(
        calibration=arguments.calibration,
        ranges=arguments.ranges,
        keep_float=tuple(arguments.keep_float or ()),
    )
    check_given(source, [target], model=arguments.model, terms=terms)
    stage("read its integers")
    read = read_given(target, simplify(graph_for(simplify(source), target)[0]))
    nodes = read.graph.nodes
    kinds = {node.name: node.op_type for node in nodes}
    integer = [node.name for node in nodes if is_integer(node, read)]
    return read, _Result(f"{target.format}-{target.precision}", kinds, integer, {}, is_given=True)


def _check_output(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} is there and not an empty folder; give another --output")
    if not output.parent.is_dir():
        raise UsageError(f"the folder {output.parent} does not exist; create it first")
    check_writable(output.parent)


def _read_ranges(path: Path, model: Path) -> Ranges:
    from edgekit.bundle.hashing import file_sha256
    from edgekit.ranges import Ranges

    ranges = Ranges.load(path)
    if ranges.model and ranges.model != file_sha256(model):
        raise CalibrationError(
            f"{path} was measured on another model than {model}; calibrate this one: "
            f"edgekit calibrate {model} --calibration DATA"
        )
    return ranges


def _no_ranges(model: Path, scheme: Scheme) -> Ranges:
    """Return ranges of nothing, where only weights become integers."""
    from edgekit.bundle.hashing import file_sha256
    from edgekit.ranges import Ranges

    if scheme.is_weight_only:
        return Ranges(file_sha256(model), samples=0, fingerprint="", ranges={})
    raise UsageError(
        f"{scheme.format} in {scheme.precision} needs the ranges of the model's tensors: run "
        f"edgekit calibrate {model} --calibration DATA -o FILE and give --ranges FILE, or "
        f"choose a precision of weights alone, such as {scheme.format}:w8"
    )


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


def _print(
    result: _Result, files: Mapping[str, Path], console: Console, *, shown: argparse.Namespace
) -> None:
    console.json(
        {
            "scheme": result.scheme,
            "is_given": result.is_given,
            "files": {role: str(path) for role, path in files.items()},
            "integer": list(result.integer),
            "float": dict(result.reasons),
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
    if result.is_given:
        console.line(f"the model is quantized already; its own integers were taken, for {count}")
    else:
        console.line(f"{count} in integers, {len(rows)} kept float ({result.scheme})")
    for path in files.values():
        console.line(f"wrote {path} ({human_bytes(path.stat().st_size)})")


COMMAND = Command(configure, run, EXAMPLE)
