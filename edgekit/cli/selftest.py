"""``edgekit selftest --device``: everything that needs the real device, run on it."""

from __future__ import annotations

import argparse
import datetime
import platform
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit._version import __version__
from edgekit.bundle import Bundle
from edgekit.cli import options
from edgekit.cli.command import Command, Parser
from edgekit.cli.console import Console, Table, markdown_table
from edgekit.cli.outputs import output_file
from edgekit.errors import RuntimeUnavailableError, UsageError, VerificationError
from edgekit.runtimes.doctor import gather
from edgekit.runtimes.jetson.conditions import Conditions, under_conditions
from edgekit.runtimes.selftest import FAILED, PASSED, Check
from edgekit.runtimes.selftest.cuda import check_cuda
from edgekit.runtimes.selftest.engines import check_engines

REPORT = "edgekit-selftest.md"

_TITLES = {"cuda": "CUDA", "tensorrt": "TensorRT"}
_SHOWN = 200  # characters of a detail; the report has all

EXAMPLE = """example:
  edgekit selftest --device
  edgekit selftest --device --bundle model.edgekit --report orin-nano.md

CUDA by every provider that is installed, then TensorRT: engines in float16 and int8 are built,
proved by goldens, timed, run from threads and on device memory, and swapped in behind a session
that answers meanwhile. Nothing is sent anywhere: the report is a file, which you may send us."""


def configure(parser: Parser) -> None:
    """Add the arguments."""
    parser.add_argument("--device", action="store_true", help="test this machine's NVIDIA GPU")
    parser.add_argument(
        "--bundle",
        type=options.existing_path,
        metavar="FILE",
        help="a bundle of your own (default: a small network that comes along)",
    )
    parser.add_argument(
        "--report",
        type=output_file,
        default=Path(REPORT),
        metavar="FILE",
        help=f"default: {REPORT}",
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run all checks, write the report, and fail where one failed or nothing was shown."""
    if not arguments.device:
        raise UsageError("say what to test: edgekit selftest --device")
    if arguments.bundle:
        Bundle.open(arguments.bundle)
    with (
        console.progress() as stage,
        tempfile.TemporaryDirectory(prefix="edgekit-selftest-") as folder,
        under_conditions() as conditions,
    ):
        checks = (*check_cuda(stage), *check_engines(Path(folder), arguments.bundle, stage))
    text = to_markdown(checks, conditions)
    arguments.report.write_text(text, encoding="utf-8")
    document: dict[str, Any] = {
        "edgekit": __version__,
        "machine": gather().to_json(),
        "conditions": conditions.to_json(),
        "checks": [check.to_json() for check in checks],
        "report": str(arguments.report),
    }
    console.json(document)
    console.table(Table(("area", "check", "result", "detail"), [_row(check) for check in checks]))
    console.line(f"wrote {arguments.report}")
    failed = [check for check in checks if check.status == FAILED]
    if failed:
        names = ", ".join(f"{check.area}: {check.name}" for check in failed)
        raise VerificationError(f"{len(failed)} of {len(checks)} checks failed: {names}")
    if not any(check.status == PASSED for check in checks):
        raise RuntimeUnavailableError(
            "there is no NVIDIA GPU that CUDA can use here, so nothing was shown; "
            "edgekit doctor says what it finds"
        )
    return 0


def to_markdown(checks: Sequence[Check], conditions: Conditions) -> str:
    """Return the report: when, where, under what conditions, and every check."""
    report = gather()
    jetson = report.jetson
    gpus = ", ".join(f"{gpu.name} (driver {gpu.driver})" for gpu in report.gpus)
    board = "" if jetson is None else f"{jetson.model}, L4T {jetson.l4t}"
    facts = [
        f"EdgeKit {__version__}, Python {platform.python_version()}, "
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
        f"{report.os}, {report.host.machine}, {report.cpu.model}",
        board or gpus or "no NVIDIA GPU was found",
        *conditions.lines(),
    ]
    lines = "\n".join(f"- {fact}" for fact in facts)
    counts = ", ".join(
        f"{sum(check.status == status for check in checks)} {status}"
        for status in ("passed", "failed", "skipped")
    )
    text = f"# EdgeKit selftest\n\n{lines}\n\n**{counts}**\n"
    failed = [check for check in checks if check.status == FAILED]
    if failed:
        text += f"\n## Failed\n\n{_section(failed, ('area', 'check', 'detail'))}"
    for area in dict.fromkeys(check.area for check in checks):
        own = [check for check in checks if check.area == area]
        text += f"\n## {_TITLES.get(area, area)}\n\n"
        text += _section(own, ("check", "result", ">s", "detail"))
    return text


def _section(checks: Sequence[Check], columns: tuple[str, ...]) -> str:
    rows = [
        {
            "area": check.area,
            "check": check.name,
            "result": check.status,
            ">s": f"{check.seconds:.1f}",
            "detail": check.detail,
        }
        for check in checks
    ]
    return markdown_table(Table(columns, [[row[name] for name in columns] for row in rows]))


def _row(check: Check) -> tuple[str, ...]:
    detail = textwrap.shorten(check.detail, _SHOWN, placeholder=" ...")
    return check.area, check.name, check.status, detail


COMMAND = Command(configure, run, EXAMPLE)
