"""``edgekit doctor``: what this machine can run, and what to install."""

from __future__ import annotations

import argparse

from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table, human_bytes
from edgekit.runtimes.doctor import Report, gather


def configure(parser: Parser) -> None:
    """Add the arguments."""
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Print the facts; having advice is no failure."""
    report = gather()
    console.json(report.to_json())
    console.table(Table(("machine", ""), _machine_rows(report)))
    console.table(Table(("runtime", "installed", "for"), _runtime_rows(report)))
    if report.advice:
        console.line("What to do:")
        for number, advice in enumerate(report.advice, start=1):
            console.line(f"  {number}. {advice}")
    else:
        console.line("Nothing to do.")
    return 0


def _machine_rows(report: Report) -> list[tuple[str, str]]:
    python = ".".join(map(str, report.host.python))
    glibc = "" if report.host.glibc is None else f", glibc {'.'.join(map(str, report.host.glibc))}"
    rows = [
        ("edgekit", report.edgekit),
        ("system", f"{report.os}, {report.host.machine}{glibc}"),
        ("python", python),
        ("cpu", f"{report.cpu.model}, {report.cpu.cores} cores"),
        ("instructions", ", ".join(report.cpu.features) or "none that speed up inference"),
    ]
    if report.memory is not None:
        rows.append(("memory", human_bytes(report.memory.total)))
    if report.jetson is not None:
        rows.append(("jetson", f"{report.jetson.model}, L4T {report.jetson.l4t or 'unknown'}"))
    if report.power is not None:
        held = {True: "held", False: "free", None: "unknown"}[report.power.are_clocks_held]
        rows.append(("power", f"{report.power.mode or 'unknown mode'}, clocks {held}"))
    rows += [("gpu", f"{gpu.name}, driver {gpu.driver}") for gpu in report.gpus] or [
        ("gpu", "none")
    ]
    rows += [("cuda", path) for path in report.cuda]
    rows += [("trtexec", report.trtexec)] if report.trtexec else []
    return rows


def _runtime_rows(report: Report) -> list[tuple[str, str, str]]:
    rows = [
        (
            runtime.name,
            ", ".join(f"{item.name} {item.version}" for item in runtime.packages)
            or f"no; {runtime.install or 'not offered for this system'}",
            runtime.summary,
        )
        for runtime in report.runtimes
    ]
    tensorrt = ", ".join(f"{item.name} {item.version}" for item in report.tensorrt)
    return [*rows, ("tensorrt", tensorrt or "no; needs an NVIDIA GPU", "TensorRT, NVIDIA GPUs")]


COMMAND = Command(configure, run)
