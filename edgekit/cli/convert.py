"""``edgekit convert``: a model in, a bundle out, with the figures that prove it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.artifact import PRECISIONS
from edgekit.cli import options, terms
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table, human_bytes
from edgekit.cli.outputs import check_writable
from edgekit.errors import UsageError
from edgekit.registry import unknown_name

if TYPE_CHECKING:
    from edgekit.pipeline import Built, Check, ConversionResult

EXAMPLE = f"""example:
  edgekit convert model.onnx --target openvino --target tflite:fp16 -o model.edgekit
  edgekit convert model.onnx -t openvino -t tflite -t tensorrt --precision int8 \\
          --calibration photos/ --preprocess letterbox,rgb,scale=1/255 --max-drop 1%

{options.target_help()}"""


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument("model", type=options.existing_path, help="the source model, an .onnx file")
    parser.add_argument(
        "--target",
        "-t",
        action="append",
        type=options.target,
        required=True,
        metavar="NAME[:PRECISION]",
        help="what to convert to; give it once for each",
    )
    parser.add_argument(
        "--precision",
        type=options.one_of(PRECISIONS, kind="precision"),
        help="of every target that names none of its own",
    )
    parser.add_argument("--output", "-o", type=Path, help="the bundle (default: MODEL.edgekit)")
    parser.add_argument("--folder", action="store_true", help="write a folder, not one zip file")
    options.add_inputs(parser, with_ranges=True)
    parser.add_argument(
        "--engine",
        type=_engine_settings,
        default={},
        metavar="KEY=N,...",
        help="what TensorRT's recipe asks for: workspace=MIB, level=0..5, dla=CORE",
    )
    parser.add_argument(
        "--fuse-preprocess",
        action="store_true",
        help="put it into the artifacts, which then take uint8 camera frames",
    )
    parser.add_argument(
        "--labels", type=options.existing_path, metavar="FILE", help="class names, one a line"
    )
    parser.add_argument(
        "--golden",
        action="append",
        type=options.existing_path,
        metavar="FILE",
        help="a picture or .npz to keep as golden input (default: seeded noise)",
    )
    parser.add_argument(
        "--no-verify", action="store_true", help="write without running; all stays unverified"
    )
    terms.configure(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Convert, and print each artifact with its figures."""
    from edgekit.pipeline import convert

    output = arguments.output or arguments.model.with_suffix(".edgekit")
    _check_output(output)
    shapes, ranges = options.split_ranges(arguments.shape)
    targets = [
        replace(options.target_in(text, arguments.precision), ranges=ranges, build=arguments.engine)
        for text in arguments.target
    ]
    asked = terms.read(arguments, targets)
    with console.progress() as stage:
        result = convert(
            arguments.model,
            targets=targets,
            output=output,
            shapes=options.collect_shapes(shapes),
            preprocess=options.collect_preprocess(arguments.preprocess),
            fuse_preprocess=arguments.fuse_preprocess,
            labels=arguments.labels,
            golden=arguments.golden or [],
            verify=not arguments.no_verify,
            folder=arguments.folder,
            terms=asked,
            progress=stage,
        )
    _print_result(result, output, console)
    return 0


_SETTINGS = {"workspace": "workspace_mib", "level": "optimization_level", "dla": "dla_core"}
_HIGHEST = {"workspace": 1 << 20, "level": 5, "dla": 7}


def _engine_settings(text: str) -> dict[str, int]:
    """Return the settings of ``workspace=256,level=4``, by their names in the recipe."""
    found: dict[str, int] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in _SETTINGS:
            raise UsageError(unknown_name(key, tuple(_SETTINGS), kind="setting of --engine"))
        if not value.isdecimal() or int(value) > _HIGHEST[key]:
            raise UsageError(f"--engine {part!r}; expected {key}=N, N up to {_HIGHEST[key]}")
        found[_SETTINGS[key]] = int(value)
    return found


def _check_output(output: Path) -> None:
    """Refuse to replace what is no bundle; an old bundle is replaced."""
    from edgekit.bundle import is_bundle

    if output.exists() and not is_bundle(output):
        raise UsageError(f"{output} is there and is not a bundle; give another --output")
    check_writable(output.parent)


def _print_result(result: ConversionResult, output: Path, console: Console) -> None:
    contract = result.bundle.manifest.contract
    console.json(
        {
            "bundle": str(output),
            "artifacts": [
                {
                    "name": item.artifact.name,
                    "nbytes": item.nbytes,
                    "status": result.checks[item.artifact.name].status.to_json(),
                    "runtime": result.checks[item.artifact.name].runtime,
                    "outputs": [o.to_json() for o in result.checks[item.artifact.name].outputs],
                }
                for item in result.built
            ],
            "contract": None if contract is None else contract.to_json(),
            "notes": list(result.notes),
        }
    )
    console.line()
    console.table(
        Table(
            ("artifact", ">size", "checked on", ">cosine", ">max error"),
            [_row(item, result.checks[item.artifact.name]) for item in result.built],
        )
    )
    for name, check in result.checks.items():
        if check.status.reason:
            console.line(f"{name}: {check.status.state}: {check.status.reason}")
    if contract is not None:
        terms.show(contract, console)
    for note in result.notes:
        console.line(f"note: {note}")
    console.line(f"wrote {output}")


def _row(item: Built, check: Check) -> tuple[str, ...]:
    start = (item.artifact.name, human_bytes(item.nbytes))
    if not check.outputs:
        return *start, check.status.state, "", ""
    return (
        *start,
        f"{check.runtime} {check.version}",
        f"{min(figures.cosine for figures in check.outputs):.7f}",
        f"{max(figures.max_abs_error for figures in check.outputs):.1e}",
    )


COMMAND = Command(configure, run, EXAMPLE)
