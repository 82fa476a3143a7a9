"""``edgekit bench``: every artifact that this machine can run, side by side."""

from __future__ import annotations

import argparse

from edgekit.bundle import Bundle
from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table, counted, human_bytes
from edgekit.pipeline.check import why_not_here
from edgekit.runtimes.bench import BenchOptions, BenchReport, BenchResult, bench
from edgekit.runtimes.options import HINTS
from edgekit.runtimes.plain import is_model_file

EXAMPLE = """example:
  edgekit bench model.edgekit --threads 2 --seconds 10

The runtimes are timed in turns, round by round, so that all see the same machine."""


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "source", type=options.existing_path, help="a bundle, or an .onnx, .tflite or .xml file"
    )
    options.add_artifact(parser)
    parser.add_argument("--device", default="auto", metavar="RUNTIME", help="only this runtime")
    parser.add_argument(
        "--rounds", type=options.positive_int, default=100, metavar="N", help="timed calls of each"
    )
    parser.add_argument(
        "--seconds", type=options.positive_seconds, default=30.0, metavar="S", help="for all rounds"
    )
    parser.add_argument(
        "--hint", type=options.one_of(HINTS, kind="hint"), default="latency", help="or throughput"
    )
    parser.add_argument(
        "--no-memory", action="store_true", help="leave out load time and memory (one process each)"
    )
    options.add_threads(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print the figures and the machine that they were measured on."""
    settings = BenchOptions(
        rounds=arguments.rounds,
        limit_s=arguments.seconds,
        threads=arguments.threads,
        hint=arguments.hint,
        with_footprint=not arguments.no_memory,
    )
    with console.progress() as stage:
        report = bench(
            arguments.source,
            device=arguments.device,
            artifact=arguments.artifact,
            options=settings,
            progress=stage,
        )
    facts = report.to_json()
    facts["skipped"] += _not_run(report, arguments)
    console.json(facts)
    threads = counted(arguments.threads, "thread") if arguments.threads else "threads as it likes"
    cpus = counted(facts["cpus"], "CPU")
    console.line(f"{facts['machine']}, {cpus}, each engine {threads}; times in ms")
    for line in report.conditions.lines():
        console.line(line)
    console.line()
    console.table(
        Table(
            ("artifact", "runtime", ">median", ">p90", ">p99", ">per s"),
            [_speed_row(result) for result in report.results],
        )
    )
    console.table(
        Table(
            ("artifact", "runtime", ">load", ">first", ">memory", ">size"),
            [_cost_row(result) for result in report.results],
        )
    )
    for line in facts["skipped"]:
        console.line(f"not measured: {line}")
    return 0


def _not_run(report: BenchReport, arguments: argparse.Namespace) -> list[str]:
    """Return a line for each artifact that nothing here runs."""
    if arguments.artifact or is_model_file(arguments.source):
        return []
    ran = {result.artifact for result in report.results}
    return [
        f"{item.name}: {why_not_here(item.format) or 'its runtime was not asked for'}"
        for item in Bundle.open(arguments.source).artifacts
        if item.name not in ran
    ]


def _speed_row(result: BenchResult) -> tuple[str, ...]:
    latency = result.latency
    times = (latency.median_ms, latency.p90_ms, latency.p99_ms)
    return (
        result.artifact,
        f"{result.runtime} {result.version}",
        *(f"{time_ms:.3f}" for time_ms in times),
        f"{result.throughput_per_s:.0f}",
    )


def _cost_row(result: BenchResult) -> tuple[str, ...]:
    cost = result.footprint
    return (
        result.artifact,
        f"{result.runtime} {result.version}",
        "" if cost is None else f"{cost.load_ms:.0f}",
        "" if cost is None else f"{cost.first_inference_ms:.1f}",
        "" if cost is None else f"{cost.peak_memory_mb:.0f} MB",
        human_bytes(result.size_bytes),
    )


COMMAND = Command(configure, run, EXAMPLE)
