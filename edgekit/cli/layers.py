"""``edgekit inspect --sensitivity``: what each layer of a model costs and saves in integers."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.cli import options, terms
from edgekit.cli.command import Parser
from edgekit.cli.console import Console
from edgekit.cli.layer_table import layer_table
from edgekit.cli.outputs import output_file
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.bundle import Bundle
    from edgekit.report.layers import LayerCost

_TOP = 20
_OF_A_MODEL = (
    "target",
    "calibration",
    "ranges",
    "method",
    "metric",
    "validation",
    "decoder",
    "output_name",
    "time",
    "shape",
    "preprocess",
    "labels",
)


def configure(parser: Parser) -> None:
    """Add the arguments."""
    group = parser.add_argument_group("what each layer costs in integers")
    group.add_argument(
        "--sensitivity",
        action="store_true",
        help="of a bundle: as it was measured when it was made; of an .onnx file: measured now",
    )
    group.add_argument(
        "--top",
        type=options.positive_int,
        metavar="N",
        help=f"the first N in the table and the plot (default: {_TOP})",
    )
    group.add_argument("--plot", type=output_file, metavar="FILE.svg", help="draw them, too")
    given = parser.add_argument_group("to measure them (--sensitivity of an .onnx file)")
    given.add_argument(
        "--target",
        "-t",
        action="append",
        type=options.target,
        metavar="NAME[:PRECISION]",
        help="where they are to run, int8 where nothing is said; give it once for each (default: "
        "all that run here)",
    )
    terms.add_ranges(
        given,
        ranges="of an earlier edgekit calibrate; samples are needed all the same",
        method="how ranges are chosen (default: auto)",
    )
    terms.add_judging(given, time="at most about so long, such as 90s or 10m")
    options.add_inputs(parser)
    given.add_argument(
        "--labels", type=options.existing_path, metavar="FILE", help="class names, one a line"
    )


def check(arguments: argparse.Namespace, *, is_model: bool) -> None:
    """Refuse options that mean nothing for what is inspected.

    Raises:
        UsageError: There is one.
    """
    for name in (*_OF_A_MODEL, "top", "plot"):
        if getattr(arguments, name) and not arguments.sensitivity:
            raise UsageError(f"{_option(name)} is for --sensitivity; add it, or leave it out")
    given = [name for name in _OF_A_MODEL if getattr(arguments, name)]
    if given and not is_model:
        raise UsageError(
            f"{_option(given[0])} is to measure a model file; {arguments.source} is a bundle, and "
            "keeps what was measured when it was made"
        )
    if arguments.sensitivity and is_model and arguments.source.suffix.lower() != ".onnx":
        raise UsageError(
            f"{arguments.source} is no .onnx file; layers are measured on the float model that it "
            "was made from"
        )
    plot: Path | None = arguments.plot
    if plot is not None and plot.suffix.lower() != ".svg":
        raise UsageError(f"--plot {plot}; give the name of an .svg file")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class Layers:
    """What was measured.

    Args:
        path: Of the bundle or the model.
        metric: Whose loss it is.
        baseline: The float model's on the same samples; None unknown.
        on: What was measured on, in words; empty unknown.
        entries: A layer each, JSON-ready; the most worthwhile to keep in float first.
        notes: What to keep in mind.
    """

    path: Path
    metric: str
    baseline: float | None
    on: str
    entries: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "path": str(self.path),
            "metric": self.metric,
            "baseline": self.baseline,
            "on": self.on,
            "layers": [dict(entry) for entry in self.entries],
            "notes": list(self.notes),
        }


def of_bundle(bundle: Bundle) -> Layers:
    """Return what the manifest keeps.

    Raises:
        UsageError: It keeps nothing.
    """
    contract = bundle.manifest.contract
    if contract is None or not contract.sensitivity:
        why = "nothing was quantized under a promise" if contract is None else "none was measured"
        raise UsageError(
            f"{bundle.location} keeps no table of its layers: {why}; measure it on the model: "
            f"edgekit inspect {bundle.manifest.source.file_name} --sensitivity --calibration DATA"
        )
    return Layers(
        bundle.location, contract.metric, None, contract.sensitivity_on, contract.sensitivity
    )


def of_model(arguments: argparse.Namespace, console: Console) -> Layers:
    """Measure a model file.

    Raises:
        UsageError: Something that is needed is not given.
    """
    from edgekit.pipeline.sensitivity_of import sensitivity_of

    if not (arguments.calibration or arguments.ranges):
        raise UsageError(
            f"what layers of {arguments.source} cost is measured on your own data; give "
            "--calibration DATA: a folder of pictures, a video, .npy or .npz"
        )
    with console.progress() as stage:
        found = sensitivity_of(
            arguments.source,
            targets=[
                options.target_in(text, None if ":" in text else "int8")
                for text in arguments.target or _runnable()
            ],
            terms=terms.read_judging(arguments),
            shapes=options.collect_shapes(arguments.shape),
            preprocess=options.collect_preprocess(arguments.preprocess),
            labels=arguments.labels,
            progress=stage,
        )
    baseline = found.baseline if math.isfinite(found.baseline) else None
    entries = [layer.to_json() for layer in found.layers]
    return Layers(arguments.source, found.metric, baseline, found.on, entries, found.notes)


def _runnable() -> list[str]:
    """Return a target for each runtime that is here."""
    from edgekit.runtimes import RUNTIME_FORMATS, RUNTIMES
    from edgekit.target import TARGETS

    found = [RUNTIME_FORMATS[name][0] for name, entry in RUNTIMES.items() if not entry.missing()]
    return [name for name in found if name in TARGETS and "int8" in TARGETS[name].precisions]


def show(layers: Layers, arguments: argparse.Namespace, console: Console) -> None:
    """Print the table, and draw it where that is asked for.

    Raises:
        UsageError: No layer has figures, or the plot cannot be written there.
    """
    from edgekit.report.layers import read_layers

    costs = read_layers(layers.entries)
    if not costs:
        raise UsageError(f"{layers.path} has no layer with figures; nothing in it can be integers")
    top = costs[: arguments.top or _TOP]
    if arguments.plot is not None:
        from edgekit.report.layer_plot import layer_plot
        from edgekit.report.write import write_text

        title, metric = layers.path.name, layers.metric
        picture = layer_plot(top, title=title, metric=metric, on=layers.on)
        write_text(arguments.plot, picture, suffix=".svg")
    console.json({**layers.to_json(), "plot": str(arguments.plot) if arguments.plot else None})
    console.table(
        layer_table(top, title=f"{layers.path.name}: what each layer costs in integers, alone")
    )
    for line in _remarks(layers, top, left=len(costs) - len(top)):
        console.line(line)
    if arguments.plot is not None:
        console.line(f"wrote {arguments.plot}")


def _remarks(layers: Layers, top: Sequence[LayerCost], *, left: int) -> list[str]:
    from edgekit.report.layers import runtimes_of

    lines = ["the first would go back to float first; #: error at the outputs, in proportion"]
    if any(item.lost is not None for item in top):
        lines.append(f"lost: of {layers.metric}, in its own unit; below 0 it is a gain")
    runtimes = runtimes_of(top)
    if runtimes:
        lines.append(f"\N{MICRO SIGN}s saved by integers: {' / '.join(runtimes)}")
    if layers.on:
        lines.append(f"measured: {layers.on}")
    if left:
        lines.append(f"{left} layers more; --top {left + len(top)} shows all, --json has all")
    return lines + [f"note: {note}" for note in layers.notes]
