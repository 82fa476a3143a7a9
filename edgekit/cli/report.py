"""``edgekit report``: what a bundle promises and proves, as one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgekit.bundle import Bundle
from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, human_bytes
from edgekit.cli.outputs import output_file
from edgekit.report.page import write_report

EXAMPLE = """example:
  edgekit report model.edgekit -o report.html

The file needs nothing else: no network, no script, no font. Open it in any browser."""


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument("bundle", type=options.existing_path, help="the bundle")
    parser.add_argument("--output", "-o", type=output_file, help="the page (default: BUNDLE.html)")
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Write the page."""
    output: Path = arguments.output or arguments.bundle.with_suffix(".html")
    path = write_report(Bundle.open(arguments.bundle), output)
    size = path.stat().st_size
    console.json({"bundle": str(arguments.bundle), "report": str(path), "nbytes": size})
    console.line(f"{path}: {human_bytes(size)}; open it in a browser")
    return 0


COMMAND = Command(configure, run, EXAMPLE)
