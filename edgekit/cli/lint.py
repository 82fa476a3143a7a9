"""``edgekit lint``: what in a model will hurt when it is quantized."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.calibration.lint import RULES, Hazard, float_nodes, lint
from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, counted
from edgekit.cli.outputs import output_file
from edgekit.converters.onnx_model import read_graph, write_graph
from edgekit.converters.passes import simplify
from edgekit.converters.qdq_lint import Finding, lint_qdq, repair
from edgekit.converters.quantize.read_qdq import has_integers, read_qdq
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.pipeline.layers import is_integer
from edgekit.ranges import Ranges

EXAMPLE = """example:
  edgekit lint model.onnx
  edgekit lint model.onnx --ranges ranges.json
  edgekit lint quantized.onnx --repair repaired.onnx

With the ranges of a calibration the figures are real, and rules that need them speak. It
ends with status 0 whatever it finds; --fail-on high makes it fail. Of a model that is
quantized already it shows what its integers run into, and what TensorRT would refuse, lose
accuracy by or run slowly; --repair writes it with those faults repaired."""

_NEVER = "never"
_FAULTS = {"refused": "high", "accuracy": "medium", "speed": "low"}
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
        "--repair",
        type=output_file,
        metavar="FILE",
        help="write a quantized model with what TensorRT minds repaired",
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
        source = read_graph(arguments.model)
        graph = simplify(source)
        is_given = has_integers(graph)
        _check_repair(arguments, is_given=is_given)
        stage("look for what will hurt")
        faults = lint_qdq(source) if is_given else ()
        graph, hazards = _of_integers(graph, arguments) if is_given else _of_float(graph, arguments)
    kept = float_nodes(hazards)
    console.json(
        {
            "model": str(arguments.model),
            "is_quantized": is_given,
            "hazards": [hazard.to_json() for hazard in hazards],
            "keep_float": sorted(kept),
            "tensorrt": [fault.to_json() for fault in faults],
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
    if is_given:
        _print_faults(faults, console)
    if arguments.repair:
        _repair(source, arguments.repair, console)
    limit = ("high", "medium", "low")
    failing = () if arguments.fail_on == _NEVER else limit[: limit.index(arguments.fail_on) + 1]
    is_bad = any(hazard.severity in failing for hazard in hazards)
    return int(is_bad or any(_FAULTS[fault.severity] in failing for fault in faults))


def _check_repair(arguments: argparse.Namespace, *, is_given: bool) -> None:
    """Refuse to repair a float model, or in place."""
    if arguments.repair is None:
        return
    if not is_given:
        raise UsageError(
            f"{arguments.model} is not quantized: there are no Q/DQ pairs to repair; "
            "edgekit quantize makes them"
        )
    if (
        arguments.repair.suffix != ".onnx"
        or arguments.repair.resolve() == Path(arguments.model).resolve()
    ):
        raise UsageError(f"--repair {arguments.repair}; give another file that ends in .onnx")


def _print_faults(faults: Sequence[Finding], console: Console) -> None:
    """Print what TensorRT makes of the file's own pairs."""
    if not faults:
        console.line("TensorRT takes its pairs as they are")
        return
    console.line(f"\nTensorRT, {counted(len(faults), 'fault')}:\n")
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for fault in faults:
        groups.setdefault((fault.severity, fault.rule, fault.fix), []).append(fault)
    for (severity, rule, fix), found in groups.items():
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        console.line(f"{severity:<8}  {rule}: {found[0].node}{more}")
        console.line(f"          {found[0].reason}")
        console.line(f"          fix: {fix}\n")
    able = sum(fault.is_repairable for fault in faults)
    if able:
        console.line(f"{able} of them can be repaired: --repair FILE")


def _repair(source: Graph, output: Path, console: Console) -> None:
    repaired, done = repair(source)
    write_graph(repaired, output)
    left = lint_qdq(repaired)
    console.line(
        f"wrote {output}: {counted(len(done), 'repair')}, {len(left)} left; codes have changed, so "
        "measure it: edgekit eval"
    )


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
