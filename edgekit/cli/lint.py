"""``edgekit lint``: what in a model will hurt when it is quantized."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.calibration.lint import RULES, Hazard, float_nodes, lint
from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console
from edgekit.converters.onnx_model import read_graph
from edgekit.converters.passes import simplify
from edgekit.converters.quantize.read_qdq import has_integers, read_qdq
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.pipeline.layers import is_integer
from edgekit.ranges import Ranges

EXAMPLE = """example:
  edgekit lint model.onnx
  edgekit lint model.onnx --ranges ranges.json

With the ranges of a calibration the figures are real, and rules that need them speak. It
ends with status 0 whatever it finds; --fail-on high makes it fail. Of a model that is
quantized already it shows what its integers run into."""

_NEVER = "never"
_HALF_RULES = frozenset(name for name in RULES if "fp16" in name)


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument("model", type=options.existing_path, help="an .onnx file")
    parser.add_argument(
        "--ranges", type=options.existing_path, metavar="FILE", help="what calibrate wrote"
    )
    parser.add_argument(
        "--rule",
        action="append",
        type=options.one_of(tuple(RULES), kind="rule"),
        metavar="NAME",
        help=f"only this one, of: {', '.join(RULES)}",
    )
    parser.add_argument(
        "--fail-on",
        type=options.one_of((_NEVER, "high", "medium", "low"), kind="severity"),
        default=_NEVER,
        metavar="SEVERITY",
        help="end with status 1 from high, medium or low on (default: never)",
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print the findings, worst first."""
    with console.progress() as stage:
        stage(f"read {Path(arguments.model).name}")
        graph = simplify(read_graph(arguments.model))
        is_given = has_integers(graph)
        stage("look for what will hurt")
        graph, hazards = _of_integers(graph, arguments) if is_given else _of_float(graph, arguments)
    kept = float_nodes(hazards)
    console.json(
        {
            "model": str(arguments.model),
            "is_quantized": is_given,
            "hazards": [hazard.to_json() for hazard in hazards],
            "keep_float": sorted(kept),
        }
    )
    if is_given:
        console.line(
            f"{Path(arguments.model).name} is quantized already; below is what its integers run "
            "into. What is to be in float takes the float model, quantized again.\n"
        )
    for hazard in hazards:
        _print(hazard, console)
    count = len(hazards) or "no"
    words = f"; {len(kept)} of {len(graph.nodes)} operators would better stay in float"
    console.line(f"{count} hazards{words if kept else ''}")
    limit = ("high", "medium", "low")
    failing = () if arguments.fail_on == _NEVER else limit[: limit.index(arguments.fail_on) + 1]
    return int(any(hazard.severity in failing for hazard in hazards))


def _of_float(graph: Graph, arguments: argparse.Namespace) -> tuple[Graph, Sequence[Hazard]]:
    statistics = Ranges.load(arguments.ranges).statistics if arguments.ranges else {}
    return graph, lint(graph, statistics, rules=arguments.rule)


def _of_integers(graph: Graph, arguments: argparse.Namespace) -> tuple[Graph, Sequence[Hazard]]:
    """Return the float form of a quantized model, and the hazards at what it has in integers.

    The rules about float16 say nothing: such a model becomes int8 only. Nor is there anything
    to rewrite: the integers are made for the graph as it is.
    """
    if arguments.ranges:
        raise UsageError(
            f"{arguments.model} is quantized already: its codes are its ranges; leave out --ranges"
        )
    quantized = read_qdq(graph)
    integer = {node.name for node in quantized.graph.nodes if is_integer(node, quantized)}
    hazards = lint(quantized.graph, rules=arguments.rule)
    found = [
        replace(hazard, rewrite="")
        for hazard in hazards
        if hazard.rule not in _HALF_RULES and integer.intersection(hazard.nodes)
    ]
    return quantized.graph, found


def _print(hazard: Hazard, console: Console) -> None:
    more = f" and {len(hazard.nodes) - 1} more" if len(hazard.nodes) > 1 else ""
    console.line(f"{hazard.severity:<6}  {hazard.rule}: {hazard.node}{more}")
    console.line(f"        {hazard.reason}")
    console.line(f"        fix: {hazard.fix}\n")


COMMAND = Command(configure, run, EXAMPLE)
